"""Two recommenders side by side: by how much one is better, and what says that it was not luck.

Axes: S runs of the first, R runs of the second, N predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hcrnn_pyro.errors import require
from hcrnn_pyro.metrics import contributions
from hcrnn_pyro.significance import Interval, seeds_t_test, sequence_bootstrap


@dataclass(frozen=True)
class Comparison:
    """The first recommender against the second.

    Attributes:
        metric: what was compared.
        first, second: its means over runs, in percent.
        interval: their difference in points, from test sequences drawn anew.
        seeds_p_value: of Welch's t-test over runs; ``None`` where either side has only one.
    """

    metric: str
    first: float
    second: float
    interval: Interval
    seeds_p_value: float | None

    @property
    def improvement(self) -> float:
        """The difference in percent of the second's mean."""
        return 100 * (self.first / self.second - 1) if self.second > 0 else float("inf")


def compare(first: np.ndarray, second: np.ndarray, sequences: np.ndarray, metric: str) -> Comparison:
    """Compare the runs of two recommenders on the same predictions.

    The interval is about other users; the t-test over runs is about training again.

    Args:
        first: (S, N) ranks.
        second: (R, N) ranks.
        sequences: (N,) the sequence of each prediction.
        metric: such as ``recall@3`` or ``mrr@20``.
    """
    require(first.ndim == second.ndim == 2, "Expected ranks of shape (runs, predictions) on both sides.")
    gains = [np.stack([contributions(ranks, metric) for ranks in runs]) for runs in (first, second)]
    seeds = [gain.mean(axis=1) for gain in gains]
    return Comparison(
        metric=metric,
        first=float(seeds[0].mean()),
        second=float(seeds[1].mean()),
        interval=paired_interval(gains[0], gains[1], sequences),
        seeds_p_value=seeds_t_test(seeds[0], seeds[1]) if min(map(len, seeds)) > 1 else None,
    )


def paired_interval(first: np.ndarray, second: np.ndarray, sequences: np.ndarray) -> Interval:
    """By how much the first is better on the same predictions, from test sequences drawn anew.

    What a prediction adds is averaged over runs before sequences are drawn, so the interval is about other users.

    Args:
        first: (S, N) what each prediction adds to a metric in each run.
        second: (R, N) the same of the other.
        sequences: (N,) the sequence of each prediction.
    """
    return sequence_bootstrap(first.mean(axis=0), second.mean(axis=0), sequences)
