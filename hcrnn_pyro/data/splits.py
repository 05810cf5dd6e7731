"""From the sequences of a log to the three parts of a data set: splits and encoding.

Sequences that :func:`leave_last_out` holds out have first targets; all others are whole in one part.

Axes: N events, S sequences, V items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import first_positions, lookup
from hcrnn_pyro.data.dataset import PARTS, DataSet, Part, Sequences, tail
from hcrnn_pyro.errors import require

Parts = dict[Part, Sequences]
TEST_SHARE, VALID_SHARE = 0.2, 0.1  # the paper's: 20 % of the sequences, then 10 % of the rest
TEMPORAL_CUTS = (0.8, 0.9)


def split_users(sequences: Sequences, seed: int = 0) -> Parts:
    """Whole sequences at random: 20 % test, 10 % of the rest valid (the paper's shares), at least one in each part."""
    count = len(sequences)
    require(count >= 3, f"Three parts need at least 3 sequences; got {count}.")
    test = max(1, round(TEST_SHARE * count))
    valid = max(1, round(VALID_SHARE * (count - test)))
    order = np.random.default_rng(seed).permutation(count)
    part = np.zeros(count, dtype=np.int64)
    part[order[:test]] = 2
    part[order[test : test + valid]] = 1
    return {name: sequences.rows(part == number) for number, name in enumerate(PARTS)}


def split_temporal(sequences: Sequences) -> Parts:
    """Whole sequences by the time t of their last event, at two cut-offs for all of them.

    The cut-offs are the 80 % and 90 % quantiles (linear interpolation) of t over the sequences: train has t up to the
    first, valid t after it and up to the second, test t after that. So nothing in train happened after the first
    cut-off; a test sequence may have begun before it.

    Raises:
        UserError: the times are unknown, or too many sequences end at the same time for three parts.
    """
    times = sequences.times
    known = times is not None and not np.isnan(times).any()
    require(known, "A temporal split needs the time of every event.")
    assert times is not None
    last = times[sequences.offsets[1:] - 1]
    part = np.searchsorted(np.quantile(last, TEMPORAL_CUTS), last, side="left")
    sizes = np.bincount(part, minlength=3)
    require(
        bool(np.all(sizes > 0)),
        f"A temporal split of {len(last):,} sequences would have {' / '.join(map(str, sizes))} in train / valid / test:"
        " too few, or too many that end at the same time. Use --split users.",
    )
    return {name: sequences.rows(part == number) for number, name in enumerate(PARTS)}


def leave_last_out(sequences: Sequences) -> Parts:
    """Of every sequence the last event is the test target, the one before it the valid target, the rest is train.

    A test sequence is the whole sequence with only its last event as target; a valid sequence lacks that event
    and has its own last one as target: both keep the history as context. Sequences of 2 events are in train only; of
    sequences of 3, train keeps one event, which :func:`encode` drops as it predicts nothing.

    Raises:
        UserError: no sequence has 3 events.
    """
    held_out = sequences.lengths >= 3
    require(bool(held_out.any()), "Leaving the last two events out needs a sequence of at least 3 events.")
    whole = sequences.rows(held_out)
    without_last = whole.where(~tail(whole.lengths, np.ones(len(whole), dtype=np.int64)))
    return {
        "train": sequences.where(~tail(sequences.lengths, np.where(held_out, 2, 0))),
        "valid": replace(without_last, first_target=without_last.lengths - 1),
        "test": replace(whole, first_target=whole.lengths - 1),
    }


SPLITS: dict[str, Callable[[Sequences, int], Parts]] = {
    "users": split_users,
    "temporal": lambda sequences, seed: split_temporal(sequences),
    "leave-last-out": lambda sequences, seed: leave_last_out(sequences),
}


def encode(parts: Parts, name: str, items: pd.DataFrame, description: str = "", notes: tuple[str, ...] = ()) -> DataSet:
    """Number the items by first appearance in train and drop what cannot be predicted from there.

    Dropped are train sequences of fewer than 2 events; events of valid and test whose item is not in train; and then
    sequences of fewer than 2 events or without a target. Each kind is counted in a note of the data set.

    Args:
        parts: the three parts, with items numbered as in ``items``.
        name: name of the data set.
        items: what is known of the items; see :class:`hcrnn_pyro.data.events.EventLog`.
        description: one line on source, filters and split.
        notes: notes to put before those written here.

    Raises:
        UserError: a part has no sequence left, or train has fewer than 2 items.
    """
    train = parts["train"].rows(parts["train"].lengths >= 2)
    first = first_positions(train.items, len(items) + 1)
    vocabulary = np.argsort(first, kind="stable")[: np.count_nonzero(first < train.events)]
    require(len(vocabulary) >= 2, f"At least 2 items must be left in train; got {len(vocabulary)}.")
    numbers = np.zeros(len(items) + 1, dtype=np.int32)  # the new number of each item; 0: not in train
    numbers[vocabulary] = np.arange(1, len(vocabulary) + 1)
    sequences: Parts = {}
    written = list(notes)
    for part in PARTS:
        sequences[part], dropped_events = _numbered(parts[part], numbers)
        dropped_sequences = len(parts[part]) - len(sequences[part])
        require(len(sequences[part]) > 0, f"No sequence of {part} has an item of train to predict; loosen the filters.")
        if part != "train" and dropped_events:
            share = f"{dropped_events:,} of {parts[part].events:,}"
            written.append(f"{part}: {share} events were dropped, as their items are not in train.")
        if dropped_sequences:
            written.append(f"{part}: {dropped_sequences:,} sequences were dropped, left with nothing to predict.")
    known = items.iloc[vocabulary - 1].reset_index(drop=True)
    train_part, valid_part, test_part = (sequences[part] for part in PARTS)
    return DataSet(name, train_part, valid_part, test_part, known, description, tuple(written))


def _numbered(sequences: Sequences, numbers: np.ndarray) -> tuple[Sequences, int]:
    """The sequences under the new numbers without those left with nothing to predict, and how many events had none."""
    items = lookup(numbers, sequences.items)
    kept = replace(sequences, items=items).where(items > 0)
    predictable = kept.rows(kept.lengths > (1 if kept.first_target is None else kept.first_target))
    return predictable, sequences.events - kept.events
