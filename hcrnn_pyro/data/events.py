"""The events frame, which every source of events gives, and the filters on it.

An events frame has one row per event, the rows of a sequence together and in the order of the events. Columns:
``session`` and ``item`` (categoricals of text), and where known ``time`` (seconds) and ``rating``.

Axes: N events, S sequences.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hcrnn_pyro.errors import require


@dataclass(frozen=True)
class EventLog:
    """What a source gives before it is filtered and split.

    Attributes:
        events: the events frame.
        items: one row per known item: ``item_id`` (text), and where known ``title`` and ``categories`` (text).
    """

    events: pd.DataFrame
    items: pd.DataFrame


@dataclass(frozen=True)
class Filters:
    """Which events are kept, applied in this order, each once (as the paper does, not until nothing changes)."""

    min_rating: float | None = None
    """Keep events rated at least this; unrated data have no such filter."""
    min_item_count: int = 1
    """Keep items with at least this many events."""
    min_length: int = 2
    """Keep sequences with at least this many events."""
    last_events: int | None = None
    """Keep the last so many events of each sequence."""

    def __post_init__(self) -> None:
        """Refuse numbers that no data could meet."""
        require(self.min_item_count >= 1, f"The minimum item count must be at least 1; got {self.min_item_count}.")
        require(self.min_length >= 2, f"The minimum sequence length must be at least 2; got {self.min_length}.")
        last = self.last_events
        require(last is None or last >= 2, f"The number of last events to keep must be at least 2; got {last}.")

    def __str__(self) -> str:
        wanted = [
            f"ratings of at least {self.min_rating:g}" if self.min_rating is not None else "",
            f"items with at least {self.min_item_count:,} events" if self.min_item_count > 1 else "",
            f"sequences of at least {self.min_length:,} events",
            f"the last {self.last_events:,} events of each" if self.last_events is not None else "",
        ]
        return ", ".join(text for text in wanted if text)


def text_ids(column: pd.Series) -> pd.Categorical:
    """Identifiers as categories of text, numbered by first appearance; missing ones have code -1.

    Whole numbers that were stored as floats (3.0) are named as whole numbers (3).
    """
    codes, values = pd.factorize(column)
    if pd.api.types.is_float_dtype(values) and np.all(np.mod(values, 1) == 0):
        values = values.astype(np.int64)
    merged, names = pd.factorize(np.array([str(value) for value in values], dtype=object))  # 1 and "1" are one name
    return pd.Categorical.from_codes(np.append(merged, -1)[codes], categories=pd.Index(names, dtype="str"))


def order_events(events: pd.DataFrame) -> pd.DataFrame:
    """Sequences by first appearance, events by time where there is one; ties keep the order of the rows."""
    sessions = pd.factorize(events["session"])[0]
    keys = (events["time"].to_numpy(), sessions) if "time" in events else (sessions,)
    return events.iloc[np.lexsort(keys)].reset_index(drop=True)


def runs(events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Number of its sequence for every event (N,), rising from 0, and the sequences' lengths (S,)."""
    codes = pd.factorize(events["session"])[0]
    return codes, np.bincount(codes)


def filter_events(events: pd.DataFrame, filters: Filters, items: Collection[str] | None = None) -> pd.DataFrame:
    """Apply ``filters`` to an ordered events frame.

    Args:
        events: the events frame.
        filters: what to keep.
        items: the items to keep, in place of the minimum item count.

    Raises:
        UserError: there are no ratings to filter by, or fewer than 2 items are left.
    """
    before = len(events)
    if filters.min_rating is not None:
        require("rating" in events, "A minimum rating was asked for, but these events have no ratings.")
        events = events[events["rating"] >= filters.min_rating]
    if items is not None:
        events = events[events["item"].isin(items)]
    elif filters.min_item_count > 1:
        codes = pd.factorize(events["item"])[0]
        events = events[np.bincount(codes)[codes] >= filters.min_item_count]
    codes, lengths = runs(events)
    events = events[lengths[codes] >= filters.min_length]
    if filters.last_events is not None:
        events = events[from_end(events) < filters.last_events]
    left = events["item"].nunique()
    require(len(events) > 0, f"Nothing is left of {before:,} events after the filters ({filters}); loosen them.")
    require(
        left > 1, f"Only one item is left after the filters ({filters}); predicting the next one needs two or more."
    )
    return events.reset_index(drop=True)


def from_end(events: pd.DataFrame) -> np.ndarray:
    """(N,) number of events that follow each event in its sequence."""
    codes, lengths = runs(events)
    ends = np.cumsum(lengths)
    return ends[codes] - 1 - np.arange(len(codes))
