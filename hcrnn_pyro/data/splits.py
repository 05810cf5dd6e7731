"""From one frame of events to the three parts of a data set: splits and encoding.

Parts are events frames (see :mod:`hcrnn_pyro.data.events`). Those that :func:`leave_last_out` holds out have a further
column ``target``: which events are to be predicted; they end their sequence.

Axes: N events, S sequences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from hcrnn_pyro.data.dataset import PARTS, DataSet, Part, Sequences
from hcrnn_pyro.data.events import from_end, runs
from hcrnn_pyro.errors import require

Parts = dict[Part, pd.DataFrame]
TEST_SHARE, VALID_SHARE = 0.2, 0.1  # the paper's: 20 % of the sequences, then 10 % of the rest
TEMPORAL_CUTS = (0.8, 0.9)


def split_users(events: pd.DataFrame, seed: int = 0) -> Parts:
    """Whole sequences at random: 20 % test, 10 % of the rest valid (the paper's shares), at least one in each part."""
    codes, lengths = runs(events)
    count = len(lengths)
    require(count >= 3, f"Three parts need at least 3 sequences; got {count}.")
    test = max(1, round(TEST_SHARE * count))
    valid = max(1, round(VALID_SHARE * (count - test)))
    order = np.random.default_rng(seed).permutation(count)
    part = np.zeros(count, dtype=np.int64)
    part[order[:test]] = 2
    part[order[test : test + valid]] = 1
    return {name: events[part[codes] == number] for number, name in enumerate(PARTS)}


def split_temporal(events: pd.DataFrame) -> Parts:
    """Whole sequences by the time t of their last event, at two cut-offs for all of them.

    The cut-offs are the 80 % and 90 % quantiles (linear interpolation) of t over the sequences: train has t up to the
    first, valid t after it and up to the second, test t after that. So nothing in train happened after the first
    cut-off; a test sequence may have begun before it.

    Raises:
        UserError: the times are unknown, or too many sequences end at the same time for three parts.
    """
    require("time" in events and bool(events["time"].notna().all()), "A temporal split needs the time of every event.")
    codes, lengths = runs(events)
    last = events["time"].to_numpy()[np.cumsum(lengths) - 1]
    part = np.searchsorted(np.quantile(last, TEMPORAL_CUTS), last, side="left")
    sizes = np.bincount(part, minlength=3)
    require(
        bool(np.all(sizes > 0)),
        f"A temporal split of {len(last):,} sequences would have {' / '.join(map(str, sizes))} in train / valid / test:"
        " too few, or too many that end at the same time. Use --split users.",
    )
    return {name: events[part[codes] == number] for number, name in enumerate(PARTS)}


def leave_last_out(events: pd.DataFrame) -> Parts:
    """Of every sequence the last event is the test target, the one before it the valid target, the rest is train.

    A test sequence is the whole sequence with only its last event as ``target``; a valid sequence lacks that event
    and has its own last one as target: both keep the history as context. Sequences of 2 events are in train only; of
    sequences of 3, train keeps one event, which :func:`encode` drops as it predicts nothing.

    Raises:
        UserError: no sequence has 3 events.
    """
    codes, lengths = runs(events)
    held_out = (lengths >= 3)[codes]
    require(bool(held_out.any()), "Leaving the last two events out needs a sequence of at least 3 events.")
    following = from_end(events)
    return {
        "train": events[~held_out | (following >= 2)],
        "valid": events.assign(target=following == 1)[held_out & (following >= 1)],
        "test": events.assign(target=following == 0)[held_out],
    }


SPLITS: dict[str, Callable[[pd.DataFrame, int], Parts]] = {
    "users": split_users,
    "temporal": lambda events, seed: split_temporal(events),
    "leave-last-out": lambda events, seed: leave_last_out(events),
}


def encode(parts: Parts, name: str, items: pd.DataFrame, description: str = "", notes: tuple[str, ...] = ()) -> DataSet:
    """Number the items by first appearance in train and drop what cannot be predicted from there.

    Dropped are train sequences of fewer than 2 events; events of valid and test whose item is not in train; and then
    sequences of fewer than 2 events or without a target. Each kind is counted in a note of the data set.

    Args:
        parts: the three events frames.
        name: name of the data set.
        items: what is known of the items; see :class:`hcrnn_pyro.data.events.EventLog`.
        description: one line on source, filters and split.
        notes: notes to put before those written here.

    Raises:
        UserError: a part has no sequence left, or train has fewer than 2 items.
    """
    codes, lengths = runs(parts["train"])
    train = parts["train"][(lengths >= 2)[codes]]
    vocabulary = pd.Index(train["item"].unique().astype(object))
    require(len(vocabulary) >= 2, f"At least 2 items must be left in train; got {len(vocabulary)}.")
    sequences: dict[Part, Sequences] = {}
    written = list(notes)
    for part in PARTS:
        sequences[part], dropped_events, dropped_sequences = _numbered(parts[part], vocabulary)
        require(len(sequences[part]) > 0, f"No sequence of {part} has an item of train to predict; loosen the filters.")
        if part != "train" and dropped_events:
            share = f"{dropped_events:,} of {len(parts[part]):,}"
            written.append(f"{part}: {share} events were dropped, as their items are not in train.")
        if dropped_sequences:
            written.append(f"{part}: {dropped_sequences:,} sequences were dropped, left with nothing to predict.")
    known = pd.DataFrame({"item_id": vocabulary}).merge(items, on="item_id", how="left")
    train_part, valid_part, test_part = (sequences[part] for part in PARTS)
    return DataSet(name, train_part, valid_part, test_part, known, description, tuple(written))


def _numbered(events: pd.DataFrame, vocabulary: pd.Index) -> tuple[Sequences, int, int]:
    """The sequences over the vocabulary, and how many events of other items and how many sequences were dropped."""
    numbers = vocabulary.get_indexer(events["item"].cat.categories.astype(object)) + 1  # per category; 0 is unknown
    items = numbers[events["item"].cat.codes]
    sequences = _sequences(events[items > 0], items[items > 0])
    return sequences, int(np.sum(items == 0)), events["session"].nunique() - len(sequences)


def _sequences(events: pd.DataFrame, items: np.ndarray) -> Sequences:
    """The sequences of a part, without those that have nothing to predict."""
    codes, lengths = runs(events)
    first = np.ones(len(lengths), dtype=np.int64)
    if "target" in events:
        context = np.bincount(codes, weights=~events["target"], minlength=len(lengths)).astype(np.int64)
        first = np.maximum(context, 1)
    kept = lengths > first
    in_kept = kept[codes]
    offsets = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
    return Sequences(
        items=items[in_kept].astype(np.int32),
        offsets=offsets,
        ids=events["session"].to_numpy()[in_kept][offsets[:-1]].astype(object),
        times=events["time"].to_numpy(dtype=np.float64)[in_kept] if "time" in events else None,
        first_target=first[kept] if "target" in events else None,
    )
