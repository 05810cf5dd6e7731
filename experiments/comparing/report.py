"""The table of a comparison, ``results.md`` and ``results.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.comparing.against import COMPARED, Difference, differences
from experiments.comparing.grid import PairRow
from experiments.comparing.measures import measures
from experiments.tables.markdown import p_value, spread, table
from experiments.tables.plan import PlannedRun
from experiments.tables.results import DataResult, RowResult
from experiments.tables.rows import short
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.posterior.assessment import Assessment

COLUMNS = {  # name of a measure -> its heading and its decimals
    "elbo_per_prediction": ("ELBO/prediction", 3),
    "elbo_per_sequence": ("ELBO/sequence", 2),
    "iwae_per_sequence": ("IWAE/sequence", 2),
    "reliable_percent": ("k-hat < 0.7, %", 1),
    "active_contexts": ("active", 1),
    "kl_per_sequence": ("KL/sequence", 2),
    "coherence": ("NPMI", 3),
    "recall@20": ("R@20", 2),
    "mrr@20": ("M@20", 2),
    "nll": ("nll", 3),
    "seconds": ("training s", 0),
}
Assessments = Mapping[PlannedRun, Assessment]


def write_report(out: Path, command: str, result: DataResult, assessments: Assessments, left_out: Sequence[str]) -> str:
    """Write the report, and return the part of it that the command prints.

    Args:
        out: folder of the comparison.
        command: what made it.
        result: the finished rows.
        assessments: one for each of their runs.
        left_out: a sentence for each row that was not trained, or not to its end.
    """
    numbers = {row.row.name: _numbers(row, assessments) for row in result.rows}
    found = differences(result)
    missing = ["Left out:", "", *(f"- {sentence}" for sentence in left_out), ""] if left_out else []
    shown = [*_table(result, numbers, assessments), *_against(result, found), *missing]
    head = [f"# Priors and guides on {result.data.name}", "", f"    {command}", ""]
    frame = _records(result, numbers, found)
    for name, text in (
        ("results.md", "\n".join([*head, *shown]).rstrip() + "\n"),
        ("results.csv", frame.to_csv(index=False, float_format="%.6g")),
    ):
        with whole_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return "\n".join([*shown, f"Kept in {out}: results.md, results.csv"])


def _numbers(result: RowResult, assessments: Assessments) -> dict[str, np.ndarray]:
    """Each measure's values over runs, those that are known."""
    runs = [measures(run, assessments[run]) for run in result.runs]
    return {name: np.array([run[name] for run in runs if run[name] is not None], dtype=float) for name in COLUMNS}


def _table(result: DataResult, numbers: Mapping[str, Mapping[str, np.ndarray]], assessments: Assessments) -> list[str]:
    one = next(iter(assessments.values()))
    footnotes: dict[str, int] = {}
    rows = []
    for row in result.rows:
        notes = dict.fromkeys(note for run in row.runs for note in assessments[run].notes)
        marks = "".join(f" [{footnotes.setdefault(note, len(footnotes) + 1)}]" for note in notes)
        cells = [_cell(numbers[row.row.name][name], digits) for name, (_, digits) in COLUMNS.items()]
        rows.append([row.row.name + marks, *cells, row.seeds])
    header = ["model/prior/guide", *(heading for heading, _ in COLUMNS.values()), "seeds"]
    contexts = ", ".join(str(k) for k in dict.fromkeys(a.contexts for a in assessments.values()))
    return [
        *table(header, rows),
        *(line for note, number in footnotes.items() for line in (f"[{number}] {note}", "")),
        f"Means ± standard deviations over seeds, on the {one.sequences:,} test sequences of {result.data.name} with "
        f"{one.predictions:,} predictions. Bounds, KL and nll are in nats; IWAE and k-hat are of {one.draws} draws a "
        f"sequence; active contexts are of {contexts}; NPMI is that of each context's ten leading items; R@20 and M@20 "
        "are in percent.",
        "",
    ]


def _cell(values: np.ndarray, digits: int) -> str:
    return spread(values, digits=digits) if len(values) else "-"


def _against(result: DataResult, found: Sequence[Difference]) -> list[str]:
    if not found:
        return []
    rows = []
    for row in result.rows[1:]:
        own = {item.metric: item for item in found if item.row == row.row.name}
        cells = [
            cell
            for metric in COMPARED
            for cell in (_interval(own[metric], 3 if metric == "log_prob" else 2), p_value(own[metric].adjusted))
        ]
        rows.append([row.row.name, *cells])
    header = ["model/prior/guide", *(cell for title in COMPARED.values() for cell in (title, "p"))]
    return [
        f"Against {result.rows[0].row.name}, the first row:",
        "",
        *table(header, rows),
        "Differences with 95 % intervals from drawing whole test sequences, on what each prediction adds to a metric, "
        "averaged over seeds: R@20 and M@20 in points, the log-probability of the next item in nats a prediction. The "
        f"p-values are Holm's, over the {len(found)} comparisons. They say nothing of training again: see the "
        "deviations over seeds.",
        "",
    ]


def _interval(item: Difference, digits: int) -> str:
    difference, low, high, _ = item.interval
    return f"{difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _records(
    result: DataResult, numbers: Mapping[str, Mapping[str, np.ndarray]], found: Sequence[Difference]
) -> pd.DataFrame:
    """What ``results.csv`` holds: a line for each row and measure, then one for each difference from the first row."""
    named = {row.row.name: _names(row) for row in result.rows}
    means = [
        named[name]
        | {"metric": metric, "value": values.mean(), "seeds": len(values)}
        | ({"sd": values.std(ddof=1)} if len(values) > 1 else {})
        for name, of_row in numbers.items()
        for metric, values in of_row.items()
        if len(values)
    ]
    against = [
        named[item.row]
        | {"metric": f"{item.metric}_against_first", "value": item.interval.difference, "adjusted_p": item.adjusted}
        | {"low": item.interval.low, "high": item.interval.high, "p": item.interval.p_value}
        for item in found
    ]
    columns = ["model", "prior", "guide", "metric", "value", "sd", "seeds", "low", "high", "p", "adjusted_p"]
    return pd.DataFrame([*means, *against], columns=columns).astype({"seeds": "Int64"})


def _names(result: RowResult) -> dict[str, object]:
    row = result.row
    assert isinstance(row, PairRow)  # the rows of a comparison are
    return {"model": short(row.model), "prior": row.prior, "guide": row.guide}
