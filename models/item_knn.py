r"""Item-KNN: p(y | x) in proportion to the likeness of an item to the last one, by the sequences that hold both.

Source: Linden, Smith and York, "Amazon.com Recommendations", 2003; with the shrinkage of Hidasi et al.,
"Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.

Axes: N scored predictions, V items.

    +--------------------- sequences, B --+
    |  x_t ---> next_item                 |
    |           (observed, time in the    |
    |            event)                   |
    +-------------------------------------+
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, diags_array

from hcrnn_pyro.counting import CountingConfig, CountingModel, CountTable
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.prefixes import last_items, occurrences


@dataclass(frozen=True)
class ItemKNNConfig(CountingConfig):
    """How far the likeness of rare items is trusted."""

    shrinkage: float = 20.0
    """Sequences added to the count of every item in the cosine: makes rare items less alike."""

    def __post_init__(self) -> None:
        require(0.0 <= self.shrinkage < math.inf, f"--shrinkage is at least 0 and finite; got {self.shrinkage}.")


class ItemKNN(CountingModel):
    """score(i) = likeness(x_t, i), where  likeness(j, i) = c_ji / sqrt((n_j + s) (n_i + s))  and likeness(i, i) = 0.

    c counts the training sequences that hold both items, n those that hold one, and s is the shrinkage: 0 makes it the
    cosine of the items' columns in the table of sequences and items.

    Args:
        items: V.
        settings: fields of :class:`ItemKNNConfig` that differ from their defaults.
    """

    config: ClassVar[type] = ItemKNNConfig

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        self.alone = CountTable(items + 1)
        self.together = CountTable(items + 1)

    def prepare(self, train: Sequences) -> None:
        """Count the sequences of every item, and every pair of items."""
        counts = self.count_pairs(train)
        counts.setdiag(0.0)
        counts.eliminate_zeros()
        self.alone.keep(csr_array(occurrences(train, self.items).sum(axis=0)[None]))
        self.together.keep(counts)

    def count_pairs(self, train: Sequences) -> csr_array:
        """(V + 1, V + 1) how many sequences hold both items."""
        held = occurrences(train, self.items)
        return csr_array(held.T @ held)

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """What was read, times the likenesses; the roots stand outside, so that the table holds counts."""
        sequences = self.alone.table.toarray()[0] + self.settings.shrinkage
        roots = diags_array(1.0 / np.sqrt(sequences.clip(min=1.0)))  # below 1 only for items that never occur
        return (self.read(batch) @ roots @ self.together.table @ roots).toarray()

    def read(self, batch: Batch) -> csr_array:
        """(N, V + 1) weights of the items whose neighbours are wanted: the last one alone."""
        return last_items(batch, self.items)
