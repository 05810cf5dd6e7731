"""Is theta alive: guides whose answer is known in closed form."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import synthetic
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.activity import REMEDY, Activity, posterior_activity
from hcrnn_pyro.sites import over_steps
from models import MODELS, PRIORS

FOUR = Sequences.from_lists([[1, 2], [2, 1, 1], [3, 1], [1, 3, 2]])


class Bare(nn.Module):
    """A model that is its prior: nothing else is asked of it."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior


def flat_dirichlet(batch):
    return pyro.sample("theta_latent", over_steps(dist.Dirichlet(torch.ones(3)), batch))


def guide_of(name, law):
    """``law`` gets the first item of every row."""

    def guide(batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            pyro.sample(name, law(batch.inputs[:, 0]))

    return guide


@pytest.mark.parametrize("prior", ["logistic-normal"])
def test_a_guide_that_is_the_prior_has_collapsed(prior):
    model = Bare(PRIORS[prior](5))
    sequences = Sequences.from_lists([[1, 2]] * 200)
    found = posterior_activity(model, lambda batch: run_in_plate(model.prior, batch), sequences)
    np.testing.assert_allclose(found.variance_share, 0, atol=0.005)  # off by 1 / 100 sqrt(2 / 200) = 0.001 each
    np.testing.assert_allclose(found.context_kl, 0, atol=1e-6)
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.collapsed
    assert found.verdict().startswith("theta has collapsed to its prior: 0 of 5 contexts are active, KL 0.00 nats")
    assert found.verdict().endswith(REMEDY)
    assert found.sequences == 200


def run_in_plate(prior, batch):
    with pyro.plate("sequences", batch.size, dim=-1):
        prior(batch)


def test_normal_guides_have_their_closed_form_kl():
    """Means (item, 0), scales (1/2, 1): KL_1 = (1/4 + item^2 - 1) / 2 + log 2, KL_2 = 0."""

    def law(items):
        location = torch.stack([items.float(), torch.zeros(len(items))], dim=1)
        return dist.Normal(location, torch.tensor([0.5, 1.0])).to_event(1)

    found = posterior_activity(Bare(PRIORS["logistic-normal"](2)), guide_of("eta", law), FOUR, samples=4000)
    squares = (1 + 4 + 9 + 1) / 4
    np.testing.assert_allclose(found.context_kl, [(0.25 + squares - 1) / 2 + math.log(2), 0], atol=1e-6)
    assert found.kl == pytest.approx(found.context_kl.sum(), rel=0.03)
    assert found.informed.tolist() == [True, False]
    assert found.active.tolist() == [True, True]  # of two proportions, one moves with the other
    assert not found.collapsed


def test_dirichlet_guides_have_their_closed_form_variance():
    """E_q[theta] = (item, 1, 4 - item) / 5 and the flat prior's variance is 1 / 18."""

    def law(items):
        first = items.float()
        return dist.Dirichlet(2 * torch.stack([first, torch.ones_like(first), 4 - first], dim=1))

    found = posterior_activity(Bare(flat_dirichlet), guide_of("theta_latent", law), FOUR, samples=20_000)
    variance = np.var([1 / 5, 2 / 5, 3 / 5, 1 / 5], ddof=1)
    np.testing.assert_allclose(found.variance_share, [18 * variance, 0, 18 * variance], rtol=0.03, atol=0.003)
    assert found.context_kl is None
    assert found.informed is None
    assert found.active.tolist() == [True, False, True]
    assert found.largest == pytest.approx((3 + 2 + 3 + 3) / 20, abs=0.005)
    concentrations = [(2, 2, 6), (4, 2, 4), (6, 2, 2), (2, 2, 6)]
    flat = torch.distributions.Dirichlet(torch.ones(3))
    exact = [torch.distributions.kl_divergence(torch.distributions.Dirichlet(torch.tensor(c) + 0.0), flat)
             for c in concentrations]  # fmt: skip
    assert found.kl == pytest.approx(float(sum(exact)) / 4, abs=0.02)


def test_a_posterior_that_is_the_same_for_all_is_told_from_one_at_the_prior():
    law = lambda items: dist.Normal(torch.tensor([3.0, 0.0]), 0.1).to_event(1).expand(items.shape)  # noqa: E731
    found = posterior_activity(Bare(PRIORS["logistic-normal"](2)), guide_of("eta", law), FOUR)
    assert not found.active.any()
    assert not found.collapsed
    assert "in the same way for all sequences" in found.verdict()


def test_the_verdict_counts():
    alive = Activity(np.array([0.2, 0.0, 0.01]), None, 1.25, 0.5, 10)
    assert alive.verdict() == (
        "theta follows the sequences: 2 of 3 contexts are active, KL 1.25 nats a sequence, largest proportion 0.500 "
        "on average (uniform: 0.333)."
    )


def test_a_point_has_an_infinite_kl():
    law = lambda items: dist.Delta(items.unsqueeze(1).float() * torch.tensor([1.0, 0.0]), event_dim=1)  # noqa: E731
    found = posterior_activity(Bare(PRIORS["logistic-normal"](2)), guide_of("eta", law), FOUR)
    assert found.kl == math.inf
    assert found.context_kl is None
    assert found.verdict().startswith("theta follows the sequences: 2 of 2")


def test_where_theta_moves_its_last_step_is_looked_at():
    """The guide puts theta_t where the t-th item says: only the last inputs, 1, 1, 3, 3, tell the rows apart."""

    def guide(batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            location = torch.stack([batch.inputs.float(), -batch.inputs.float()], dim=-1)
            pyro.sample("eta", dist.Normal(location, 0.001).to_event(1).mask(batch.valid).to_event(1))

    model = Bare(PRIORS["logistic-normal"](2))
    sequences = Sequences.from_lists([[2, 1, 9], [1, 9], [2, 2, 3, 9], [2, 3, 9]])
    found = posterior_activity(model, guide, sequences, samples=3000, scope="filtering")
    proportions = 1 / (1 + np.exp(-2 * np.array([1, 1, 3, 3])))
    eta = np.random.default_rng(0).standard_normal((2, 400_000))
    expected = proportions.var(ddof=1) / np.var(1 / (1 + np.exp(eta[0] - eta[1])))
    np.testing.assert_allclose(found.variance_share, expected, rtol=0.05)
    assert found.context_kl is None
    squares, inputs = np.array([4 + 1, 1, 4 + 4 + 9, 4 + 9]), np.array([2, 1, 3, 2])
    by_row = squares + inputs * 2 * ((1e-6 - 1) / 2 - math.log(0.001))  # two Normals a step
    assert found.kl == pytest.approx(by_row.mean(), rel=0.01)


def test_active_contexts_of_little_information_are_faint():
    faint = Activity(np.array([0.02, 0.0]), None, 0.2, 0.51, 10)
    assert not faint.collapsed
    assert faint.verdict().startswith("theta follows the sequences, but faintly: 1 of 2 contexts are active, KL 0.20")


def test_training_goes_on_as_if_nothing_had_been_asked():
    data = synthetic()
    model = MODELS["hcrnn3-bi"](items=data.catalogue_size, make_prior=PRIORS["logistic-normal"], hidden=8, contexts=6)
    guide = GUIDES["bag-of-items"](model)
    guide.encoder.eval()
    before, modes = torch.random.get_rng_state(), [part.training for part in guide.modules()]
    first = posterior_activity(model, guide, data.valid, samples=20)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [part.training for part in guide.modules()] == modes
    again = posterior_activity(model, guide, data.valid, samples=20)
    np.testing.assert_array_equal(first.variance_share, again.variance_share)
    assert first.kl == again.kl
    assert len(pyro.get_param_store()) == 0


def test_too_little_to_tell_a_variance_is_named():
    model = Bare(PRIORS["logistic-normal"](2))
    guide = guide_of("eta", lambda items: dist.Normal(torch.zeros(2), 1.0).to_event(1).expand(items.shape))
    with pytest.raises(UserError, match="2 draws or more; got 1"):
        posterior_activity(model, guide, FOUR, samples=1)
    with pytest.raises(UserError, match="two or more; got 1"):
        posterior_activity(model, guide, Sequences.from_lists([[1, 2]]))
