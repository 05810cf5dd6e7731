"""What is known of items besides the sequences: their categories, and the year at the end of a title.

Axes: V items, G features, C categories, Y knots of years.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hcrnn_pyro.errors import require

YEAR = r"\((\d{4})\)\s*$"  # as in "A Title (1995)"
KNOTS = 10  # years between two features of the year


@dataclass(frozen=True, eq=False)
class SideInformation:
    """Which features a catalogue's items have, so that further items can be described by the same ones.

    A category is a feature of 0 or 1. A year shares itself out to the beginnings of the two decades that it lies
    between, a feature each: so what is linear in the features can bend with the years.

    Attributes:
        categories: names, in alphabetical order.
        decades: years, ascending; none where no title tells a year.
    """

    categories: tuple[str, ...]
    decades: tuple[int, ...]

    @classmethod
    def of(cls, items: pd.DataFrame) -> SideInformation:
        """What a catalogue tells.

        Args:
            items: columns ``categories`` (names joined by ``|``) and ``title``, or one of them.

        Raises:
            UserError: it tells nothing of any item.
        """
        names = sorted(set("|".join(_text(items, "categories")).split("|")) - {""})
        years = _years(items)
        years = years[~np.isnan(years)]
        decades = range(int(years.min()) // KNOTS * KNOTS, int(years.max()) + KNOTS, KNOTS) if len(years) else ()
        require(
            bool(names) or len(years) > 0,
            "Nothing is known of the run's items: neither categories nor, at the end of their titles, years. So "
            "nothing can be said of a new one; train anew with its events.",
        )
        return cls(tuple(names), tuple(decades))

    @property
    def groups(self) -> tuple[slice, slice]:
        """The columns of the features that are known together or not at all: categories, and decades."""
        return slice(0, len(self.categories)), slice(len(self.categories), len(self.categories) + len(self.decades))

    def features(self, items: pd.DataFrame) -> np.ndarray:
        """(V, G) float64; NaN in all features of a group of which an item tells nothing. New names tell nothing."""
        listed = _text(items, "categories")
        flags = np.array([[name in text.split("|") for name in self.categories] for text in listed], dtype=np.float64)
        flags = flags.reshape(len(items), len(self.categories))
        flags[(flags == 0).all(axis=1)] = np.nan
        years, knots = _years(items), np.array(self.decades, dtype=np.float64)
        inside = np.clip(years, knots[0], knots[-1]) if len(knots) else years
        hats = np.clip(1.0 - np.abs(inside[:, None] - knots) / KNOTS, 0.0, None)
        return np.concatenate([flags, hats], axis=1)


def categories_change(items: pd.DataFrame, before: np.ndarray, now: np.ndarray) -> pd.arrays.BooleanArray:
    """Whether an item shares no category with another one; missing where either has none that is known.

    Args:
        items: the catalogue.
        before: (N,) item indices, from 1.
        now: (N,) the others.
    """
    names = [frozenset(text.split("|")) - {""} for text in _text(items, "categories")]
    pairs = ((names[one - 1], names[other - 1]) for one, other in zip(before, now, strict=True))
    changes = [one.isdisjoint(other) if one and other else None for one, other in pairs]
    return pd.array(changes, dtype="boolean")


def _text(items: pd.DataFrame, column: str) -> list[str]:
    return items[column].fillna("").astype(str).tolist() if column in items else [""] * len(items)


def _years(items: pd.DataFrame) -> np.ndarray:
    """(V,) the year of each title, NaN where it tells none."""
    return pd.Series(_text(items, "title")).str.extract(YEAR)[0].astype(np.float64).to_numpy()
