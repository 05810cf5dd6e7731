"""What a data set holds, and what could mislead whoever trusts a number made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hcrnn_pyro.data.arrays import count
from hcrnn_pyro.data.dataset import PARTS, DataSet, Part, Sequences, count_repeats


@dataclass(frozen=True)
class PartAudit:
    """Numbers of one part. Shares are of 1; a share of nothing is ``None``."""

    sequences: int
    events: int
    predictions: int
    items: int
    """Different items in this part."""
    length_min: int
    length_median: float
    length_max: int
    repeats: int
    """Events whose item came earlier in the same sequence."""
    repeat_share: float | None
    """Repeats among all events."""
    items_not_in_train: int
    copies: int
    """Sequences whose list of items also is a whole sequence of another part."""
    copy_predictions: int
    """Predictions in these."""
    ties: int | None
    """Neighbouring events of a sequence at the same known time; ``None`` where the source has no times."""
    tie_share: float | None
    """Ties among the neighbouring events with known times."""


ROWS: dict[str, tuple[str, str]] = {  # field of PartAudit: its label, the format of its values
    "sequences": ("sequences", ",d"),
    "events": ("events", ",d"),
    "predictions": ("predictions", ",d"),
    "items": ("items", ",d"),
    "length_min": ("length, shortest", ",d"),
    "length_median": ("length, median", ",g"),
    "length_max": ("length, longest", ",d"),
    "repeats": ("repeated items, events", ",d"),
    "repeat_share": ("repeated items, share", ".1%"),
    "items_not_in_train": ("items not in train", ",d"),
    "copies": ("copies of another part's sequence", ",d"),
    "copy_predictions": ("predictions in copies", ",d"),
    "ties": ("neighbours at the same time", ",d"),
    "tie_share": ("neighbours at the same time, share", ".1%"),
}


@dataclass(frozen=True)
class Audit:
    """The audit of a data set: numbers of each part, and its notes.

    Attributes:
        name, description, notes: the data set's own.
        items: size V of the catalogue.
        parts: numbers of train, valid and test.
    """

    name: str
    description: str
    items: int
    parts: dict[Part, PartAudit]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can hold."""
        return {**asdict(self), "notes": list(self.notes)}

    def to_text(self) -> str:
        """A table with a column for each part, then the notes."""
        width = max(len(label) for label, _ in ROWS.values())
        lines = [f"{self.name}: {self.items:,} items. {self.description}".rstrip(), ""]
        lines.append(" " * width + "".join(f"{part:>12}" for part in self.parts))
        for field, (label, form) in ROWS.items():
            values = [getattr(part, field) for part in self.parts.values()]
            lines.append(f"{label:<{width}}" + "".join(f"{_cell(value, form):>12}" for value in values))
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join([*lines, *([""] if notes else []), *notes])

    def __str__(self) -> str:
        return self.to_text()


def audit(data: DataSet) -> Audit:
    """Audit a data set.

    The cost grows linearly with its events, the memory with its sequences and items. Sequences are compared by hashes
    of 64 bits: among 10^7 different ones, two are taken for equal once in 10^5 data sets.
    """
    counts = {part: count(data.part(part).items, data.catalogue_size + 1) for part in PARTS}
    hashes = {part: sequence_hashes(data.part(part)) for part in PARTS}
    different, parts_with = np.unique(np.concatenate([np.unique(hashes[part]) for part in PARTS]), return_counts=True)
    shared = different[parts_with > 1]
    parts = {
        part: _audit_part(data.part(part), counts[part] > 0, counts["train"] > 0, np.isin(hashes[part], shared))
        for part in PARTS
    }
    return Audit(data.name, data.description, data.catalogue_size, parts, data.notes)


def sequence_hashes(part: Sequences) -> np.ndarray:
    """(S,) int64, equal for equal lists of items."""
    return np.fromiter((hash(items.tobytes()) for items in part), np.int64, len(part))


def time_gaps(part: Sequences) -> np.ndarray:
    """(N,) seconds since the event before in the same sequence; NaN where there is none or a time is unknown."""
    gaps = np.full(part.events, np.nan)
    if part.times is not None:
        gaps[1:] = np.diff(part.times)
        gaps[part.offsets[:-1][part.lengths > 0]] = np.nan  # an event that begins a sequence has none before it
    return gaps


def _audit_part(part: Sequences, present: np.ndarray, in_train: np.ndarray, copied: np.ndarray) -> PartAudit:
    """The numbers of a part, given which items it and train have, (V + 1,), and which sequences are copies, (S,)."""
    lengths = part.lengths if len(part) else np.zeros(1, dtype=np.int64)
    repeats = count_repeats(part)
    first = 1 if part.first_target is None else part.first_target
    ties, neighbours = (sum(column) for column in zip((0, 0), *map(_count_ties, part.pieces()), strict=True))
    return PartAudit(
        sequences=len(part),
        events=part.events,
        predictions=part.predictions,
        items=int(present.sum()),
        length_min=int(lengths.min()),
        length_median=float(np.median(lengths)),
        length_max=int(lengths.max()),
        repeats=repeats,
        repeat_share=repeats / part.events if part.events else None,
        items_not_in_train=int((present & ~in_train).sum()),
        copies=int(copied.sum()),
        copy_predictions=int(np.maximum(part.lengths - first, 0)[copied].sum()),
        ties=None if part.times is None else ties,
        tie_share=ties / neighbours if neighbours else None,
    )


def _count_ties(part: Sequences) -> tuple[int, int]:
    """Pairs of neighbouring events at the same time, and pairs whose times are both known."""
    gaps = time_gaps(part)
    return int((gaps == 0).sum()), int((~np.isnan(gaps)).sum())


def _cell(value: int | float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
