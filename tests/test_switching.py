"""HCRNN with switching contexts: its likelihood by enumeration, its scopes, and a theta that the data use."""

from itertools import product

import numpy as np
import pytest
import torch

from guides import ContextCountsGuide
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.nn.clusters import cluster_centres
from hcrnn_pyro.nn.context_filter import context_filter, context_filter_per_step
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7, 3], [2, 1, 6, 4]])
CONTEXTS = 3


def make_model(**settings):
    torch.manual_seed(3)
    model = MODELS["hcrnn-switching"](
        items=7, make_prior=PRIORS["logistic-normal"], hidden=5, contexts=CONTEXTS, **settings
    )
    model = model.double().eval()
    for parameter in (model.item_embeddings, model.global_contexts, model.popularity):
        parameter.data = torch.randn_like(parameter)
    model.item_embeddings.data[0] = 0.0
    return model


def batch_of(scope):
    if scope == "prefix":
        rows = np.repeat(np.arange(3), SEQUENCES.lengths - 1)
        return make_batch(SEQUENCES, rows, np.concatenate([np.arange(1, n) for n in SEQUENCES.lengths]), scope)
    return make_batch(SEQUENCES, np.arange(3), SEQUENCES.lengths - 1, scope)


def local_logits_of(model, items):
    """What HCRNN-3+Bi says after x_1..x_t with equal proportions, from its own class: (V,)."""
    batch = make_batch(Sequences.from_lists([[*items, 1]]), np.array([0]), np.array([len(items)]), "sequence")
    states = model.states(batch, torch.full((1, CONTEXTS), 1 / CONTEXTS, dtype=torch.float64))
    readout = model.readout(states.hidden, states.local_context, batch.queries)[0, -1]
    return (model.item_embeddings[1:] @ model.to_item_space(readout)).detach().numpy()


def laws_of(model, items, without_replacement, gap=False):
    """p_k(y | x_1..x_t), (K, V), item by item from the definition."""
    local = np.zeros(7) if gap else local_logits_of(model, items)
    scores = (model.global_contexts @ model.item_embeddings[1:].T + model.popularity[1:]).detach().numpy()
    laws = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) * np.exp(local)
    if without_replacement:
        laws[:, [item - 1 for item in items]] = 0.0
    return laws / laws.sum(1, keepdims=True)


def first_law(model):
    scores = (model.global_contexts @ model.item_embeddings[1:].T + model.popularity[1:]).detach().numpy()
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def predicted(model, items, theta, without_replacement, drift):
    """p(y | x_1..x_t, theta): the sum over all paths z_1..z_{t+1}."""
    laws = [first_law(model), *(laws_of(model, items[:t], without_replacement) for t in range(1, len(items) + 1))]
    total, evidence = np.zeros(7), 0.0
    for path in product(range(CONTEXTS), repeat=len(items) + 1):
        weight = 1.0
        for t, z in enumerate(path):
            stay = 0.0 if t == 0 else (1 - drift) * (z == path[t - 1])
            weight *= stay + theta[z] * (1.0 if t == 0 else drift)
            if t < len(items):
                weight *= laws[t][z, items[t] - 1]
        total += weight * laws[-1][path[-1]]
        evidence += weight
    return total / evidence


@pytest.mark.parametrize("likelihood", ["categorical", "without-replacement"])
@pytest.mark.parametrize("drift", [1.0, 0.3])
def test_the_prediction_sums_over_all_paths_of_contexts(likelihood, drift):
    model = make_model(likelihood=likelihood, drift=drift)
    theta = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    batch = batch_of("sequence")
    found = model.likelihood(batch, theta).log_probs().exp().detach().numpy()
    rows, positions = np.nonzero(batch.scored.numpy())
    for place, (row, t) in enumerate(zip(rows, positions, strict=True)):
        items = SEQUENCES[int(row)][: t + 1].tolist()
        expected = predicted(model, items, theta[row].numpy(), likelihood == "without-replacement", drift)
        np.testing.assert_allclose(found[place, 1:], expected, rtol=1e-8)
        assert found[place, 0] < 1e-30


@pytest.mark.parametrize("missing", [0.0, 0.75])
def test_the_density_takes_the_expectation_over_gaps(missing):
    model = make_model(likelihood="without-replacement", missing=missing)
    theta = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    batch = batch_of("sequence")
    found = model.likelihood(batch, theta).log_prob(batch.targets).detach().numpy()
    for row, items in enumerate(SEQUENCES):
        total = 0.0
        for t in range(1, len(items)):
            for share, gap in ((1 - missing, False), (missing, True)):
                law = theta[row].numpy() @ laws_of(model, items[:t].tolist(), True, gap)
                total += share * np.log(law[items[t] - 1])
        np.testing.assert_allclose(found[row], total, rtol=1e-8)


@pytest.mark.parametrize("drift", [1.0, 0.3])
def test_one_pass_is_exact(drift):
    """Every step's own theta meets the whole past, so the scopes agree to the last digit."""
    model = make_model(drift=drift)
    prefixes, steps = batch_of("prefix"), batch_of("filtering")
    theta = torch.rand(*steps.inputs.shape, CONTEXTS, dtype=torch.float64).softmax(-1)
    one_pass = model.likelihood(steps, theta).log_probs()
    exact = model.likelihood(prefixes, theta[steps.valid]).log_probs()
    torch.testing.assert_close(one_pass, exact)


def test_the_filter_by_hand():
    theta, drift = torch.tensor([[0.75, 0.25]]), torch.tensor(0.5)
    emission = torch.tensor([[[0.2, 0.6], [1.0, 1.0]]])
    # after x_1: (0.15, 0.15) -> (0.5, 0.5); then half of it stays: 0.25 + 0.375 and 0.25 + 0.125
    expected = torch.tensor([[[0.625, 0.375], [0.6875, 0.3125]]])
    torch.testing.assert_close(context_filter(theta, emission, drift), expected)
    same = context_filter_per_step(theta.unsqueeze(1).expand(1, 2, 2), emission, drift)
    torch.testing.assert_close(same, expected)


def test_centres_of_plain_clusters():
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = torch.cat([corners + 0.1 * torch.randn(3, 2) for _ in range(20)])
    found = cluster_centres(points, 3)
    order = [int(torch.linalg.norm(found - corner, dim=1).argmin()) for corner in corners]
    torch.testing.assert_close(found[order], corners, atol=0.2, rtol=0.0)
    assert cluster_centres(points[:2], 5).shape == (5, 2), "more clusters than points repeat the first"


def test_the_guide_starts_at_laplaces_approximation():
    """Contexts far apart leave no doubt where an item comes from: mode and curvature for plain counts, by bisection."""
    model = MODELS["hcrnn-switching"](items=7, make_prior=PRIORS["logistic-normal"], hidden=4, contexts=2).eval()
    model.global_contexts.data = torch.tensor([[50.0, 0, 0, 0], [-50.0, 0, 0, 0]])
    model.item_embeddings.data = torch.tensor([[0.0, 0, 0, 0], *[[1.0, 0, 0, 0]] * 4, *[[-1.0, 0, 0, 0]] * 3])
    guide = ContextCountsGuide(model).eval()
    batch = make_batch(Sequences.from_lists([[1, 2, 3, 5, 4]]), np.array([0]), np.array([4]), "sequence")
    eta, log_scale = guide.encoder(batch)[0, :4].split(2)
    low, high = 0.0, 3.0  # eta = (e, -e) solves e = 3 - 4 sigmoid(2 e)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < 3 - 4 / (1 + np.exp(-2 * middle)) else (low, middle)
    assert eta.tolist() == pytest.approx([low, -low], abs=1e-3)
    share = 1 / (1 + np.exp(-2 * low))
    assert log_scale.exp().tolist() == pytest.approx([(1 + 4 * share * (1 - share)) ** -0.5] * 2, abs=1e-3)


def test_settings_are_checked():
    for wrong in ({"missing": 1.0}, {"missing": -0.1}, {"drift": 0.0}, {"drift": 1.5}):
        with pytest.raises(UserError, match=r"--(missing|drift) is a"):
            make_model(**wrong)
