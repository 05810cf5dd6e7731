"""Do the items of a context belong together, and do the contexts differ?

Axes: K contexts, n top items, S held-out sequences, V items. Top items are (K, n) item indices 1..V, as of
:func:`hcrnn_pyro.posterior.contexts.top_items`.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from hcrnn_pyro.data.dataset import Sequences

SMOOTHING = 1e-12  # added to the share of sequences that hold both items (Roeder et al. 2015)


def coherence(top: np.ndarray, held_out: Sequences) -> np.ndarray:
    """(K,) mean NPMI of the pairs of each context's top items over whole held-out sequences (Roeder et al. 2015).

        NPMI(i, j) = log[(p_ij + e) / (p_i p_j)] / -log(p_ij + e),    e = 1e-12

    with p_i the share of the sequences that hold item i, and p_ij that of those with both. 1: the two always come
    together; 0: as often as by chance; near -1: never. An item that no held-out sequence holds says nothing, and its
    pairs are left out; a context without a pair left is NaN. Compare values over the same sequences only.

    Args:
        top: (K, n) item indices of each context, n >= 2; ten by custom.
        held_out: sequences that trained nothing.
    """
    items = np.unique(top)
    holds = _membership(held_out, items)
    together = np.asarray((holds.T @ holds).todense(), dtype=float) / len(held_out)
    npmi = _npmi(together)
    places = np.searchsorted(items, top)  # (K, n)
    one, other = np.triu_indices(top.shape[1], k=1)
    pairs = npmi[places[:, one], places[:, other]]  # (K, n (n - 1) / 2)
    known = ~np.isnan(pairs)
    sums = np.where(known, pairs, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan)


def diversity(top: np.ndarray) -> float:
    """Share of different items among the top items of all contexts (Dieng et al. 2020, who take 25 of each).

    1: no item leads two contexts; 1 / K: all contexts have the same.

    Args:
        top: (K, n) item indices of each context.
    """
    return len(np.unique(top)) / top.size


def _membership(sequences: Sequences, items: np.ndarray) -> csr_matrix:
    """(S, items) 1 where a sequence holds one of ``items``, which rise."""
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    asked = np.isin(sequences.items, items)
    columns = np.searchsorted(items, sequences.items[asked])
    pairs = np.unique(np.stack([rows[asked], columns]), axis=1)
    return csr_matrix((np.ones(pairs.shape[1]), pairs), shape=(len(sequences), len(items)))


def _npmi(together: np.ndarray) -> np.ndarray:
    """NPMI from the shares p_ij, whose diagonal holds p_i; NaN where an item never occurs."""
    alone = together.diagonal()
    chance = np.outer(alone, alone)
    smoothed = together + SMOOTHING
    known, always = chance > 0, together >= 1.0
    ratio = np.log(smoothed / np.where(known, chance, 1.0)) / -np.log(np.where(always, 0.5, smoothed))
    return np.where(known, np.where(always, 1.0, ratio), np.nan)  # always together: the limit, 1
