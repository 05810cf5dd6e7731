"""Spectral item embeddings: items that occur near each other in the training sequences get similar vectors.

Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014, on item sequences: the positive
pointwise mutual information of items and their neighbours, cut down to its leading singular vectors.

Axes: N events, V items, E embedding.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds
from torch import Tensor

from hcrnn_pyro.data.dataset import Sequences

ItemEmbeddings = Literal["flat", "spectral"]
"""Where a model's item embeddings start: flat from noise, spectral from :func:`spectral_embeddings`."""

WINDOW = 10  # neighbours are at most so many steps away
DECAY = 5.0  # a neighbour d steps away counts exp(-d / DECAY)
CONTEXT_POWER = 0.75  # flattens the neighbours' counts, so that rare ones do not dominate (Levy and Goldberg 2015)
SCALE = 0.1  # standard deviation of all entries: that of the embeddings which training otherwise starts from


def spectral_embeddings(train: Sequences, items: int, size: int) -> Float[Tensor, "columns embedding"]:
    """U sqrt(S) of the truncated SVD  PPMI ~ U S W^T, scaled to standard deviation 0.1.

    Args:
        train: the training part.
        items: V.
        size: E; where the matrix has fewer singular values, the last columns are zero.

    Returns:
        (V + 1, E), row 0 for padding, zero. An item without neighbours gets zeros.
    """
    association = positive_pmi(near_counts(train, items))
    kept = min(size, items - 1)
    embeddings = np.zeros((items + 1, size))
    if kept > 0 and association.nnz > 0:
        left, strengths, _ = svds(association, k=kept, v0=np.ones(items))
        order = np.argsort(-strengths)
        embeddings[1:, :kept] = left[:, order] * np.sqrt(strengths[order].clip(min=0.0))
        embeddings *= SCALE / embeddings[1:].std()
    return torch.from_numpy(embeddings).float()


def near_counts(train: Sequences, items: int) -> csr_array:
    """(V, V) how often two items stand near each other, in either order, weighed by exp(-distance / 5)."""
    sequence = np.repeat(np.arange(len(train)), train.lengths)
    counts = csr_array((items, items))
    for distance in range(1, WINDOW + 1):
        together = np.flatnonzero(sequence[:-distance] == sequence[distance:])
        first, second = train.items[together] - 1, train.items[together + distance] - 1
        weights = np.full(len(together), np.exp(-distance / DECAY))
        counts = counts + coo_array((weights, (first, second)), shape=(items, items)).tocsr()
    return csr_array(counts + counts.T)


def positive_pmi(counts: csr_array) -> csr_array:
    """max(0, log( p(i, j) / (p(i) q(j)) )), with q proportional to the neighbours' counts to the power 0.75.

    Args:
        counts: (V, V) non-negative.
    """
    pairs = counts.tocoo()
    of_items, of_contexts = counts.sum(axis=1), counts.sum(axis=0) ** CONTEXT_POWER
    expected = of_items[pairs.row] * of_contexts[pairs.col] / of_contexts.sum()
    values = np.log(pairs.data / expected).clip(min=0.0)
    association = coo_array((values, (pairs.row, pairs.col)), shape=counts.shape).tocsr()
    association.eliminate_zeros()
    return csr_array(association)
