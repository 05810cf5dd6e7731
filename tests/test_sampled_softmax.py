"""The sampled softmax: what its draws stand for, and that it tends to the full softmax.

Statistical checks are on means of independent estimates, and allow five standard errors: each fails by chance less
than once in a million seeds.
"""

import pytest
import torch

from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.kernels.next_item import target_log_probs
from hcrnn_pyro.kernels.sampled_softmax import Negatives, draw_negatives, sampled_log_probs
from hcrnn_pyro.nn.popularity_sampler import PopularitySampler
from hcrnn_pyro.seen import seen_items
from models import MODELS, PRIORS, HCRNNConfig
from tests.test_contract import batch_of

ITEMS, SIZE = 12, 4
EVENTS = torch.tensor([[3, 1, 3, 5], [2, 4, 6, 8]])
TARGETS = torch.tensor([1, 12, 5, 9, 4, 6, 8, 12])  # none that its row has shown
WEIGHTS = torch.cat([torch.zeros(1), torch.arange(1.0, ITEMS + 1)]).double()  # item 12 is drawn 12 times as often as 1


@pytest.fixture
def scene():
    features = torch.randn(8, SIZE, dtype=torch.float64, requires_grad=True)
    item_embeddings = torch.randn(ITEMS + 1, SIZE, dtype=torch.float64, requires_grad=True)
    seen = seen_items(EVENTS, torch.arange(4).expand(2, -1), torch.ones(2, 4, dtype=torch.bool))
    return features, item_embeddings, seen


def in_five_errors(estimates, expected):
    mean, error = estimates.mean(dim=0), estimates.std(dim=0) / len(estimates) ** 0.5
    return bool(((mean - expected).abs() <= 5 * error + 1e-9).all())


def test_drawn_items_stand_for_the_catalogue():
    draws = [draw_negatives(WEIGHTS, 5) for _ in range(2000)]
    stands_for = torch.zeros(len(draws), ITEMS + 1, dtype=torch.float64)
    for row, (items, log_weights) in zip(stands_for, draws, strict=True):
        assert items.unique().equal(items)
        row[items] = log_weights.double().exp()
    assert in_five_errors(stands_for[:, 1:], 1.0), "each item stands for itself once, on average"
    assert (stands_for[:, 0] == 0).all(), "padding is never drawn"
    assert not in_five_errors((stands_for > 0).double()[:, 1:], 1.0), "the check can fail: the draws alone are not even"


@pytest.mark.parametrize("exclude", [False, True])
def test_the_estimated_normaliser_is_unbiased(scene, exclude):
    features, item_embeddings, seen = scene
    seen = seen if exclude else None
    with torch.no_grad():
        scores = torch.linalg.vecdot(features, item_embeddings[TARGETS])
        full = (scores - target_log_probs(features, item_embeddings, TARGETS, seen)).exp()
        estimates = torch.stack(
            [
                scores - sampled_log_probs(features, item_embeddings, TARGETS, draw_negatives(WEIGHTS, 6), seen)
                for _ in range(1500)
            ]
        ).exp()
    assert in_five_errors(estimates, full)
    assert (estimates.std(dim=0) > 0).all()


def errors(scene, draws, repeats):
    """Root mean squares of the errors of log p and of its gradient, over many estimates."""
    features, item_embeddings, seen = scene
    parts = (features, item_embeddings)
    full = target_log_probs(features, item_embeddings, TARGETS, seen)
    full_gradient = torch.autograd.grad(full.sum(), parts)
    squares = torch.zeros(2, dtype=torch.float64)
    for _ in range(repeats):
        estimate = sampled_log_probs(features, item_embeddings, TARGETS, draw_negatives(WEIGHTS, draws), seen)
        gradient = torch.autograd.grad(estimate.sum(), parts)
        squares[0] += (estimate - full).detach().square().mean() / repeats
        squares[1] += (
            torch.cat([(one - other).flatten() for one, other in zip(gradient, full_gradient, strict=True)])
            .square()
            .mean()
            / repeats
        )
    return squares.sqrt()


def test_log_probabilities_and_gradients_tend_to_the_full_softmax(scene):
    few, many = errors(scene, 100, 200), errors(scene, 10_000, 50)
    # A hundred times the draws: a tenth of the error. The ratio's own relative error is below 0.1.
    assert (many / few < 0.15).all()
    assert (many / few > 0.05).all(), "an error that falls faster would come from something else than the draws"
    assert (many < 0.05).all()


def test_a_drawn_target_or_seen_item_counts_once_or_not_at_all(scene):
    """With every item drawn once at weight one, the estimate is the full softmax itself."""
    features, item_embeddings, seen = scene
    everything = Negatives(torch.arange(1, ITEMS + 1), torch.zeros(ITEMS))
    for excluded in (None, seen):
        torch.testing.assert_close(
            sampled_log_probs(features, item_embeddings, TARGETS, everything, excluded),
            target_log_probs(features, item_embeddings, TARGETS, excluded),
        )


def test_a_draw_of_nothing_but_the_target_leaves_probability_one(scene):
    features, item_embeddings, _ = scene
    only = Negatives(torch.tensor([7]), torch.zeros(1))
    got = sampled_log_probs(features, item_embeddings, torch.full((8,), 7), only)
    got.sum().backward()
    assert torch.equal(got, torch.zeros_like(got))
    assert features.grad.abs().sum() == 0


def test_gradients_reach_targets_and_drawn_items_alone(scene):
    features, item_embeddings, _ = scene
    negatives = Negatives(torch.tensor([2, 7]), torch.tensor([0.3, 1.2]))
    sampled_log_probs(features, item_embeddings, TARGETS, negatives).sum().backward()
    touched = item_embeddings.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert touched == sorted({2, 7} | set(TARGETS.tolist()))


def test_popular_items_are_drawn_more_often():
    sampler = PopularitySampler(items=4, draws=1)
    even = [1 / 4, 1 / 4, 1 / 4, 1 / 4]
    mixed = [1 / 8 + 1 / 8, 3 / 8 + 1 / 8, 1 / 8, 1 / 8]
    nothing = torch.zeros(0, dtype=torch.long)
    for probabilities, counted in ((even, torch.tensor([2, 2, 2, 1])), (mixed, torch.tensor([3]))):
        for _ in range(20):  # a single draw stands for 1 / q items
            item, log_weight = sampler(nothing)
            assert log_weight.exp().item() == pytest.approx(1 / probabilities[item - 1], rel=1e-5)
        sampler(counted)
    assert sampler.counts.tolist() == [0, 1, 3, 1, 0]


def test_a_negative_number_of_draws_is_refused():
    with pytest.raises(UserError, match=r"--sampled-softmax.*got -1"):
        HCRNNConfig(sampled_softmax=-1)


def test_training_draws_and_evaluation_sums_over_everything():
    torch.manual_seed(3)
    settings = {"items": 9, "make_prior": PRIORS["logistic-normal"], "hidden": 6, "contexts": 4}
    model = MODELS["hcrnn1"](**settings, sampled_softmax=3, dropout_in=0.0, dropout_out=0.0)
    batch = batch_of("sequence")
    theta = torch.full((batch.size, 4), 0.25)
    estimates = [model.train().likelihood(batch, theta).log_prob(batch.targets) for _ in range(2)]
    exact = model.eval().likelihood(batch, theta)
    assert type(exact) is NextItem
    assert not torch.allclose(*estimates)
    full = [model.likelihood(batch, theta).log_prob(batch.targets) for _ in range(2)]
    assert torch.equal(*full)
    assert model.sampler.counts.sum() == 2 * batch.scored.sum(), "evaluation counts nothing"
    expanded = model.train().likelihood(batch, theta).expand((5, batch.size))
    assert expanded.log_prob(batch.targets).shape == (5, batch.size)
