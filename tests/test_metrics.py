"""Ranks and metrics against values counted by hand."""

import numpy as np
import pytest
import torch

from hcrnn_pyro import metrics as metrics_module
from hcrnn_pyro import seen as seen_module
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.metrics import contributions, rank_among_unseen, rank_targets, ranking_metrics
from hcrnn_pyro.published import published_metrics
from hcrnn_pyro.seen import seen_items

# V = 5 items; column 0 is padding and scores highest, to show that it never counts.
SCORES = torch.tensor(
    [
        [99.0, 5.0, 4.0, 3.0, 2.0, 1.0],  # target 3: two items higher
        [99.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # target 2: all five tie
        [99.0, 0.0, 7.0, 7.0, 9.0, 7.0],  # target 5: one higher, two others tie
    ]
)
TARGETS = torch.tensor([3, 2, 5])


def test_strict_rank_counts_what_is_higher_and_pessimistic_what_is_at_least_as_high():
    ranks = rank_targets(SCORES, TARGETS)
    assert ranks.strict.tolist() == [3, 1, 2]
    assert ranks.pessimistic.tolist() == [3, 5, 4]


def seen_of(items):
    """What each prediction has seen; every prediction is a row of its own."""
    inputs = torch.tensor(items)
    queries = torch.full((len(items), 1), inputs.shape[1] - 1)
    return seen_items(inputs, queries, torch.ones(len(items), 1, dtype=torch.bool))


def test_seen_items_do_not_count_and_a_seen_target_comes_last():
    seen = seen_of([[1, 1], [0, 0], [5, 0]])  # one of the two better ones, twice; nothing; the target itself
    ranks = rank_among_unseen(rank_targets(SCORES, TARGETS), SCORES, TARGETS, seen)
    assert ranks.strict.tolist() == [2, 1, 5]
    assert ranks.pessimistic.tolist() == [2, 5, 5]


@pytest.mark.parametrize("block", [1, 100, 2**18])
def test_ranks_are_those_of_scores_with_minus_infinity_at_seen_items(block, monkeypatch):
    """Against loops over masked scores, with ties, infinities, scores that are no numbers, and seen targets."""
    monkeypatch.setattr(metrics_module, "BLOCK", block)
    monkeypatch.setattr(seen_module, "ENTRIES", block)
    random = np.random.default_rng(0)
    values = np.array([-np.inf, -1.0, 0.0, 0.5, 2.0, np.nan])
    scores = values[random.choice(6, size=(200, 9), p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])]
    items, targets = random.integers(0, 9, size=(200, 5)), random.integers(1, 9, size=200)
    tensors = torch.from_numpy(scores), torch.from_numpy(targets)
    raw = rank_targets(*tensors)
    filtered = rank_among_unseen(raw, *tensors, seen_of(items.tolist()))
    for row in range(200):
        masked = scores[row].copy()
        masked[items[row]] = -np.inf
        for ranks, of_items in ((raw, scores[row]), (filtered, masked)):
            target = of_items[targets[row]]
            assert ranks.strict[row] == 1 + sum(not score <= target for score in of_items[1:])
            assert ranks.pessimistic[row] == sum(not score < target for score in of_items[1:])
    assert torch.equal(raw.strict, rank_targets(*tensors).strict), "the ranks that were given are left as they were"
    repeated = (items == targets[:, None]).any(axis=1)
    assert 20 < repeated.sum() < 180


def test_scores_that_are_no_numbers_rank_last():
    scores = torch.tensor([[0.0, torch.nan, torch.nan, torch.nan], [0.0, torch.nan, 1.0, 2.0]])
    ranks = rank_targets(scores, torch.tensor([2, 2]))
    assert ranks.strict.tolist() == [4, 3]
    assert ranks.pessimistic.tolist() == [3, 3]


def test_recall_and_mrr_by_hand():
    metrics = ranking_metrics(np.array([1, 3, 4, 20, 21]), cutoffs=(3, 20))
    assert metrics["recall@3"] == pytest.approx(100 * 2 / 5)
    assert metrics["recall@20"] == pytest.approx(100 * 4 / 5)
    assert metrics["mrr@3"] == pytest.approx(100 * (1 + 1 / 3) / 5)
    assert metrics["mrr@20"] == pytest.approx(100 * (1 + 1 / 3 + 1 / 4 + 1 / 20) / 5)


def test_mean_ties_may_be_half_ranks():
    assert ranking_metrics(np.array([2.5, 3.5]), cutoffs=(3,)) == {
        "recall@3": pytest.approx(50.0),
        "mrr@3": pytest.approx(100 * (1 / 2.5) / 2),
    }


def test_contributions_by_hand():
    ranks = np.array([1, 3, 4, 21])
    assert contributions(ranks, "recall@3").tolist() == [100, 100, 0, 0]
    assert contributions(ranks, "mrr@3") == pytest.approx([100, 100 / 3, 0, 0])
    assert contributions(ranks, "mrr@20") == pytest.approx([100, 100 / 3, 25, 0])
    assert contributions(np.array([2.5]), "mrr@3") == pytest.approx([40])


@pytest.mark.parametrize("name", ["recall", "recall@0", "recall@3.5", "ndcg@3", "mrr@20 "])
def test_a_metric_that_is_none_is_told(name):
    with pytest.raises(UserError, match=f"'recall@3' or 'mrr@20'; got '{name}'"):
        contributions(np.array([1]), name)


@pytest.mark.parametrize("data", ["citeulike", "lastfm", "movielens"])
def test_the_published_item_knn_row_is_impossible_and_the_others_are_not(data):
    """A hit beyond rank 3 adds at most 1/4, so MRR@20 <= MRR@3 + (R@20 - R@3) / 4."""
    for system in ("POP", "GRU4REC", "NARM", "HCRNN-1", "HCRNN-3+Bi", "Item-KNN"):
        row = published_metrics(data, system)
        possible = row["mrr@20"] <= row["mrr@3"] + (row["recall@20"] - row["recall@3"]) / 4 + 0.02
        assert possible == (system != "Item-KNN"), system
    assert published_metrics("synthetic", "NARM") is None
