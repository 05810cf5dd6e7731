"""Sequences and their prefixes as sparse tables over the items, for models that multiply counts.

Axes: B rows, Q queries of a row, N scored predictions of all rows, S sequences, V items. Column 0 is padding: empty.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import coo_array, csr_array

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences

SMALLEST_WEIGHT = 1e-3


def last_items(batch: Batch, items: int) -> csr_array:
    """(N, V + 1) a single one in each row: at x_t, the item that the prediction has read last.

    Args:
        batch: rows of any scope.
        items: V.
    """
    rows, last = _scored(batch)
    read = batch.inputs.cpu().numpy()[rows, last]
    return csr_array((np.ones(len(rows)), read, np.arange(len(rows) + 1)), shape=(len(rows), items + 1))


def weighted_prefixes(batch: Batch, items: int, decay: float = math.inf) -> csr_array:
    """(N, V + 1) the items of x_1..x_t, one d steps before x_t with weight exp(-d / decay); repeats add up.

    Args:
        batch: rows of any scope.
        items: V.
        decay: in steps, above 0; infinite: plain counts.
    """
    rows, last = _scored(batch)
    prediction, steps, starts = _stretches(last + 1)
    read = batch.inputs.cpu().numpy()[rows[prediction], steps]
    return _summed(np.exp((steps - last[prediction]) / decay), read, starts, items)


def weighted_futures(batch: Batch, items: int, reach: float) -> csr_array:
    """(N, V + 1) the items from x_t+1 to the end, one d steps after x_t+1 with weight exp(-d / reach); repeats add up.

    Args:
        batch: rows of the sequence or filtering scope, whose targets are all that comes.
        items: V.
        reach: in steps, above 0.
    """
    rows, last = _scored(batch)
    prediction, steps, starts = _stretches(batch.lengths.cpu().numpy()[rows] - last)
    coming = batch.targets.cpu().numpy()[rows[prediction], last[prediction] + steps]
    return _summed(np.exp(-steps / reach), coming, starts, items)


def occurrences(sequences: Sequences, items: int) -> csr_array:
    """(S, V + 1) whether an item occurs in a sequence, 1 or 0."""
    entries = (np.ones(sequences.events), sequences.items, sequences.offsets)
    table = csr_array(entries, shape=(len(sequences), items + 1), copy=True)
    table.sum_duplicates()  # in place
    table.data[:] = 1.0
    return table


def ordered_pairs(sequences: Sequences, items: int, reach: float) -> csr_array:
    """(V + 1, V + 1) how often and how closely an item, the row's, comes before another, the column's.

    It is the sum of exp(-(d - 1) / reach) over the pairs of events of one sequence that are d steps apart; pairs of a
    weight below ``SMALLEST_WEIGHT`` are left out.

    Args:
        sequences: where pairs are counted.
        items: V.
        reach: in steps, above 0.
    """
    sequence = np.repeat(np.arange(len(sequences)), sequences.lengths)
    longest = int(sequences.lengths.max(initial=1)) - 1
    farthest = min(longest, 1 + math.floor(-reach * math.log(SMALLEST_WEIGHT)))
    table = csr_array((items + 1, items + 1))
    for steps in range(1, farthest + 1):
        first = np.flatnonzero(sequence[:-steps] == sequence[steps:])
        weight = np.full(len(first), math.exp(-(steps - 1) / reach))
        pairs = coo_array((weight, (sequences.items[first], sequences.items[first + steps])), shape=table.shape)
        table = table + pairs.tocsr()
    return table


def _scored(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the row of every scored prediction, and t - 1, the last position that it has read."""
    rows = batch.scored.nonzero()[:, 0]
    return rows.cpu().numpy(), batch.queries[batch.scored].cpu().numpy()


def _stretches(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all events of the predictions' stretches: its prediction, its place in the stretch; and each one's start."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    prediction = np.repeat(np.arange(len(lengths)), lengths)
    return prediction, np.arange(starts[-1]) - starts[prediction], starts


def _summed(weights: np.ndarray, columns: np.ndarray, starts: np.ndarray, items: int) -> csr_array:
    """(N, V + 1) weights of items; those of one item add up."""
    table = csr_array((weights, columns, starts), shape=(len(starts) - 1, items + 1))
    table.sum_duplicates()
    return table
