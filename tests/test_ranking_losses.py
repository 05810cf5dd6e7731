"""Ranking losses against values worked out by hand, and against loops over pairs."""

import math

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.kernels.sampled_softmax import Negatives
from hcrnn_pyro.ranking_losses import RANKING_LOSSES, RankedNextItem, in_batch_negatives, ranking_losses
from hcrnn_pyro.seen import seen_items
from models import MODELS

LOG3 = math.log(3.0)  # sigmoid(log 3) = 3/4


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def loss_by_hand(loss, r, negatives):
    """Of one target's score and a list of its negatives' scores, one entry for each draw."""
    if not negatives:
        return 0.0
    if loss == "bpr":
        return np.mean([-np.log(sigmoid(r - r_j)) for r_j in negatives])
    if loss == "top1":
        return np.mean([sigmoid(r_j - r) + sigmoid(r_j**2) for r_j in negatives])
    s = np.exp(negatives) / np.sum(np.exp(negatives))
    below = sum(s_j * sigmoid(r - r_j) for s_j, r_j in zip(s, negatives, strict=True))
    return -np.log(below) + sum(s_j * r_j**2 for s_j, r_j in zip(s, negatives, strict=True))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("bpr", -(math.log(1 / 2) + math.log(3 / 4)) / 2),
        ("top1", ((1 / 2 + 1 / 2) + (1 / 4 + 1 / (1 + math.exp(-(LOG3**2))))) / 2),
        ("bpr-max", -math.log(3 / 4 * 1 / 2 + 1 / 4 * 3 / 4) + 1 / 4 * LOG3**2),  # e^0 : e^(-log 3) = 3 : 1
    ],
)
def test_two_negatives_at_the_targets_score_and_below_it(loss, expected):
    shares = torch.tensor([[1 / 2, 1 / 2]]).log()
    got = RANKING_LOSSES[loss](torch.tensor([[0.0]]), torch.tensor([[0.0, -LOG3]]), shares)
    torch.testing.assert_close(got, torch.tensor([expected]))


def test_items_of_a_batch_are_drawn_as_often_as_they_are_targets():
    negatives = in_batch_negatives(torch.tensor([4, 2, 4, 4, 1]))
    assert negatives.items.tolist() == [1, 2, 4]
    torch.testing.assert_close(negatives.log_weights.exp(), torch.tensor([1.0, 1.0, 3.0]))


ITEMS = 5
INPUTS = torch.tensor([[5, 2, 4], [1, 3, 0]])
TARGETS = torch.tensor([[2, 4, 1], [3, 2, 0]])
SCORED = torch.tensor([[True, True, True], [True, True, False]])
QUERIES = torch.tensor([[0, 1, 2], [0, 1, 2]])
SEEN = seen_items(INPUTS, QUERIES, SCORED)
SEEN_BY_HAND = [{5}, {5, 2}, {5, 2, 4}, {1}, {1, 3}]


def features_and_embeddings():
    features = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    return features, torch.randn(ITEMS + 1, 3, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("seen", [None, SEEN], ids=["all-items", "without-seen"])
@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_log_prob_is_minus_the_loss_against_the_other_targets_summed_over_a_row(loss, seen):
    features, embeddings = features_and_embeddings()
    targets = TARGETS[SCORED]
    plain = NextItem(features, embeddings, SCORED, seen)
    got = RankedNextItem(plain, in_batch_negatives(targets), loss).log_prob(TARGETS)

    scores = (features @ embeddings.T).detach().numpy()
    losses = []
    for n, target in enumerate(targets.tolist()):
        excluded = {target} | (SEEN_BY_HAND[n] if seen is not None else set())
        others = [scores[n, item] for item in targets.tolist() if item not in excluded]
        losses.append(loss_by_hand(loss, scores[n, target], others))
    np.testing.assert_allclose(got.detach(), [-sum(losses[:3]), -sum(losses[3:])])


@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_gradients(loss):
    negatives = Negatives(torch.tensor([1, 2, 4]), torch.tensor([0.3, 1.0, -0.5]))

    def total(features, embeddings):
        return ranking_losses(features, embeddings, TARGETS[SCORED], negatives, loss, SEEN)

    assert torch.autograd.gradcheck(total, features_and_embeddings())


@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_without_a_negative_there_is_nothing_to_lose(loss):
    features, embeddings = features_and_embeddings()
    targets = torch.full((5,), 2)
    losses = ranking_losses(features, embeddings, targets, in_batch_negatives(targets), loss)
    losses.sum().backward()
    for value in (losses, features.grad, embeddings.grad):
        assert torch.count_nonzero(value) == 0


@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_scores_far_apart_stay_finite(loss):
    target = torch.tensor([[-500.0], [500.0]], requires_grad=True)
    negative = torch.tensor([[500.0, 0.0], [-500.0, 0.0]], requires_grad=True)
    losses = RANKING_LOSSES[loss](target, negative, torch.tensor([[1 / 2, 1 / 2]]).log().repeat(2, 1))
    losses.sum().backward()
    assert all(value.isfinite().all() for value in (losses, target.grad, negative.grad))


@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_expanded_to_a_sample_dimension_each_copy_has_the_same_loss(loss):
    features, embeddings = features_and_embeddings()
    ranked = RankedNextItem(NextItem(features, embeddings, SCORED), in_batch_negatives(TARGETS[SCORED]), loss)
    expected = ranked.log_prob(TARGETS).expand(3, 2)
    torch.testing.assert_close(ranked.expand((3, 2)).log_prob(TARGETS), expected)


def batch_of_two():
    sequences = Sequences.from_lists([[1, 2, 3, 4], [5, 3]])
    return make_batch(sequences, np.arange(2), sequences.lengths - 1, "sequence")


@pytest.mark.parametrize(
    ("name", "settings", "loss"),
    [("gru4rec", {"loss": "top1"}, "top1"), ("lstm4rec", {"loss": "bpr-max"}, "bpr-max"), ("bpr-mf", {}, "bpr")],
)
def test_models_train_by_their_loss_and_evaluate_by_the_softmax(name, settings, loss):
    model, batch = MODELS[name](items=ITEMS, hidden=4, **settings), batch_of_two()
    trained = model.train().likelihood(batch)
    assert isinstance(trained, RankedNextItem)
    assert trained.loss == loss
    evaluated = model.eval().likelihood(batch)
    assert type(evaluated) is NextItem
    torch.testing.assert_close(evaluated.log_probs().exp().sum(dim=1), torch.ones(4))


def test_gru4recs_negatives_are_the_targets_of_the_batch():
    likelihood = MODELS["gru4rec"](items=ITEMS, hidden=4, loss="top1").likelihood(batch_of_two())
    assert likelihood.negatives.items.tolist() == [2, 3, 4]
    torch.testing.assert_close(likelihood.negatives.log_weights.exp(), torch.tensor([1.0, 2.0, 1.0]))


def test_bpr_mfs_negatives_are_drawn_uniformly():
    negatives = MODELS["bpr-mf"](items=ITEMS, hidden=4, negatives=50_000).likelihood(batch_of_two()).negatives
    assert negatives.items.tolist() == [1, 2, 3, 4, 5]
    # The standard error of times drawn / times expected is 0.009; five of them.
    torch.testing.assert_close(negatives.log_weights.exp(), torch.ones(ITEMS), atol=0.045, rtol=0.0)
