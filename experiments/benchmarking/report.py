"""Rows as an aligned table: a column of medians for every system, and their ratios to one of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.benchmarking.measure import Row


def table(rows: Sequence[Row], reference: str) -> str:
    """An aligned table of medians; a cell is empty where a system has no such row.

    Args:
        rows: what was measured.
        reference: the system whose median is 1 in the columns of ratios.
    """
    systems = list(dict.fromkeys(name for row in rows for name in row.runs))
    cells = pd.DataFrame(index=[f"{row.what} ({row.unit})" for row in rows])
    for system in systems:
        cells[system] = [number(row.median(system)) if system in row.runs else "" for row in rows]
    for system in systems:
        if system != reference:
            ratios = [row.ratio(system, reference) for row in rows]
            cells[f"{system} / {reference}"] = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    return str(cells.to_string())


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
