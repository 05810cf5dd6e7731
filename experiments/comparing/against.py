"""Each row of a comparison against the first, prediction by prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.tables.results import PROTOCOL, DataResult, RowResult
from hcrnn_pyro.comparison import paired_interval
from hcrnn_pyro.metrics import contributions
from hcrnn_pyro.significance import Interval, holm

COMPARED = {"recall@20": "R@20", "mrr@20": "M@20", "log_prob": "log p"}


@dataclass(frozen=True)
class Difference:
    """By how much a row is better than the first, by one metric.

    Attributes:
        row: its name.
        metric: a key of ``COMPARED``; points of a percentage, or nats a prediction.
        interval: over test sequences, with its p-value.
        adjusted: the p-value by Holm's method, over all rows and metrics of the comparison.
    """

    row: str
    metric: str
    interval: Interval
    adjusted: float


def differences(result: DataResult) -> list[Difference]:
    """All metrics of all rows after the first, with the runs of each averaged."""
    first, *others = result.rows
    sequences = result.predictions["row"].to_numpy()
    found = [
        (other.row.name, metric, paired_interval(_gains(other, metric), _gains(first, metric), sequences))
        for other in others
        for metric in COMPARED
    ]
    adjusted = holm(np.array([interval.p_value for *_, interval in found]))
    return [Difference(*parts, float(value)) for parts, value in zip(found, adjusted, strict=True)]


def _gains(result: RowResult, metric: str) -> np.ndarray:
    """(S, N) what each prediction adds in each run."""
    if metric == "log_prob":
        return np.stack([ranks[metric].to_numpy() for ranks in result.ranks])
    return np.stack([contributions(ranks[PROTOCOL].to_numpy(), metric) for ranks in result.ranks])
