"""The finished runs of a table, read from their folders: ranks of the test part, and what each run cost.

Axes: S runs of a row, N test predictions of a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.tables.plan import PlannedRun
from experiments.tables.rows import Row
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.errors import require
from hcrnn_pyro.metrics import contributions
from hcrnn_pyro.published import METRICS, published_metrics
from hcrnn_pyro.runs import HISTORY, RANKS, best_epoch, load_run
from hcrnn_pyro.slices import label_predictions

PLACES = ["row", "position", "item"]
PROTOCOL, FILTERED, AGAINST = "rank", "filtered_rank", "rank_pessimistic"
FILTERED_AGAINST = "filtered_rank_pessimistic"
RANK_COLUMNS = [PROTOCOL, AGAINST, FILTERED, FILTERED_AGAINST, "log_prob"]


@dataclass(frozen=True, eq=False)
class RowResult:
    """The finished runs of one row on one data set.

    Attributes:
        row: what was trained.
        planned: how many runs the table asks for.
        runs: those that are finished.
        ranks: the ranks of each, with the columns ``RANK_COLUMNS``.
        published: the paper's numbers, where it has any.
    """

    row: Row
    planned: int
    runs: tuple[PlannedRun, ...]
    ranks: tuple[pd.DataFrame, ...]
    published: dict[str, float]

    def values(self, metric: str, column: str = PROTOCOL, chosen: np.ndarray | None = None) -> np.ndarray:
        """(S,) the metric of each run in percent, over all predictions or the chosen ones, (N,) bool."""
        some = slice(None) if chosen is None else chosen
        return np.array([contributions(ranks[column].to_numpy()[some], metric).mean() for ranks in self.ranks])

    @property
    def seeds(self) -> str:
        """How many runs are finished, in words."""
        return str(self.planned) if len(self.runs) == self.planned else f"{len(self.runs)} of {self.planned}"


@dataclass(frozen=True, eq=False)
class DataResult:
    """All finished rows of one data set.

    Attributes:
        data: the data set.
        rows: its rows with at least one finished run, in the table's order.
        unfinished: names of the rows without one.
        predictions: (N,) rows with ``row``, ``position`` and ``item`` of each test prediction.
        labels: the slices of each.
    """

    data: DataSet
    rows: tuple[RowResult, ...]
    unfinished: tuple[str, ...]
    predictions: pd.DataFrame
    labels: pd.DataFrame


def read_results(rows: Sequence[Row], sets: Sequence[DataSet], runs: Sequence[PlannedRun]) -> list[DataResult]:
    """The results of every data set that has a finished run.

    Args:
        rows: the table's rows.
        sets: its data sets.
        runs: all its runs, finished or not.
    """
    finished = {data.name for data in sets if any(run.finished for run in runs if run.data == data.name)}
    return [_of_data(rows, data, [r for r in runs if r.data == data.name]) for data in sets if data.name in finished]


def _of_data(rows: Sequence[Row], data: DataSet, runs: Sequence[PlannedRun]) -> DataResult:
    tables = {run: _read(run) for run in runs if run.finished}
    first, (predictions, _) = next(iter(tables.items()))
    for run, (places, _) in tables.items():
        require(places.equals(predictions), f"{run.folder} and {first.folder} rank different predictions.")
    results = []
    for row in rows:
        of_row = [run for run in runs if run.row == row]
        done = tuple(run for run in of_row if run in tables)
        published = published_metrics(data.name, row.published) or {}
        results.append(RowResult(row, len(of_row), done, tuple(tables[run][1] for run in done), published))
    with_runs = tuple(result for result in results if result.runs)
    unfinished = tuple(result.row.name for result in results if not result.runs)
    return DataResult(data, with_runs, unfinished, predictions, label_predictions(predictions, data))


def _read(run: PlannedRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which predictions a run made on the test part, and their ranks."""
    wanted = [*PLACES, *RANK_COLUMNS]
    table = pd.read_parquet(run.folder / RANKS, columns=wanted, filters=[("part", "==", "test")])
    table = table.reset_index(drop=True)
    return table[PLACES], table[RANK_COLUMNS]


def results_table(results: Sequence[DataResult]) -> pd.DataFrame:
    """What ``results.csv`` holds: data, model, column, metric, mean, sd, seeds, published."""
    records = [
        {
            "data": of_data.data.name,
            "model": result.row.name,
            "column": name,
            "metric": metric,
            "mean": values.mean(),
            "sd": values.std(ddof=1) if len(values) > 1 else None,
            "seeds": len(values),
            "published": result.published.get(metric) if column == PROTOCOL else None,
        }
        for of_data in results
        for result in of_data.rows
        for name, column in (("protocol", PROTOCOL), ("filtered", FILTERED))
        for metric in METRICS
        for values in [result.values(metric, column)]
    ]
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Cost:
    """What the runs of a row cost, a value each; empty lists for a row that only counts.

    Attributes:
        epochs: trained.
        best: the epoch that was kept, counted from 0 as in the logs; none for a refit, which keeps its last.
        seconds: of all epochs.
        parameters: of model and guide.
    """

    epochs: list[int]
    best: list[int]
    seconds: list[float]
    parameters: int


def cost(result: RowResult) -> Cost:
    """Read what the runs of a row cost; a pool, or a memory, costs what it is made of, which has rows of its own."""
    if result.row.pooled or result.row.remembers:
        return Cost([], [], [], parameters=0)
    first = load_run(result.runs[0].folder)
    parameters = {id(p): p.numel() for part in (first.model, first.guide) for p in part.parameters()}
    files = [run.folder / HISTORY for run in result.runs]
    histories = [pd.read_csv(file) for file in files if file.is_file()]
    best = [] if result.row.refits else [best_epoch(run.folder) for run in result.runs]
    return Cost(
        epochs=[len(history) for history in histories],
        best=[epoch for epoch in best if epoch is not None],
        seconds=[float(history["seconds"].sum()) for history in histories],
        parameters=sum(parameters.values()),
    )
