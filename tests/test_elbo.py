"""The weighted ELBO and its two terms, against closed forms."""

import math
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO
from pyro.infer.autoguide.effect import AutoNormalMessenger
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.batches import Batch, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import LatentTerms, Objective, Totals, make_bound
from models import MODELS, PRIORS


@pytest.fixture(params=[True, False], ids=["validating", "not validating"], autouse=True)
def validation(request):
    """Both, as Pyro's traces find a latent's log-density where it does not validate, and calculate it where it does."""
    with pyro.validation_enabled(request.param):
        yield


class Model(nn.Module):
    def forward(self, observed):
        with pyro.plate("rows", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=observed)


class PointGuide(nn.Module):
    """A narrow Normal, so that every draw is near its mean and the terms have known values."""

    def forward(self, observed):
        with pyro.plate("rows", 3, dim=-1):
            pyro.sample("z", dist.Normal(torch.full((3,), 0.5), 1e-4))


@pytest.mark.parametrize("weight", [1.0, 0.1, 1e-3])
def test_kl_and_loss_of_a_known_pair(weight):
    observed = torch.tensor([0.0, 1.0, 2.0])
    with LatentTerms(weight) as latent:
        loss = Trace_ELBO(num_particles=400, vectorize_particles=False)(Model(), PointGuide())(observed)
    # KL(N(0.5, s) || N(0, 1)) = -log s - 1/2 + (s^2 + 0.25) / 2, three rows
    kl = 3 * (-math.log(1e-4) - 0.5 + 0.125)
    nll = 3 * 0.5 * math.log(2 * math.pi) + 0.5 * (0.25 + 0.25 + 2.25)
    assert float(latent.kl) / 400 == pytest.approx(kl, abs=0.2)  # standard error of the estimate is 0.06
    assert float(loss.detach()) == pytest.approx(nll + weight * kl, abs=0.2)


def test_an_effect_based_guide_keeps_its_kl_term():
    model, observed = Model(), torch.tensor([0.0, 1.0, 2.0])
    guide = AutoNormalMessenger(model)
    guide(observed)
    losses = []
    for handler in (nullcontext(), LatentTerms(1.0)):
        pyro.set_rng_seed(1)
        with handler:
            losses.append(Trace_ELBO().differentiable_loss(model, guide, observed))
    torch.testing.assert_close(*losses)


def test_gradients_where_draws_have_none():
    """A Poisson has no rsample: its gradient is that of the score function, weighted as the sites are."""

    def model(rate):
        with pyro.plate("rows", 4, dim=-1):
            count = pyro.sample("count", dist.Poisson(torch.full((4,), 2.0)))
            pyro.sample("x", dist.Normal(count, 1.0), obs=torch.arange(4.0))

    def guide(rate):
        with pyro.plate("rows", 4, dim=-1):
            pyro.sample("count", dist.Poisson(rate))

    grads = []
    for handler in (poutine.scale(scale=1.0), LatentTerms(1.0)):
        rate = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
        pyro.set_rng_seed(1)
        with handler:
            Trace_ELBO().differentiable_loss(model, guide, rate).backward()
        grads.append(rate.grad)
    torch.testing.assert_close(*grads)
    assert grads[0].abs().min() > 0


@pytest.mark.parametrize("scope", ["sequence", "filtering"])  # the latter masks the latents of padded steps
def test_terms_add_up_to_pyros_own_loss(scope):
    model = MODELS["hcrnn3-bi"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).eval()
    guide = GUIDES["bag-of-items"](model).eval()
    sequences = Sequences.from_lists([[1, 2, 3, 4], [5, 6, 7]])
    batch = make_batch(sequences, torch.arange(2).numpy(), sequences.lengths - 1, scope)
    pyro.set_rng_seed(1)
    expected = Trace_ELBO().loss(model, guide, batch)
    pyro.set_rng_seed(1)
    terms = Objective(model, guide, Trace_ELBO())(batch)
    assert float(terms.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(terms.elbo) == pytest.approx(-expected, rel=1e-5)
    assert terms.predictions == 5
    pyro.set_rng_seed(1)
    weighted = Objective(model, guide, Trace_ELBO())(batch, kl_weight=0.25)
    assert float(weighted.elbo) == pytest.approx(-expected, rel=1e-5), "the weight does not touch the logged ELBO"
    assert float(weighted.loss.detach()) == pytest.approx(float(terms.nll) + 0.25 * float(terms.kl), rel=1e-5)


def test_weight_equals_pyros_scale_on_the_latent_site():
    batch = torch.zeros(3)
    pyro.set_rng_seed(2)
    with LatentTerms(0.3):
        ours = poutine.trace(Model()).get_trace(batch).log_prob_sum()
    pyro.set_rng_seed(2)
    trace = poutine.trace(Model()).get_trace(batch)
    trace.compute_log_prob()
    theirs = 0.3 * trace.nodes["z"]["log_prob_sum"] + trace.nodes["x"]["log_prob_sum"]
    torch.testing.assert_close(ours, theirs)


def test_totals_weigh_batches_by_their_predictions():
    model = MODELS["hcrnn1"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).eval()
    objective = Objective(model, GUIDES["bag-of-items"](model).eval(), Trace_ELBO())
    sequences = Sequences.from_lists([[1, 2, 3, 4, 5], [5, 6]])
    totals, terms = Totals(), []
    for row in range(2):
        batch = make_batch(sequences, torch.tensor([row]).numpy(), sequences.lengths[[row]] - 1, "sequence")
        terms.append(objective(batch))
        totals.add(terms[-1])
    means = totals.means()
    assert means["nll"] == pytest.approx(sum(float(t.nll) for t in terms) / 5, rel=1e-6)
    assert means["kl"] == pytest.approx(sum(float(t.kl) for t in terms) / 2, rel=1e-6)


def three_rows():
    """A batch of three rows of one prediction each; the toy model reads nothing of it."""
    ones = torch.ones(3, 1, dtype=torch.long)
    return Batch(ones, ones[:, 0], ones, ones > 0, ones[:, 0])


class Learned(nn.Module):
    """q(z) = Normal(m, s), the same for all rows."""

    def __init__(self, mean, scale):
        super().__init__()
        self.mean, self.scale = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(scale))

    def forward(self, batch):
        with pyro.plate("rows", 3, dim=-1):
            pyro.sample("z", dist.Normal(self.mean.expand(3), self.scale))


class Zeros(nn.Module):
    """x = 0 is observed."""

    def forward(self, batch):
        Model()(torch.zeros(3))


def closed_form(mean, scale):
    """Nll and KL of one row: x ~ Normal(z, 1) at 0 and z ~ Normal(0, 1)."""
    nll = 0.5 * math.log(2 * math.pi) + 0.5 * (mean**2 + scale**2)
    kl = -math.log(scale) - 0.5 + 0.5 * (mean**2 + scale**2)
    return nll, kl


@pytest.mark.parametrize("bound", ["elbo", "mean-field-elbo"])
def test_either_elbo_is_the_closed_form(bound):
    terms = Objective(Zeros(), Learned(0.5, 0.3), make_bound(bound, 20_000))(three_rows(), kl_weight=0.5)
    nll, kl = closed_form(0.5, 0.3)
    assert float(terms.loss.detach()) == pytest.approx(3 * (nll + 0.5 * kl), abs=0.03)
    assert float(terms.kl) == pytest.approx(3 * kl, abs=0.03)
    assert float(terms.nll) == pytest.approx(3 * nll, abs=0.03)


def test_the_mean_field_elbo_knows_the_kl_of_two_normals():
    """The exact KL has no noise, so the loss of a guide far narrower than the likelihood is the same every time."""
    objective = Objective(Zeros(), Learned(0.5, 1e-4), make_bound("mean-field-elbo", 1))
    losses = [float(objective(three_rows()).loss.detach()) for _ in range(5)]
    nll, kl = closed_form(0.5, 1e-4)
    assert losses == pytest.approx([3 * (nll + kl)] * 5, abs=1e-2)


def test_the_importance_weighted_bound_nears_the_evidence_and_logs_the_elbo():
    """Log p(x = 0) = log Normal(0; 0, sqrt 2), above the ELBO of any guide that is not the posterior."""
    evidence = 3 * -0.5 * math.log(4 * math.pi)
    terms = Objective(Zeros(), Learned(0.5, 1.0), make_bound("iwae", 5_000))(three_rows())
    nll, kl = closed_form(0.5, 1.0)
    assert float(-terms.loss.detach()) == pytest.approx(evidence, abs=0.1)
    assert float(terms.elbo) == pytest.approx(-3 * (nll + kl), abs=0.1) and float(terms.elbo) < evidence - 0.5


def test_the_importance_weighted_bound_is_pyros_renyi_bound_at_alpha_0():
    settings = {"num_particles": 7, "vectorize_particles": True, "max_plate_nesting": 1}
    pyro.set_rng_seed(4)
    expected = RenyiELBO(alpha=0, **settings).loss(Zeros(), Learned(0.5, 0.3), three_rows())
    pyro.set_rng_seed(4)
    found = make_bound("iwae", 7)(Zeros(), Learned(0.5, 0.3))(three_rows())
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_free_bits_take_the_gradient_of_a_small_kl_away():
    def gradient(free_bits):
        guide = Learned(0.5, 1.0)
        objective = Objective(Zeros(), guide, make_bound("mean-field-elbo", 20_000), free_bits)
        terms = objective(three_rows())
        terms.loss.backward()
        return float(guide.mean.grad), terms

    nll, kl = closed_form(0.5, 1.0)  # kl is 0.125 nats; d nll / d mean = d kl / d mean = 0.5 a row
    (whole, _), (below, few), (above, _) = gradient(0.0), gradient(1.0), gradient(0.05)
    assert whole == pytest.approx(3.0, abs=0.05) and above == pytest.approx(3.0, abs=0.05)
    assert below == pytest.approx(1.5, abs=0.05)
    assert float(few.loss.detach()) == pytest.approx(3 * (nll + 1.0), abs=0.05), "the loss counts the free nats"
    assert float(few.kl) == pytest.approx(3 * kl, abs=0.05), "what is logged does not"
