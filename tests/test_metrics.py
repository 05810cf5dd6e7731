"""Ranks and metrics against values counted by hand."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.metrics import rank_targets, ranking_metrics
from hcrnn_pyro.published import published_metrics

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


def test_excluded_items_do_not_count_and_an_excluded_target_comes_last():
    excluded = torch.zeros(3, 6, dtype=torch.bool)
    excluded[0, 1] = True  # one of the two better ones
    excluded[2, 5] = True  # the target itself
    ranks = rank_targets(SCORES, TARGETS, excluded)
    assert ranks.strict.tolist() == [2, 1, 5]
    assert ranks.pessimistic.tolist() == [2, 5, 5]


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


@pytest.mark.parametrize("data", ["citeulike", "lastfm", "movielens"])
def test_the_published_item_knn_row_is_impossible_and_the_others_are_not(data):
    """A hit beyond rank 3 adds at most 1/4, so MRR@20 <= MRR@3 + (R@20 - R@3) / 4."""
    for system in ("POP", "GRU4REC", "NARM", "HCRNN-1", "HCRNN-3+Bi", "Item-KNN"):
        row = published_metrics(data, system)
        possible = row["mrr@20"] <= row["mrr@3"] + (row["recall@20"] - row["recall@3"]) / 4 + 0.02
        assert possible == (system != "Item-KNN"), system
    assert published_metrics("synthetic", "NARM") is None
