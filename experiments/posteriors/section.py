"""A section of a report: a verdict, numbers for programs, and what the page shows of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Text cells; the first ``names`` columns are names, the others numbers.

    Attributes:
        header: names of the columns.
        rows: the cells.
        caption: what is shown.
        names: how many columns are text.
        folded: whether a reader opens it first.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    names: int = 1
    folded: bool = False


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawing of matplotlib.

    Attributes:
        axes: any of its axes.
        caption: what is shown, for those who see it and those who do not.
    """

    axes: Any
    caption: str


Block = Text | Table | Figure


@dataclass(frozen=True, eq=False)
class Section:
    """The answer to one question.

    Attributes:
        name: key in ``report.json``, anchor in the page.
        title: the question.
        verdicts: plain sentences, the most important first.
        warnings: of these, what a reader should know before trusting anything else.
        numbers: what ``report.json`` holds of it; may hold arrays, data frames and dataclasses.
        blocks: what the page shows.
    """

    name: str
    title: str
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()


def judged(sentences: Iterable[tuple[str, bool]]) -> dict[str, tuple[str, ...]]:
    """Verdicts and warnings from sentences, each with whether it is good news."""
    pairs = tuple(sentences)
    return {
        "verdicts": tuple(sentence for sentence, _ in pairs),
        "warnings": tuple(sentence for sentence, good in pairs if not good),
    }


def percent(share: float, digits: int = 0) -> str:
    """A share as a reader says it."""
    return f"{100 * share:.{digits}f} %"


def number(value: float, digits: int = 2) -> str:
    """A number; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
