"""Diagnostics of the posterior: weights against known tails and by hand, simulation, and all of it on a real pair."""

import math
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.posterior.joint import Joint, frozen, seeded
from hcrnn_pyro.posterior.nuts import compare_with_guide, run_nuts
from hcrnn_pyro.posterior.refine import inference_gap, refine
from hcrnn_pyro.posterior.sbc import calibrate, calibration_of
from hcrnn_pyro.posterior.sensitivity import power_scaling
from hcrnn_pyro.posterior.simulate import simulate
from hcrnn_pyro.posterior.weights import (
    effective_sample_size,
    elbo,
    guide_quality,
    iwae_bound,
    pareto_k,
    require_spread,
    smooth,
)
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7], [8, 9, 1, 2]])


@pytest.fixture
def pair():
    """In training mode: diagnostics see to it themselves that nothing drops out."""
    model = MODELS["hcrnn3-bi"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4)
    return model, GUIDES["bag-of-items"](model)


@pytest.fixture
def batch():
    return make_batch(SEQUENCES, np.arange(3), SEQUENCES.lengths - 1, "sequence")


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_k_hat_is_the_shape_of_pareto_weights(k):
    """Weights u^-k have the tail index 1 / k; one fit to 600 of 40,000 draws has a standard error near (1 + k) / 24."""
    weights = -k * torch.rand(40_000, 8, dtype=torch.float64).log()
    assert pareto_k(weights).mean() == pytest.approx(k, abs=5 * (1 + k) / 24 / 8**0.5)


def test_bounds_by_hand():
    weights = torch.tensor([[1.0], [3.0], [2.0], [6.0], [100.0]]).log().repeat(1, 2)
    assert elbo(weights[:4])[1] == pytest.approx(math.log(36) / 4)
    assert iwae_bound(weights[:4])[0] == pytest.approx(math.log(3))
    assert iwae_bound(weights, samples=2)[0] == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert iwae_bound(weights, samples=1)[0] == pytest.approx(elbo(weights)[0])


def test_bounds_rise_with_the_number_of_samples_and_rows_are_alone():
    weights = torch.randn(1000, 3, dtype=torch.float64)
    bounds = [iwae_bound(weights, size).mean() for size in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(0.5, abs=0.2)  # E[exp(z)] = exp(1 / 2)
    smoothed, k = smooth(weights)
    np.testing.assert_allclose(np.exp(smoothed).sum(axis=0), 1.0)
    assert smooth(weights[:, 1:2])[1] == pytest.approx(k[1:2])
    # Kish's size of log-Normal weights of variance 1 is S / e.
    assert effective_sample_size(weights).mean() / 1000 == pytest.approx(1 / math.e, abs=0.12)


def test_a_quality_of_constant_and_of_wild_rows():
    weights = torch.stack([torch.zeros(100), torch.linspace(0, 400, 100)], dim=1)
    quality = guide_quality(weights)
    assert (quality.rows, quality.draws, quality.reliable_share) == (2, 100, 0.5)
    assert quality.effective_share == pytest.approx((1 + 1 / 100) / 2, abs=0.01)
    assert quality.gap == pytest.approx(quality.iwae - quality.elbo)


def test_errors_are_sentences(pair, batch, monkeypatch):
    with pytest.raises(UserError, match="25 draws or more; got 24"):
        pareto_k(torch.randn(24, 2))
    with pytest.raises(UserError, match="finite log weights"):
        pareto_k(torch.full((30, 1), math.nan))
    with pytest.raises(UserError, match="expected 1 to 30; got 31"):
        iwae_bound(torch.randn(30, 1), 31)
    with pytest.raises(UserError, match="fill 10 bins evenly"):
        calibrate(*pair, SEQUENCES, simulations=150, draws=100)
    with pytest.raises(UserError, match="at least 50; the smallest has 20"):
        calibration_of(np.zeros((20, 2), int), 99)
    with pytest.raises(UserError, match="two chains"):
        run_nuts(*pair, batch, chains=1)
    with pytest.raises(UserError, match="no latent variable"):
        Joint.of(MODELS["narm"](items=9, hidden=6), batch)
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(UserError, match=r"pip install hcrnn_pyro\[analysis\]"):
        pareto_k(torch.randn(30, 2))


def test_a_point_guide_is_refused(pair, batch):
    def point(batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            pyro.sample("eta", dist.Delta(torch.zeros(batch.size, 4), event_dim=1))

    with pytest.raises(UserError, match="single point"):
        require_spread(draw(pair[0], point, batch, 30))
    require_spread(draw(*pair, batch, 30))


def test_the_joint_density_is_that_of_the_trace(pair, batch):
    model, guide = (part.eval() for part in pair)
    draws = draw(model, guide, batch, 5)
    joint = Joint.of(model, batch)
    u = joint.free(draws.latents)
    torch.testing.assert_close(joint.latents(u)["eta"], draws.latents["eta"])
    torch.testing.assert_close(joint.log_density(u), draws.log_prior + draws.log_likelihood)
    torch.testing.assert_close(joint.theta(u), draws.theta)


def test_freezing_leaves_no_trace(pair):
    model, guide = pair
    model.global_contexts.requires_grad_(False)
    model.cell.eval()
    before = [(m.training, [p.requires_grad for p in m.parameters(recurse=False)]) for m in model.modules()]
    with pytest.raises(ZeroDivisionError), frozen(model, guide, lambda batch: None):
        assert not any(p.requires_grad for part in pair for p in part.parameters())
        assert not any(module.training for part in pair for module in part.modules())
        raise ZeroDivisionError
    assert before == [(m.training, [p.requires_grad for p in m.parameters(recurse=False)]) for m in model.modules()]
    state = torch.get_rng_state()
    with seeded(1):
        torch.rand(3)
    assert torch.equal(state, torch.get_rng_state())


def test_gap_and_sensitivity_of_a_real_pair(pair, batch):
    refined = refine(*pair, batch, steps=20)
    assert refined.scale_tril.shape == (3, 4, 4)
    gaps = inference_gap(*pair, batch, samples=400, steps=60)
    assert gaps["row"].tolist() == [0, 1, 2]
    assert (gaps["amortisation_gap"] > 0).all()  # the guide is not trained, and far from the prior's scale
    assert (gaps["refined_k"] < 0.7).all()
    assert gaps.equals(inference_gap(*pair, batch, samples=400, steps=60))
    table = power_scaling(draw(*pair, batch, 200))
    assert len(table) == 3
    assert set(table["diagnosis"]) <= {"prior-data conflict", "weak likelihood", "none"}


def test_nuts_of_a_real_pair_and_the_same_again(pair, batch):
    first, again = (run_nuts(*pair, batch, draws=8, warmup=4, seed=3) for _ in range(2))
    assert first.latents["eta"].shape == first.theta.shape == (16, 3, 4)
    assert first.r_hat.shape == first.effective_size.shape == (3,)
    assert torch.equal(first.theta, again.theta)
    assert len(compare_with_guide(first, draw(*pair, batch, 50))) == 3
    assert all(parameter.requires_grad and parameter.grad is None for part in pair for parameter in part.parameters())


def test_a_part_simulated_has_the_shape_of_the_given_one(pair):
    simulation = simulate(pair[0], SEQUENCES, seed=1)
    made = simulation.sequences
    np.testing.assert_array_equal(made.offsets, SEQUENCES.offsets)
    assert [made[row][0] for row in range(3)] == [1, 6, 8]
    assert made.items.min() >= 1
    assert made.items.max() <= 9
    torch.testing.assert_close(simulation.theta, simulation.latents["eta"].softmax(-1))
    np.testing.assert_array_equal(simulate(pair[0], SEQUENCES, seed=1).sequences.items, made.items)


class ItemPerContext(nn.Module):
    """p(y | theta) = theta_y, with theta all but fixed at (0.5, 0.3, 0.2)."""

    def forward(self, batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            location = torch.tensor([0.5, 0.3, 0.2]).log()
            eta = pyro.sample("eta", dist.Normal(location, 1e-4).to_event(1).expand([batch.size]))
            theta = pyro.deterministic("theta", eta.softmax(-1), event_dim=1)
            features = theta.log()[..., batch.scored.nonzero()[:, 0], :]
            columns = torch.cat([torch.zeros(1, 3), torch.eye(3)])
            pyro.sample("next_item", NextItem(features, columns, batch.scored), obs=batch.targets)


def test_simulated_frequencies_by_hand():
    """Counts of 6000 independent items; 5 standard deviations of the largest are 194."""
    made = simulate(ItemPerContext(), Sequences.from_lists([[1, 1, 1, 1]] * 2000)).sequences
    written = made.items.reshape(2000, 4)[:, 1:]
    assert np.bincount(written.ravel(), minlength=4)[1:] == pytest.approx([3000, 1800, 1200], abs=194)


def test_simulated_items_follow_the_models_own_probabilities(pair):
    """Given theta and the past, an item's indicator less its probability has mean zero, at every step.

    Its sums are within 5 standard deviations. The probabilities come from one pass over whole sequences, and not from
    the prefixes by which these were written.
    """
    model = pair[0].eval()
    for parameter in model.parameters():
        parameter.data.mul_(4.0)
    simulation = simulate(model, Sequences.from_lists([[1 + row % 9] * 4 for row in range(3000)]))
    batch = make_batch(simulation.sequences, np.arange(3000), np.full(3000, 3), "sequence")
    with torch.no_grad():
        nodes = poutine.trace(poutine.condition(model, data=simulation.latents)).get_trace(batch).nodes
        probabilities = nodes["next_item"]["fn"].log_probs().exp().unflatten(0, (3000, 3))
    drawn = nn.functional.one_hot(batch.targets, 10)
    error = (probabilities * (1 - probabilities)).sum(dim=0).sqrt()
    assert float(probabilities.std(dim=(0, 1))[1:].min()) > 0.01  # it does depend on theta and the past
    assert bool(((drawn - probabilities).sum(dim=0)[:, 1:].abs() < 5 * error[:, 1:]).all())


def test_the_prior_as_a_guide_is_calibrated_for_a_model_that_ignores_theta_and_a_shifted_one_is_not(pair):
    """Where the likelihood says nothing of theta, the posterior is the prior; called so at 95 of 100 seeds."""
    model = pair[0]
    model.global_contexts.data.zero_()

    def guide(shift):
        def prior_moved(batch):
            with pyro.plate("sequences", batch.size, dim=-1):
                location = shift * torch.tensor([1.0, -1.0, 0.0, 0.0])
                pyro.sample("eta", dist.Normal(location, 1.0).to_event(1).expand([batch.size]))

        return prior_moved

    found = calibrate(model, guide(0.0), SEQUENCES, simulations=180, draws=49)
    assert found.verdict == "calibrated"
    assert found.ranks.shape == (180, 4)
    assert set(found.verdicts) == {"short", "middle", "long"}
    assert len(found.tests) == 12
    assert calibrate(model, guide(1.0), SEQUENCES, simulations=180, draws=49).verdict == "biased"
