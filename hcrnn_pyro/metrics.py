"""Ranks of the targets and the two metrics of the paper.

Axes: N predictions, V items.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hcrnn_pyro.errors import UserError
from hcrnn_pyro.kernels.next_item import BLOCK
from hcrnn_pyro.seen import SeenItems

CUTOFFS = (3, 20)


class Ranks(NamedTuple):
    """Rank of each target among the whole catalogue, 1 is best.

    Attributes:
        strict: (N,) 1 + the number of items scored strictly higher (the paper's protocol).
        pessimistic: (N,) the number of items scored at least as high, the target included.
    """

    strict: Int[Tensor, " predictions"]
    pessimistic: Int[Tensor, " predictions"]


def rank_targets(scores: Float[Tensor, "predictions columns"], targets: Int[Tensor, " predictions"]) -> Ranks:
    """Rank every target by counting; nothing is sorted.

    Args:
        scores: any score that rises with preference; column 0 is padding and never counts.
        targets: item indices 1..V.
    """
    return _count_ranks(scores, scores.gather(1, targets.unsqueeze(1)))


def rank_among_unseen(
    ranks: Ranks, scores: Float[Tensor, "predictions columns"], targets: Int[Tensor, " predictions"], seen: SeenItems
) -> Ranks:
    """The ranks if seen items scored minus infinity: a seen target ranks behind every item that may be recommended.

    Of the scores, only those of the seen items are read again.

    Args:
        ranks: those over the whole catalogue.
        scores: those that the ranks were counted from.
        targets: item indices 1..V.
        seen: the items that each prediction has seen.
    """
    repeated = seen.contain(targets)
    thresholds = scores.gather(1, targets.unsqueeze(1)).masked_fill_(repeated.unsqueeze(1), -torch.inf)
    strict, pessimistic = ranks.strict.clone(), ranks.pessimistic.clone()
    for some in repeated.nonzero()[:, 0].split(_rows(scores)):
        strict[some], pessimistic[some] = _count_ranks(scores[some], thresholds[some])
    for part, items in seen.parts():
        of_seen, threshold = scores[part].gather(1, items), thresholds[part]
        for rank, below in ((strict, torch.le), (pessimistic, torch.lt)):
            lowest = torch.full_like(threshold, -torch.inf)
            no_longer_above = below(lowest, threshold) & ~below(of_seen, threshold) & (items > 0)
            rank[part] -= no_longer_above.sum(dim=1)
    return Ranks(strict, pessimistic)


def _count_ranks(scores: Float[Tensor, "predictions columns"], thresholds: Float[Tensor, "predictions 1"]) -> Ranks:
    """Ranks of scores; counted from below, so that a score that is not a number ranks last, not first."""
    items = scores[:, 1:]
    at_most, less = scores.new_empty(2, len(scores), dtype=torch.float32)
    # Floats are summed ten times faster than booleans, and exactly: in float32 up to 2^24 items.
    memory = scores.new_empty(min(len(scores), _rows(scores)), items.shape[1], dtype=torch.float32)
    for start in range(0, len(scores), max(1, len(memory))):
        some = slice(start, start + len(memory))
        compared = memory[: len(items[some])]
        for below, count in ((torch.le, at_most), (torch.lt, less)):
            torch.sum(below(items[some], thresholds[some], out=compared), dim=1, out=count[some])
    return Ranks(items.shape[1] - at_most.long() + 1, items.shape[1] - less.long())


def _rows(scores: Tensor) -> int:
    """How many rows are compared at a time."""
    return max(1, BLOCK // scores.shape[1])


def contributions(ranks: np.ndarray, metric: str) -> np.ndarray:
    """What each prediction adds to a metric, (N,) floats in percent: their mean is the metric.

    Args:
        ranks: (N,) ranks from 1, whole or (for mean ties) half numbers.
        metric: ``recall@k`` gives 100 for a rank of k or better and else 0; ``mrr@k`` gives 100 / rank and else 0.

    Raises:
        UserError: the metric is none of these.
    """
    named = re.fullmatch("(recall|mrr)@([1-9][0-9]*)", metric)
    if named is None:
        raise UserError(f"Expected a metric such as 'recall@3' or 'mrr@20'; got {metric!r}.")
    gains = np.ones(len(ranks)) if named[1] == "recall" else 1.0 / ranks
    return np.where(ranks <= int(named[2]), 100.0 * gains, 0.0)


def recall(ranks: np.ndarray, cutoff: int) -> float:
    """Recall@cutoff in percent: the share of targets ranked ``cutoff`` or better."""
    return float(np.mean(contributions(ranks, f"recall@{cutoff}")))


def mean_reciprocal_rank(ranks: np.ndarray, cutoff: int) -> float:
    """MRR@cutoff in percent: the mean of 1 / rank, counting 0 for a rank beyond ``cutoff``."""
    return float(np.mean(contributions(ranks, f"mrr@{cutoff}")))


def ranking_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
    """``recall@k`` and ``mrr@k`` in percent for every cutoff.

    Args:
        ranks: (N,) ranks from 1, whole or (for mean ties) half numbers; at least one.
        cutoffs: the k.
    """
    named = {f"recall@{k}": recall(ranks, k) for k in cutoffs}
    return named | {f"mrr@{k}": mean_reciprocal_rank(ranks, k) for k in cutoffs}
