"""The data on which the contract is checked: three short sequences, too small to hide anything.

Axes: B rows, T time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch.nn.functional import pad

from hcrnn_pyro.data.batches import Batch, Scope, make_batch
from hcrnn_pyro.data.dataset import Sequences

ITEMS = 9
SIZES = {"hidden": 6, "contexts": 4}  # of the models that have such settings
SECONDS = [0, 0, 60, 70, 4000, 4000]  # at which the events of the first sequence happen
LATER = [0, 0, 60, 9000, 9000, 9001]


def _toy(first: list[int], seconds: list[int]) -> Sequences:
    """The three sequences, with another first one."""
    sequences = Sequences.from_lists([first, [7, 8, 9], [3, 1, 9, 2]])
    return replace(sequences, times=np.array([*seconds, 0, 5, 5, 100, 300, np.nan, 800], dtype=np.float64))


SEQUENCES = _toy([1, 2, 3, 4, 5, 6], SECONDS)
OTHER_FUTURE = _toy([1, 2, 3, 9, 8, 7], LATER)
SAME_PAST = 3  # events of the first sequence before the two part
OTHER_FIRST_INPUT = _toy([9, 2, 3, 4, 5, 6], SECONDS)
OTHER_LAST_INPUT = _toy([1, 2, 3, 4, 9, 6], SECONDS)


def batch_of(scope: Scope, sequences: Sequences = SEQUENCES) -> Batch:
    """All rows of a scope: sequences, or sequence by sequence its prefixes, the short ones first."""
    if scope == "prefix":
        rows = np.repeat(np.arange(len(sequences)), sequences.lengths - 1)
        lengths = np.concatenate([np.arange(1, length) for length in sequences.lengths])
        return make_batch(sequences, rows, lengths, scope)
    return make_batch(sequences, np.arange(len(sequences)), sequences.lengths - 1, scope)


def row_of(scope: Scope, row: int) -> Batch:
    """One row of :func:`batch_of`, without padding."""
    batch = batch_of(scope)
    return make_batch(SEQUENCES, batch.rows[row : row + 1].numpy(), batch.lengths[row : row + 1].numpy(), scope)


def with_padding(batch: Batch, extra: int) -> Batch:
    """The same rows with more padded steps."""
    names = ["inputs"] if batch.scope == "prefix" else ["inputs", "targets", "scored"]
    padded: dict[str, Any] = {name: pad(getattr(batch, name), (0, extra)) for name in names}
    if batch.elapsed is not None:
        padded["elapsed"] = pad(batch.elapsed, (0, extra), value=np.nan)
    return replace(batch, **padded)
