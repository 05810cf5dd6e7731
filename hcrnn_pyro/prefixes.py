"""Sequences and their prefixes as sparse tables over the items, for models that multiply counts.

Axes: B rows, Q queries of a row, N scored predictions of all rows, S sequences, V items. Column 0 is padding: empty.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences


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
    starts = np.concatenate([[0], np.cumsum(last + 1)])
    prediction = np.repeat(np.arange(len(rows)), last + 1)
    steps = np.arange(starts[-1]) - starts[prediction]
    read = batch.inputs.cpu().numpy()[rows[prediction], steps]
    weights = np.exp((steps - last[prediction]) / decay)
    prefixes = csr_array((weights, read, starts), shape=(len(rows), items + 1))
    prefixes.sum_duplicates()
    return prefixes


def occurrences(sequences: Sequences, items: int) -> csr_array:
    """(S, V + 1) whether an item occurs in a sequence, 1 or 0."""
    entries = (np.ones(sequences.events), sequences.items, sequences.offsets)
    table = csr_array(entries, shape=(len(sequences), items + 1))
    table.sum_duplicates()
    table.data[:] = 1.0
    return table


def _scored(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the row of every scored prediction, and t - 1, the last position that it has read."""
    rows = batch.scored.nonzero()[:, 0]
    return rows.cpu().numpy(), batch.queries[batch.scored].cpu().numpy()
