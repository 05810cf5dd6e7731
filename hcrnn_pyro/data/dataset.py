"""What every source of data becomes: three parts of item sequences over one item vocabulary.

Axes: N events of a part, S sequences of a part, V items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import BLOCK, blocks, stack

if TYPE_CHECKING:
    from hcrnn_pyro.data.truth import Truth

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of item indices, stored flat: sequence s is ``items[offsets[s]:offsets[s + 1]]``.

    Attributes:
        items: (N,) int32, item indices 1..V in the order of the events; 0 is kept for padding.
        offsets: (S + 1,) int64, rising from 0 to N.
        ids: (S,) the sequences' own names, as text.
        times: (N,) float64 seconds, NaN where unknown; ``None`` where the source has no times.
        first_target: (S,) int64, index within each sequence of the first event that is to be predicted, at least 1;
            the events before it are context only. ``None``: every event but the first is predicted.
    """

    items: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    times: np.ndarray | None = None
    first_target: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.offsets) - 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.items):
            raise ValueError(
                f"Offsets must rise from 0 to {len(self.items)} events over {len(self.ids)} sequences; "
                f"got {len(self.offsets)} offsets ending at {self.offsets[-1]}."
            )
        if self.times is not None and len(self.times) != len(self.items):
            raise ValueError(f"Expected one time per event, {len(self.items)}; got {len(self.times)}.")
        if self.first_target is not None and (len(self.first_target) != len(self) or np.any(self.first_target < 1)):
            raise ValueError(f"Expected one first target per sequence, {len(self)}, each at least 1.")

    @classmethod
    def from_lists(cls, sequences: list[list[int]], ids: list[str] | None = None) -> Sequences:
        """Flatten lists of item indices; the sequences are named 0, 1, ... unless ``ids`` says otherwise."""
        lengths = [len(sequence) for sequence in sequences]
        return cls(
            items=np.fromiter((item for sequence in sequences for item in sequence), np.int32, sum(lengths)),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            ids=np.array(ids if ids is not None else [str(i) for i in range(len(sequences))], dtype=object),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> np.ndarray:
        """Item indices of one sequence, a view of the flat array."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """(S,) int64, events in each sequence."""
        return np.diff(self.offsets)

    @property
    def events(self) -> int:
        """Number of events N."""
        return len(self.items)

    @property
    def predictions(self) -> int:
        """Number of (prefix, next item) pairs: the events from each sequence's first target on."""
        first = 1 if self.first_target is None else self.first_target
        return int(np.maximum(self.lengths - first, 0).sum())

    @property
    def has_times(self) -> bool:
        """Whether the time of any event is known."""
        return any(piece.times is not None and not np.isnan(piece.times).all() for piece in self.pieces())

    def take(self, rows: np.ndarray) -> Sequences:
        """The chosen sequences, in the order of ``rows`` and in memory."""
        chosen = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(chosen)]).astype(np.int64)
        events = np.repeat(self.offsets[rows] - offsets[:-1], chosen) + np.arange(offsets[-1])
        times = None if self.times is None else self.times[events]
        first_target = None if self.first_target is None else self.first_target[rows]
        return Sequences(self.items[events], offsets, self.ids[rows], times, first_target)

    def rows(self, chosen: np.ndarray) -> Sequences:
        """The sequences for which ``chosen``, (S,) bool, is true, in their order; of any size."""
        return self.where(np.repeat(chosen, self.lengths))

    def where(self, kept: np.ndarray) -> Sequences:
        """The events for which ``kept``, (N,) bool, is true, and the sequences that have one; of any size.

        First targets move along with their events, but never to the first event left.
        """
        if kept.all() and np.all(self.lengths > 0):
            return self
        lengths = _sums(kept, self.offsets)
        left = lengths > 0
        first_target = None
        if self.first_target is not None:
            targets = _sums(kept & tail(self.lengths, self.lengths - self.first_target), self.offsets)
            first_target = np.maximum(lengths - targets, 1)[left]
        return Sequences(
            items=_compress(self.items, kept),
            offsets=np.concatenate([[0], np.cumsum(lengths[left])]).astype(np.int64),
            ids=self.ids[left],
            times=None if self.times is None else _compress(self.times, kept),
            first_target=first_target,
        )

    def followed_by(self, other: Sequences) -> Sequences:
        """These sequences, then the others."""

        def joined(mine: np.ndarray | None, theirs: np.ndarray | None) -> np.ndarray | None:
            return None if mine is None or theirs is None else np.concatenate([mine, theirs])

        def first_targets(part: Sequences) -> np.ndarray:
            return np.ones(len(part), dtype=np.int64) if part.first_target is None else part.first_target

        both_whole = self.first_target is None and other.first_target is None
        return Sequences(
            items=np.concatenate([self.items, other.items]),
            offsets=np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
            ids=np.concatenate([self.ids, other.ids]),
            times=joined(self.times, other.times),
            first_target=None if both_whole else np.concatenate([first_targets(self), first_targets(other)]),
        )

    def pieces(self) -> Iterator[Sequences]:
        """Views of neighbouring sequences, with about as many events together as a pass should handle at a time."""
        starts = np.unique(np.searchsorted(self.offsets, np.arange(0, self.events, BLOCK)))
        for start, end in pairwise([*starts.tolist(), len(self)]):
            events = slice(self.offsets[start], self.offsets[end])
            yield Sequences(
                items=self.items[events],
                offsets=self.offsets[start : end + 1] - self.offsets[start],
                ids=self.ids[start:end],
                times=None if self.times is None else self.times[events],
                first_target=None if self.first_target is None else self.first_target[start:end],
            )


@dataclass(frozen=True, eq=False)
class DataSet:
    """Three parts over one vocabulary.

    Attributes:
        name: the name it was asked for by (``movielens``), or the file's name.
        train, valid, test: the parts.
        items: one row per item, row i for item index i + 1; column ``item_id`` (text), and where known ``title``
            (text) and ``categories`` (text, names joined by ``|``).
        description: one line on where the data came from and how it was filtered and split.
        notes: what the user should know of this data before trusting a number made from it.
        truth: the generative truth, for data drawn from a known process.
    """

    name: str
    train: Sequences
    valid: Sequences
    test: Sequences
    items: pd.DataFrame
    description: str = ""
    notes: tuple[str, ...] = field(default=())
    truth: Truth | None = None

    @property
    def catalogue_size(self) -> int:
        """Number of items V."""
        return len(self.items)

    def part(self, name: Part) -> Sequences:
        """One part by its name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    @property
    def fingerprint(self) -> str:
        """SHA-1 of the vocabulary and of every part's events; equal for equal data."""
        digest = hashlib.sha1("\0".join(self.items["item_id"]).encode())
        for part in (self.train, self.valid, self.test):
            digest.update(np.ascontiguousarray(part.offsets).data)
            digest.update(np.ascontiguousarray(part.items).data)
        return digest.hexdigest()

    @property
    def times_fingerprint(self) -> str | None:
        """SHA-1 of the times of every part's events; ``None`` where no part has any."""
        known = [part.times for part in (self.train, self.valid, self.test) if part.times is not None]
        digest = hashlib.sha1()
        for times in known:
            digest.update(np.ascontiguousarray(times).data)
        return digest.hexdigest() if known else None

    def with_valid_in_train(self) -> DataSet:
        """The same data with every event of the valid part trained on as well; the valid part stays what it is.

        A valid sequence that has its history as context, which is a training sequence, takes that one's place.
        """
        valid = self.valid
        if valid.first_target is None:
            return replace(self, train=self.train.followed_by(valid))
        others = self.train.rows(~np.isin(self.train.ids, valid.ids))
        return replace(self, train=others.followed_by(replace(valid, first_target=None)))

    @property
    def has_repeats(self) -> bool:
        """Whether any item occurs twice in one sequence of any part."""
        return any(_count_repeats(piece) > 0 for name in PARTS for piece in self.part(name).pieces())


def count_repeats(sequences: Sequences) -> int:
    """Number of events whose item occurred earlier in the same sequence."""
    return sum(_count_repeats(piece) for piece in sequences.pieces())


def tail(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(N,) bool, whether an event is among the last ``counts`` (S,) of its sequence."""
    counts = np.clip(counts, 0, lengths)
    return np.repeat(np.tile([False, True], len(lengths)), np.stack([lengths - counts, counts], axis=1).ravel())


def _count_repeats(sequences: Sequences) -> int:
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    pairs = np.sort(rows * (int(sequences.items.max(initial=0)) + 1) + sequences.items)
    return int(np.sum(pairs[1:] == pairs[:-1]))


def _sums(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(S,) int64, how many flags are set in each sequence."""
    sums = np.zeros(len(offsets) - 1, dtype=np.int64)
    filled = np.flatnonzero(np.diff(offsets))  # reduceat takes an empty stretch for one of a single number
    if len(filled):
        sums[filled] = np.add.reduceat(flags, offsets[filled], dtype=np.int64)
    return sums


def _compress(array: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return stack((array[block][kept[block]] for block in blocks(len(array))), array.dtype)
