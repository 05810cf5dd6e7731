r"""First-order Markov chain: p(y | x) in proportion to how often an item follows x_t in the training part.

Axes: N scored predictions, V items.

    +--------------------- sequences, B --+
    |  x_t ---> next_item                 |
    |           (observed, time in the    |
    |            event)                   |
    +-------------------------------------+
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array

from hcrnn_pyro.counting import CountingModel, CountTable
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.prefixes import last_items


class Markov(CountingModel):
    """score(i) = how often i comes directly after x_t. Most items tie at 0: look at the pessimistic ranks.

    Args:
        items: V.
        settings: fields of :class:`hcrnn_pyro.counting.CountingConfig` that differ from their defaults.
    """

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        self.transitions = CountTable(items + 1)

    def prepare(self, train: Sequences) -> None:
        """Count the pairs of neighbouring events."""
        sequence = np.repeat(np.arange(len(train)), train.lengths)
        pairs = np.flatnonzero(sequence[:-1] == sequence[1:])
        entries = (np.ones(len(pairs)), (train.items[pairs], train.items[pairs + 1]))
        self.transitions.keep(coo_array(entries, shape=(self.items + 1, self.items + 1)).tocsr())

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """The row of the last item."""
        return (last_items(batch, self.items) @ self.transitions.table).toarray()
