r"""S-POP: p(y | x) in proportion to how often an item occurs in the prefix; popularity orders what that leaves tied.

Axes: N scored predictions, V items.

    +------------------------- sequences, B --+
    |  x_1..x_t ---> next_item                |
    |                (observed, time in the   |
    |                 event)                  |
    +-----------------------------------------+
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.prefixes import weighted_prefixes

from .pop import Pop


class SessionPop(Pop):
    """score(i) = count of i in x_1..x_t + n_i / (1 + max_j n_j), with n the counts of the training part.

    Args:
        items: V.
        settings: fields of :class:`hcrnn_pyro.counting.CountingConfig` that differ from their defaults.
    """

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """Counts of the prefix, and behind them a fraction below 1."""
        popularity = self.popularity.table.toarray()
        return weighted_prefixes(batch, self.items).toarray() + popularity / (1.0 + popularity.max())
