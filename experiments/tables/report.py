"""The report on a table's finished runs: ``results.md``, ``results.csv``, ``slices.csv`` and a figure a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.tables import sections
from experiments.tables.improvement import BEST_MODEL, Improvement, best, improvements, peers
from experiments.tables.plan import PlannedRun
from experiments.tables.results import AGAINST, DataResult, RowResult, read_results, results_table
from experiments.tables.rows import Row
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.figures import HOW, can_draw, draw_dots
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.published import METRICS
from hcrnn_pyro.slices import slice_metrics


def write_report(
    out: Path,
    command: str,
    rows: Sequence[Row],
    sets: Sequence[DataSet],
    runs: Sequence[PlannedRun],
    wrong: list[str],
    against: Sequence[str] = (),
) -> str:
    """Write the report, and return what the command prints of it; nothing is written where no run is finished.

    Args:
        out: folder of the table.
        command: what made it.
        rows: its rows.
        sets: its data sets.
        runs: all its runs, finished or not.
        wrong: sentences on what is missing from it.
        against: names of rows that every other row is set against.
    """
    results = read_results(rows, sets, runs)
    if not results:
        return ""
    metrics = pd.concat([_slices(of_data) for of_data in results], ignore_index=True)
    found = improvements(results)
    text = "\n".join(
        [*_head(command, wrong), *(line for r in results for line in _section(r, found, metrics, against))]
    )
    _write(out / "results.md", text.rstrip() + "\n")
    _write(out / "results.csv", results_table(results).to_csv(index=False, float_format="%.6g"))
    _write(out / "slices.csv", metrics.to_csv(index=False, float_format="%.6g"))
    names = ["results.md", "results.csv", "slices.csv"]
    drawn = [_draw(out, of_data) for of_data in results] if can_draw() else []
    told = [] if drawn else [f"No figure is drawn: that needs matplotlib ({HOW})."]
    shown = [line for r in results for line in (f"{r.data.name}, percent", "", *sections.protocol(r)[2:])]
    return "\n".join([*shown, *told, f"Kept in {out}: {', '.join([*names, *drawn])}"])


def _write(file: Path, text: str) -> None:
    with whole_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _head(command: str, wrong: list[str]) -> list[str]:
    missing = ["Missing:", "", *(f"- {sentence}" for sentence in wrong), ""] if wrong else []
    return [
        "# Results",
        "",
        f"    {command}",
        "",
        "Metrics in percent over all prefixes of the test part and the whole catalogue, no sampled negatives: mean ± "
        "standard deviation over seeds, and the published value in brackets. Models that only count are run once.",
        "",
        *missing,
    ]


def _section(
    of_data: DataResult, found: Sequence[Improvement], metrics: pd.DataFrame, against: Sequence[str]
) -> list[str]:
    predictions = len(of_data.predictions)
    return [
        f"## {of_data.data.name}, {predictions:,} test predictions, {of_data.data.catalogue_size:,} items",
        "",
        *(line for note in of_data.data.notes for line in (f"Note: {note}", "")),
        *sections.protocol(of_data),
        *([f"![The means and the ranges of the seeds]({_figure(of_data)})", ""] if can_draw() else []),
        *sections.filtered(of_data),
        *sections.ties(of_data),
        *sections.without_copies(of_data),
        *sections.not_tied(of_data),
        *sections.costs(of_data),
        *sections.improvement(of_data, found),
        *(line for name in against for line in sections.against(of_data, name)),
        *sections.slices(of_data, _chosen(of_data), metrics),
    ]


def _chosen(of_data: DataResult) -> list[RowResult]:
    """The best HCRNN-3+Bi and the two best others, whose slices are worth reading."""
    ours = [result for result in of_data.rows if result.row.published == BEST_MODEL]
    others = peers(of_data)
    first = [best(others)] if others else []
    rest = [result for result in others if result not in first]
    return [*([best(ours)] if ours else []), *first, *([best(rest)] if rest else [])]


def _slices(of_data: DataResult) -> pd.DataFrame:
    """What ``slices.csv`` holds of a data set: means over seeds."""
    frames = []
    for result in of_data.rows:
        for name in ("protocol", "filtered"):
            runs = [slice_metrics(ranks, of_data.labels, name == "filtered") for ranks in result.ranks]
            means = pd.concat(runs).groupby(["slice", "value"], sort=False).mean().reset_index()
            means.insert(0, "column", name)
            means.insert(0, "model", result.row.name)
            frames.append(means.assign(seeds=len(runs)).astype({"predictions": int}))
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "data", of_data.data.name)
    return table


def _figure(of_data: DataResult) -> str:
    return f"figures/{of_data.data.name}.png"


def _draw(out: Path, of_data: DataResult) -> str:
    """Draw a data set's figure; its name."""
    records = [
        {
            "name": result.row.name,
            "group": _group(result.row),
            "panel": sections.SHORT[metric],
            "mean": values.mean(),
            "low": values.min(),
            "high": values.max(),
            "published": result.published.get(metric),
        }
        for result in of_data.rows
        for metric in METRICS
        for values in [result.values(metric, AGAINST)]
    ]
    name = _figure(of_data)
    (out / "figures").mkdir(exist_ok=True)
    title = f"{of_data.data.name}, percent: mean and range over seeds, ties counted against"
    draw_dots(pd.DataFrame(records), title, out / name)
    return name


def _group(row: Row) -> str:
    if row.counted:
        return "counted"
    return "HCRNN" if row.is_hcrnn else "other trained"
