r"""POP: p(y | x) in proportion to how often an item occurs in the training part, whatever the sequence.

Axes: N scored predictions, V items.

    +-------------- sequences, B --+
    |  next_item                   |
    |  (observed, time in the      |
    |   event)                     |
    +------------------------------+
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from hcrnn_pyro.counting import CountingModel, CountTable
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences


class Pop(CountingModel):
    """score(i) = n_i + (V - i) / (V + 1), with n_i the number of training events with item i.

    It is a list: of items equally popular the lower index comes first. So did the paper's, whose numbers it gives.

    Args:
        items: V.
        settings: fields of :class:`hcrnn_pyro.counting.CountingConfig` that differ from their defaults.
    """

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        self.popularity = CountTable(items + 1)

    def prepare(self, train: Sequences) -> None:
        """Count the events of every item."""
        self.popularity.keep(csr_array(np.bincount(train.items, minlength=self.items + 1)[None]))

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """The same list at each scored position."""
        below = np.arange(self.items, -1, -1) / (self.items + 1)
        return (self.popularity.table.toarray() + below).repeat(int(batch.scored.sum()), axis=0)
