"""The event log, which every source of events gives, and the filters on it.

A source hands its events over block by block, in any order, and :class:`Collector` brings the sequences together. What
is done to all events is done block by block, so that a log may be larger than memory: held in memory are the sequences'
and items' names and numbers, and for some steps a byte per event.

Axes: N events, S sequences, V items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from hcrnn_pyro.data.arrays import Spool, blocks, count, lookup
from hcrnn_pyro.data.dataset import Sequences, tail
from hcrnn_pyro.errors import require

BUCKET = 4_000_000  # events that are sorted at a time
MOST_BUCKETS = 256  # each is an open file


@dataclass(frozen=True, eq=False)
class EventLog:
    """What a source gives before it is filtered and split.

    Attributes:
        sequences: all sequences, by first appearance; events by time where it is known, ties as they came; items are
            numbered by first appearance.
        items: row i is about item index i + 1: ``item_id`` (text), and where known ``title`` and ``categories`` (text).
        ratings: (N,) ratings of the events, or ``None``.
    """

    sequences: Sequences
    items: pd.DataFrame
    ratings: np.ndarray | None = None


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


class Ids(NamedTuple):
    """Identifiers of a block of events.

    Attributes:
        codes: (N,) indices into the names; -1 where the identifier is missing.
        names: the different identifiers as text, by first appearance.
    """

    codes: np.ndarray
    names: list[str]


def text_ids(column: pd.Series) -> Ids:
    """Identifiers of any type as text; whole numbers stored as floats (3.0) are named as whole numbers (3)."""
    if isinstance(column.dtype, pd.StringDtype):  # Arrow finds the different texts without making objects of all rows
        table = pa.Table.from_pandas(column.to_frame("id"), preserve_index=False)
        text = table["id"].combine_chunks().dictionary_encode()
        return Ids(text.indices.fill_null(-1).to_numpy(), text.dictionary.to_pylist())
    codes, values = pd.factorize(column)
    whole = (float, np.floating)
    texts = [str(int(value) if isinstance(value, whole) and value.is_integer() else value) for value in values]
    merged, names = pd.factorize(np.array(texts, dtype=object))  # 1 and "1" are one name
    return Ids(np.append(merged, -1)[codes], names.tolist())


class Collector:
    """Gathers events block by block and ends as a log with the events of each sequence together and in order."""

    def __init__(self) -> None:
        self._sessions: dict[str, int] = {}
        self._items: dict[str, int] = {}
        self._events: Spool | None = None

    def add(self, sessions: Ids, items: Ids, **numbers: np.ndarray) -> np.ndarray:
        """Add a block of events.

        Args:
            sessions: of each event, none missing.
            items: of each event, none missing.
            numbers: ``time`` and ``rating`` where known; the same ones for every block.

        Returns:
            The events with which an item came for the first time, rising.
        """
        known = len(self._items)
        codes = _number(items, self._items)
        fields = [("session", np.int32), ("item", np.int32), *((name, np.float64) for name in numbers)]
        events = np.empty(len(codes), dtype=fields)
        events["session"] = _number(sessions, self._sessions)
        events["item"] = codes + 1
        for name, values in numbers.items():
            events[name] = values
        self._events = self._events or Spool(events.dtype)
        self._events.append(events)
        most = np.maximum.accumulate(np.append(known - 1, codes))  # names are numbered as they come
        return np.flatnonzero(codes > most[:-1])

    @property
    def item_names(self) -> list[str]:
        """The items' names, by number."""
        return list(self._items)

    def log(self, items: pd.DataFrame) -> EventLog:
        """The log of all events added, at least one block; the collector takes no more.

        Args:
            items: see :class:`EventLog`.
        """
        assert self._events is not None
        events, self._events = self._events.array(), None
        lengths = count(events["session"], len(self._sessions))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        fields = {name: events.dtype[name] for name in events.dtype.names or ()}
        sorted_by = [name for name in ("time", "session") if name in fields]
        columns = {name: Spool(kind) for name, kind in fields.items() if name != "session"}
        for bucket in _buckets(events, offsets):
            order = np.lexsort([bucket[name] for name in sorted_by])
            for name, column in columns.items():
                column.append(bucket[name][order])
        arrays = {name: column.array() for name, column in columns.items()}
        ids = np.array(list(self._sessions), dtype=object)
        sequences = Sequences(arrays["item"], offsets, ids, arrays.get("time"))
        return EventLog(sequences, items, arrays.get("rating"))


def _number(ids: Ids, numbers: dict[str, int]) -> np.ndarray:
    """(N,) int32 numbers of the identifiers; new ones get the next numbers."""
    table = [numbers.setdefault(name, len(numbers)) for name in ids.names]
    return np.array(table, dtype=np.int32)[ids.codes]


def _buckets(events: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    """The events in stretches of whole sequences that fit in memory, in their order within a stretch."""
    size = max(BUCKET, len(events) // MOST_BUCKETS)
    if len(events) <= size:
        yield events
        return
    bucket_of = (offsets[:-1] // size).astype(np.int16)  # (S,)
    buckets = [Spool(events.dtype, in_memory=0) for _ in range(int(bucket_of[-1]) + 1)]
    for block in blocks(len(events)):
        numbers = bucket_of[events["session"][block]]
        order = np.argsort(numbers, kind="stable")
        ends = np.cumsum(np.bincount(numbers, minlength=len(buckets)))
        for bucket, part in zip(buckets, np.split(events[block][order], ends[:-1]), strict=True):
            bucket.append(part)
    while buckets:
        yield buckets.pop(0).array()


def filter_events(log: EventLog, filters: Filters, items: Collection[str] | None = None) -> Sequences:
    """Apply ``filters`` to a log.

    Args:
        log: the events.
        filters: what to keep.
        items: names of the items to keep, in place of the minimum item count.

    Raises:
        UserError: there are no ratings to filter by, or fewer than 2 items are left.
    """
    sequences, catalogue = log.sequences, len(log.items) + 1
    if filters.min_rating is not None:
        require(log.ratings is not None, "A minimum rating was asked for, but these events have no ratings.")
        assert log.ratings is not None
        sequences = sequences.where(log.ratings >= filters.min_rating)
    if items is not None:
        sequences = sequences.where(lookup(np.append(False, log.items["item_id"].isin(items)), sequences.items))
    elif filters.min_item_count > 1:
        frequent = count(sequences.items, catalogue) >= filters.min_item_count
        sequences = sequences.where(lookup(frequent, sequences.items))
    sequences = sequences.rows(sequences.lengths >= filters.min_length)
    if filters.last_events is not None:
        last = np.full(len(sequences), filters.last_events)
        sequences = sequences.where(tail(sequences.lengths, last))
    left = int(np.count_nonzero(count(sequences.items, catalogue)))
    before = log.sequences.events
    require(left > 0, f"Nothing is left of {before:,} events after the filters ({filters}); loosen them.")
    require(
        left > 1, f"Only one item is left after the filters ({filters}); predicting the next one needs two or more."
    )
    return sequences
