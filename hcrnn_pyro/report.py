"""What a run prints about the pair and its results."""

from __future__ import annotations

import pandas as pd
from torch import nn

from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.pair import NONE, PairConfig
from hcrnn_pyro.published import PAPER_NAMES, REMARKS, published_metrics

COLUMNS = ("recall@3", "recall@20", "mrr@3", "mrr@20", "nll", "predictions")
LABELS = {
    "valid": "valid",
    "test": "test",
    "test_filter_seen": "test, seen items filtered",
    "test_pessimistic_ties": "test, ties counted against",
    "best_reachable": "best reachable (Bayes-optimal)",
}


def pair_summary(pair: PairConfig, model: nn.Module, guide: nn.Module) -> str:
    """Two lines: what was built, and how many parameters each part has, if any."""
    own = {name.replace("_", " "): tensor.numel() for name, tensor in model.named_parameters(recurse=False)}
    parts = {name: _size(part) for name, part in model.named_children()}
    counts = {**own, **parts, "guide": _size(guide)}
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    latent = "without a latent" if pair.prior == NONE else f"with prior {pair.prior} and guide {pair.guide}"
    total = f"{_size(model) + _size(guide):,} parameters\n  {shown}" if shown else "no parameters"
    return f"{pair.model} {latent}: {total}"


def result_table(metrics: dict[str, dict[str, float]], data: DataSet, model: str) -> str:
    """The metrics of a run in percent, beside the published row of a paper set or the best reachable ones.

    Args:
        metrics: the content of ``metrics.json``.
        data: the data set it was measured on.
        model: registry name of the model.
    """
    rows = {LABELS[name]: row for name, row in metrics.items() if name in LABELS and _worth_showing(name, metrics)}
    paper_name = PAPER_NAMES.get(model, model)
    published = published_metrics(data.name, paper_name)
    if published:
        rows[f"published {paper_name}"] = published
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(COLUMNS))
    formats = dict.fromkeys(COLUMNS, "{:.2f}".format) | {"nll": "{:.3f}".format, "predictions": "{:,.0f}".format}
    remark = REMARKS.get(paper_name) if published else None
    return str(table.to_string(formatters=formats, na_rep="")) + (f"\n\n{remark}" if remark else "")


def _worth_showing(name: str, metrics: dict[str, dict[str, float]]) -> bool:
    """Pessimistic ties are shown where they differ by over 0.1 points."""
    if name != "test_pessimistic_ties":
        return True
    return any(abs(metrics[name][column] - metrics["test"][column]) > 0.1 for column in COLUMNS[:4])


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
