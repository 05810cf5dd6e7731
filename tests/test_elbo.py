"""The weighted ELBO and its two terms, against closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import LatentTerms, Objective, Totals
from models import MODELS, PRIORS


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


def test_terms_add_up_to_pyros_own_loss():
    model = MODELS["hcrnn3-bi"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).eval()
    guide = GUIDES["bag-of-items"](model).eval()
    sequences = Sequences.from_lists([[1, 2, 3, 4], [5, 6, 7]])
    batch = make_batch(sequences, torch.arange(2).numpy(), sequences.lengths - 1, "sequence")
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
