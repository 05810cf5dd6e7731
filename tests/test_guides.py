"""What every guide owes besides the contract tests, for a latent on R^K and on the simplex; the prior as a guide."""

import copy
import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from guides import GUIDES, FromPrior, PointBag
from hcrnn_pyro.data.batches import SCOPES, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pair import NONE, PairConfig, build_pair
from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.prediction import posterior_means
from hcrnn_pyro.runs import load_weights, save_weights
from hcrnn_pyro.sites import is_latent, over_steps
from models import HCRNN, PRIORS, LogisticNormal

SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7, 1], [8, 9, 1, 2]])
SETTINGS = {"hidden": 6, "contexts": 4}


class OnSimplex(nn.Module):
    """Theta itself is the latent, and its concentration is learnt."""

    def __init__(self, contexts):
        super().__init__()
        self.log_concentration = nn.Parameter(torch.full((contexts,), -0.5))

    def forward(self, batch):
        prior = dist.Dirichlet(self.log_concentration.exp())
        return pyro.sample("proportions", over_steps(prior, batch))


PAIRS = [
    (make_prior, guide)
    for guide in GUIDES.keys() - {NONE}
    for make_prior in (LogisticNormal, OnSimplex)
    if (make_prior, guide) != (LogisticNormal, "dirichlet")
]
ALL_PAIRS = pytest.mark.parametrize(("make_prior", "guide"), sorted(PAIRS, key=str))


def pair_of(make_prior, guide):
    model = HCRNN("hcrnn3-bi", items=9, make_prior=make_prior, **SETTINGS).eval()
    return model, GUIDES[guide](model).eval()


def batch_of(scope="sequence", rows=(0, 1, 2)):
    rows = np.array(rows)
    return make_batch(SEQUENCES, rows, SEQUENCES.lengths[rows] - 1, scope)


@ALL_PAIRS
@pytest.mark.parametrize("scope", SCOPES)
def test_every_draw_and_row_has_the_density_of_its_own(make_prior, guide, scope):
    model, guide = pair_of(make_prior, guide)
    draws = draw(model, guide, batch_of(scope), 5)
    assert draws.log_guide.shape == (5, 3) and draws.log_weights.isfinite().all()
    (name, values), *_ = draws.latents.items()
    for s, row in [(0, 1), (4, 2)]:
        steps = int(batch_of().lengths[row])
        value = values[s, row : row + 1, :steps] if scope == "filtering" else values[s, row : row + 1]
        parts = [(model, draws.log_prior)]
        if not isinstance(guide, PointBag):  # whose density is 0 beside its point, even by a rounding error
            parts.append((guide, draws.log_guide))
        for part, found in parts:
            alone = poutine.trace(poutine.condition(part, {name: value})).get_trace(batch_of(scope, [row]))
            alone.compute_log_prob()
            torch.testing.assert_close(alone.nodes[name]["log_prob"].sum(), found[s, row], atol=1e-3, rtol=1e-3)


@ALL_PAIRS
def test_a_guide_outlives_copying_pickling_and_the_run_folder(make_prior, guide, tmp_path):
    model, made = pair_of(make_prior, guide)
    for parameter in [*made.parameters(), *model.parameters()]:
        parameter.data = torch.randn_like(parameter)
    expected = posterior_means(made, batch_of())
    made(batch_of())
    loaded = pair_of(make_prior, guide)
    save_weights(tmp_path, model, made)
    load_weights(tmp_path, *loaded)
    for other in (loaded, copy.deepcopy((model, made)), pickle.loads(pickle.dumps((model, made)))):
        torch.testing.assert_close(posterior_means(other[1], batch_of()), expected)
        assert len(list(other[1].parameters())) == len(list(made.parameters()))


@ALL_PAIRS
@pytest.mark.parametrize("scope", SCOPES)
def test_every_parameter_of_a_guide_is_trained(make_prior, guide, scope):
    model, guide = pair_of(make_prior, guide)
    objective = Objective(model.double(), guide.double(), pyro.infer.Trace_ELBO())
    objective(batch_of(scope)).loss.backward()
    assert [name for name, p in guide.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert all(p.grad.isfinite().all() for p in objective.parameters())


def test_the_prior_as_a_guide_has_no_kl_and_no_parameters():
    model, guide = pair_of(OnSimplex, "prior")
    assert isinstance(guide, FromPrior) and list(guide.parameters()) == [] and guide.state_dict() == {}
    for scope in SCOPES:
        assert Objective(model, guide, pyro.infer.Trace_ELBO())(batch_of(scope)).kl == 0.0


def test_the_prior_is_not_trained_through_the_guide_s_draws():
    """As a guide its draws are data, so that a prior's gradient is that of its density alone."""
    model, guide = pair_of(OnSimplex, "prior")
    trace = poutine.trace(guide).get_trace(batch_of())
    trace.compute_log_prob()
    (site,) = (site for site in trace.nodes.values() if is_latent(site))
    assert not site["value"].requires_grad and not site["log_prob"].requires_grad
    assert model.prior.log_concentration.requires_grad


def test_a_prior_that_is_a_function_serves_as_a_guide():
    def make_prior(contexts):
        return lambda batch: pyro.sample(
            "eta", over_steps(dist.Normal(torch.full((contexts,), 2.0), 1.0).to_event(1), batch)
        ).softmax(-1)

    _, guide = pair_of(make_prior, "prior")
    assert posterior_means(guide, batch_of())["eta"].tolist() == [[2.0] * 4] * 3


def test_a_guide_that_cannot_live_with_the_prior_names_those_that_can(monkeypatch):
    monkeypatch.setitem(PRIORS, "on-simplex", OnSimplex)
    with pytest.raises(UserError) as caught:
        build_pair(PairConfig(guide="dirichlet"), SETTINGS, 9)
    refusal, guides, priors = str(caught.value).split(". ")
    assert refusal.startswith("A Dirichlet posterior needs a latent that lives on the simplex; the prior's eta")
    prefix, _, names = guides.partition(": ")
    assert prefix == "Guides for --prior logistic-normal"
    assert set(names.split(", ")) == GUIDES.keys() - {NONE, "dirichlet"}
    prefix, _, names = priors.partition(": ")
    assert prefix == "Priors for --guide dirichlet"
    assert "on-simplex" in names and "logistic-normal" not in names


@pytest.mark.parametrize(
    ("autoguide", "equivalent"),
    [
        ("auto:AutoNormal", "is --guide bag-of-items."),
        ("auto:AutoDiagonalNormal", "is --guide bag-of-items."),
        ("pyro.infer.autoguide:AutoMultivariateNormal", "is --guide low-rank."),
        ("auto:AutoLowRankMultivariateNormal", "is --guide low-rank."),
        ("auto:AutoIAFNormal", "is --guide flow."),
        ("pyro.infer.autoguide.guides:AutoDelta", "is --guide point."),
        ("auto:AutoStructured", "one of the guides"),
    ],
)
def test_pyro_s_autoguides_are_refused_with_what_to_take_instead(autoguide, equivalent):
    with pytest.raises(UserError, match="one factor for every row") as caught:
        PairConfig(guide=autoguide)
    assert equivalent in str(caught.value)
