"""Cells and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is text and whose others are numbers, aligned in the source too."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join([row[0].ljust(widths[0]), *numbers])} |"

    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    return [line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:]), ""]


def spread(values: np.ndarray, published: float | None = None, digits: int = 2) -> str:
    """The mean of some runs, their standard deviation, and the published value: ``8.93 ± 0.10 (9.33)``."""
    deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    beside = "" if published is None else f" ({published:.{digits}f})"
    return f"{values.mean():.{digits}f}{deviation}{beside}"


def p_value(value: float | None) -> str:
    """A probability with the digits that count; a dash where there is none."""
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
