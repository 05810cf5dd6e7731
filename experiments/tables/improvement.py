"""By how much a row is better than another, and what says that it was not luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.tables.results import AGAINST, FILTERED_AGAINST, DataResult, RowResult
from hcrnn_pyro.comparison import Comparison, compare
from hcrnn_pyro.published import METRICS
from hcrnn_pyro.significance import holm

BEST_MODEL = "HCRNN-3+Bi"


@dataclass(frozen=True)
class Improvement:
    """One metric of one data set.

    Attributes:
        data: its name.
        hcrnn: the best row of HCRNN-3+Bi, by MRR@20.
        peer: the best row by this metric that is none of HCRNN's.
        comparison: of the two.
        adjusted: the bootstrap's p-value by Holm's method, over all comparisons of the report.
    """

    data: str
    hcrnn: str
    peer: str
    comparison: Comparison
    adjusted: float


def improvements(results: Sequence[DataResult]) -> list[Improvement]:
    """Compare where both sides have a finished run; ties are counted against, as some rows live on them."""
    found = [improvement for of_data in results for improvement in _of_data(of_data)]
    adjusted = holm(np.array([item.comparison.interval.p_value for item in found]))
    return [replace(item, adjusted=float(value)) for item, value in zip(found, adjusted, strict=True)]


def differences(of_data: DataResult, name: str) -> dict[str, list[Comparison]]:
    """Every other row against the row of that name, in each metric, among the items that the prefix has not shown.

    Empty where the row has no finished run.
    """
    base = next((result for result in of_data.rows if result.row.name == name), None)
    if base is None:
        return {}
    sequences, second = of_data.predictions["row"].to_numpy(), _ranks(base, FILTERED_AGAINST)
    return {
        result.row.name: [compare(_ranks(result, FILTERED_AGAINST), second, sequences, metric) for metric in METRICS]
        for result in of_data.rows
        if result is not base
    }


def best(rows: Sequence[RowResult], metric: str = "mrr@20") -> RowResult:
    """The best row by the mean over seeds, ties counted against."""
    return max(rows, key=lambda result: float(result.values(metric, AGAINST).mean()))


def peers(of_data: DataResult) -> list[RowResult]:
    """The rows that are none of HCRNN's."""
    return [result for result in of_data.rows if not result.row.is_hcrnn]


def _of_data(of_data: DataResult) -> list[Improvement]:
    ours = [result for result in of_data.rows if result.row.published == BEST_MODEL]
    others = peers(of_data)
    if not ours or not others:
        return []
    hcrnn, sequences = best(ours), of_data.predictions["row"].to_numpy()
    found = []
    for metric in METRICS:
        peer = best(others, metric)
        second = _ranks(peer, AGAINST)
        if peer.row.counted:  # the same for every seed, so it stands for as many runs
            second = np.repeat(second, len(hcrnn.runs), axis=0)
        comparison = compare(_ranks(hcrnn, AGAINST), second, sequences, metric)
        found.append(Improvement(of_data.data.name, hcrnn.row.name, peer.row.name, comparison, np.nan))
    return found


def _ranks(result: RowResult, column: str) -> np.ndarray:
    """(S, N) ranks of the runs."""
    return np.stack([ranks[column].to_numpy() for ranks in result.ranks])
