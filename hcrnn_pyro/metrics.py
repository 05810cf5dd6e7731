"""Ranks of the targets and the two metrics of the paper.

Axes: N predictions, V items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CUTOFFS = (3, 20)


class Ranks(NamedTuple):
    """Rank of each target among the whole catalogue, 1 is best.

    Attributes:
        strict: (N,) 1 + the number of items scored strictly higher (the paper's protocol).
        pessimistic: (N,) the number of items scored at least as high, the target included.
    """

    strict: Int[Tensor, " predictions"]
    pessimistic: Int[Tensor, " predictions"]


def rank_targets(
    scores: Float[Tensor, "predictions columns"],
    targets: Int[Tensor, " predictions"],
    excluded: Bool[Tensor, "predictions columns"] | None = None,
) -> Ranks:
    """Rank every target by counting; nothing is sorted.

    Args:
        scores: any score that rises with preference; column 0 is padding and never counts.
        targets: item indices 1..V.
        excluded: items that may not be recommended; an excluded target ranks behind every item that may.
    """
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    target_scores = scores.gather(1, targets.unsqueeze(1))
    items = scores[:, 1:]
    count = items.shape[1]  # counted from below, so that a score that is not a number ranks last, not first
    return Ranks(
        strict=count - _count(torch.le, items, target_scores) + 1,
        pessimistic=count - _count(torch.lt, items, target_scores),
    )


def _count(compare: Callable[..., Tensor], scores: Tensor, thresholds: Tensor) -> Tensor:
    """How many scores of each row compare so."""
    # Floats are summed ten times faster than booleans, and exactly: in float32 up to 2^24 items.
    return compare(scores, thresholds, out=torch.empty_like(scores)).sum(dim=1).long()


def recall(ranks: np.ndarray, cutoff: int) -> float:
    """Recall@cutoff in percent: the share of targets ranked ``cutoff`` or better."""
    return 100.0 * float(np.mean(ranks <= cutoff))


def mean_reciprocal_rank(ranks: np.ndarray, cutoff: int) -> float:
    """MRR@cutoff in percent: the mean of 1 / rank, counting 0 for a rank beyond ``cutoff``."""
    return 100.0 * float(np.mean(np.where(ranks <= cutoff, 1.0 / ranks, 0.0)))


def ranking_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
    """``recall@k`` and ``mrr@k`` in percent for every cutoff.

    Args:
        ranks: (N,) ranks from 1, whole or (for mean ties) half numbers; at least one.
        cutoffs: the k.
    """
    named = {f"recall@{k}": recall(ranks, k) for k in cutoffs}
    return named | {f"mrr@{k}": mean_reciprocal_rank(ranks, k) for k in cutoffs}
