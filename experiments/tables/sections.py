"""The sections of the report on one data set, each as lines of Markdown; a section without content has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.tables.improvement import Improvement, differences
from experiments.tables.markdown import p_value, spread, table
from experiments.tables.results import AGAINST, FILTERED, PROTOCOL, DataResult, RowResult, cost
from hcrnn_pyro.published import METRICS, REMARKS
from hcrnn_pyro.significance import Interval

SHORT = {"recall@3": "R@3", "recall@20": "R@20", "mrr@3": "M@3", "mrr@20": "M@20"}
WORTH_SHOWING = 0.1  # points that ties must move a metric
COMMON = 0.01  # share of predictions that must be tied in time for the others to be shown by themselves
SLICES = (
    "Position counts a target's place in its sequence, length the events of the whole sequence. Head, mid and tail "
    "items have the first quarter, the middle half and the last quarter of the training events, most popular first. "
    "Turn: whether train has the target right after the item before it (pair) and after the two before it (triple). "
    "Tied: the target has the same time as the event before it. Genre change: the two items before the target share no "
    "genre."
)


def protocol(of_data: DataResult) -> list[str]:
    """The table that the paper has, with its values in brackets."""
    published = any(result.published for result in of_data.rows)
    beside = "; published values in brackets" if published else ""
    return [
        f"### The paper's protocol: no item filtered out, ties counted in favour{beside}",
        "",
        *_metrics(of_data.rows, PROTOCOL, published=True),
        *_flattery(of_data),
        *([f"No run is finished yet of: {', '.join(of_data.unfinished)}.", ""] if of_data.unfinished else []),
        *(line for result in of_data.rows for line in _remark(result)),
    ]


def filtered(of_data: DataResult) -> list[str]:
    """The same among the items that the prefix has not shown."""
    return ["### Items that the prefix has shown filtered out", "", *_metrics(of_data.rows, FILTERED)]


def ties(of_data: DataResult) -> list[str]:
    """Rows whose numbers depend on how ties are counted."""
    moved = _flattered(of_data)
    if not moved:
        return []
    title = f"### Ties counted against, where that moves a metric by over {WORTH_SHOWING} points"
    return [title, "", *_metrics(moved, AGAINST)]


def without_copies(of_data: DataResult) -> list[str]:
    """The protocol's numbers without test sequences that training holds too."""
    copied = (of_data.labels["copy"] == "yes").to_numpy()
    if not copied.any() or copied.all():
        return []
    sequences = of_data.predictions["row"][copied].nunique()
    title = (
        f"### Without the {sequences} test sequences ({copied.sum():,} predictions) that are copies of training ones"
    )
    return [title, "", *_metrics(of_data.rows, PROTOCOL, ~copied)]


def not_tied(of_data: DataResult) -> list[str]:
    """The protocol's numbers where the order of events is known."""
    tied, untied = ((of_data.labels["tied"] == value).to_numpy() for value in ("yes", "no"))
    if tied.mean() < COMMON or not untied.any():
        return []
    return [
        f"### Not tied: the {untied.sum():,} predictions whose target has another time than the event before it",
        "",
        *_metrics(of_data.rows, PROTOCOL, untied),
    ]


def costs(of_data: DataResult) -> list[str]:
    """What the runs cost, as means over seeds."""
    rows = []
    for result in of_data.rows:
        spent = cost(result)
        trained = [f"{np.mean(values):,.0f}" if values else "-" for values in (spent.epochs, spent.best, spent.seconds)]
        rows.append([result.row.name, *trained, f"{spent.parameters:,}" if spent.parameters else "-"])
    header = ["model", "epochs", "best epoch", "training s", "parameters"]
    return ["### What a run cost, means over seeds; epochs are counted from 0", "", *table(header, rows)]


def improvement(of_data: DataResult, found: Sequence[Improvement]) -> list[str]:
    """HCRNN-3+Bi over the best row that is none of HCRNN's."""
    own = [item for item in found if item.data == of_data.data.name]
    if not own:
        return []
    rows = [
        [
            SHORT[item.comparison.metric],
            f"{item.comparison.first:.2f}",
            item.peer,
            f"{item.comparison.second:.2f}",
            f"{item.comparison.interval.difference:+.2f}",
            f"{item.comparison.interval.low:+.2f} to {item.comparison.interval.high:+.2f}",
            f"{item.comparison.improvement:+.1f} %",
            p_value(item.adjusted),
            p_value(item.comparison.seeds_p_value),
        ]
        for item in own
    ]
    header = ["metric", own[0].hcrnn, "best other row", "its value", "points", "95 % interval", "improvement"]
    return [
        f"### Improvement of {own[0].hcrnn}, the best of HCRNN-3+Bi, over the best row that is none of HCRNN's",
        "",
        *table([*header, "p, sequences", "p, seeds"], rows),
        "Ties are counted against. The interval and the first p-value draw whole test sequences, on what each "
        "prediction adds to the metric, averaged over seeds; the p-value is Holm's, over the "
        f"{len(found)} comparisons of this report. The second p-value is that of Welch's t-test over seeds, not "
        "corrected. Both rows were picked by these very test numbers.",
        "",
    ]


def against(of_data: DataResult, name: str) -> list[str]:
    """Every row beside one of them."""
    found = differences(of_data, name)
    rows = [[row, *(_points(comparison.interval) for comparison in comparisons)] for row, comparisons in found.items()]
    if not rows:
        return []
    return [
        f"### Points over {name}, items that the prefix has shown filtered out",
        "",
        *table(["model", *(SHORT[metric] for metric in METRICS)], rows),
        "In brackets the 95 % interval over test sequences, drawn whole, of what each prediction adds to the metric, "
        "averaged over seeds; ties count against, and nothing is corrected for the number of comparisons.",
        "",
    ]


def _points(interval: Interval) -> str:
    return f"{interval.difference:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"


def slices(of_data: DataResult, chosen: Sequence[RowResult], metrics: pd.DataFrame) -> list[str]:
    """The best rows over slices of the test part."""
    own = metrics[(metrics["data"] == of_data.data.name) & (metrics["column"] == "protocol")]
    own = own[own.groupby(["model", "slice"])["value"].transform("size") > 1]
    by_model = [own[own["model"] == result.row.name] for result in chosen]
    rows = []
    for lines in zip(*(frame.to_dict("records") for frame in by_model), strict=True):
        values = [f"{line[metric]:.2f}" for line in lines for metric in ("recall@20", "mrr@20")]
        rows.append([f"{lines[0]['slice']} {lines[0]['value']}", f"{lines[0]['predictions']:,}", *values])
    header = [f"{result.row.name} {SHORT[metric]}" for result in chosen for metric in ("recall@20", "mrr@20")]
    title = "### Slices of the test predictions, by the paper's protocol, means over seeds"
    return [title, "", *table(["slice", "predictions", *header], rows), SLICES, ""] if rows else []


def _flattered(of_data: DataResult) -> list[RowResult]:
    return [
        result
        for result in of_data.rows
        if any(result.values(m).mean() - result.values(m, AGAINST).mean() > WORTH_SHOWING for m in METRICS)
    ]


def _flattery(of_data: DataResult) -> list[str]:
    names = ", ".join(result.row.name for result in _flattered(of_data))
    return [f"Ties flatter {names}: the table of ties counted against has honest numbers.", ""] if names else []


def _remark(result: RowResult) -> list[str]:
    remark = REMARKS.get(result.row.published) if result.published else None
    return [remark, ""] if remark else []


def _metrics(
    rows: Sequence[RowResult], column: str, chosen: np.ndarray | None = None, published: bool = False
) -> list[str]:
    lines = [
        [
            result.row.name,
            *(
                spread(result.values(m, column, chosen), result.published.get(m) if published else None)
                for m in METRICS
            ),
            result.seeds,
        ]
        for result in rows
    ]
    return table(["model", *SHORT.values(), "seeds"], lines)
