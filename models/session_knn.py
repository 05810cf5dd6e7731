r"""S-KNN: p(y | x) in proportion to how alike the training sequences are that hold an item, the nearest ones alone.

Source: Jannach and Ludewig, "When Recurrent Neural Networks meet the Neighborhood for Session-Based Recommendation",
RecSys 2017; here with exponential decay over the prefix.

Axes: N scored predictions, S training sequences, V items.

    +------------------------- sequences, B --+
    |  x_1..x_t ---> next_item                |
    |                (observed, time in the   |
    |                 event)                  |
    +-----------------------------------------+
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from hcrnn_pyro.counting import CountingConfig, CountingModel, CountTable
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.prefixes import occurrences, weighted_prefixes


@dataclass(frozen=True)
class SessionKNNConfig(CountingConfig):
    """How many neighbours vote, and how far back a prefix reaches."""

    neighbours: int = 50
    """Training sequences that vote; more do where several tie for the last place."""
    decay: float = 5.0
    """Steps over which the weight of an item of the prefix falls to 1/e."""

    def __post_init__(self) -> None:
        require(self.neighbours >= 1, f"--neighbours is a whole number of at least 1; got {self.neighbours}.")
        require(self.decay > 0.0, f"--decay is a number of steps above 0 (inf: no decay); got {self.decay}.")


class SessionKNN(CountingModel):
    """score(i) = sum over the neighbours s that hold i of cos(prefix, s).

    The prefix is a vector of decaying weights over the items, s one of zeros and ones.

    Args:
        items: V.
        settings: fields of :class:`SessionKNNConfig` that differ from their defaults.
    """

    config: ClassVar[type] = SessionKNNConfig

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        self.sequences = CountTable(items + 1)

    def prepare(self, train: Sequences) -> None:
        """Keep which items every training sequence holds."""
        self.sequences.keep(occurrences(train, self.items))

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """The votes of the nearest training sequences."""
        sequences = self.sequences.table
        prefixes = weighted_prefixes(batch, self.items, self.settings.decay)
        lengths = np.sqrt(prefixes.power(2).sum(axis=1))[:, None] * np.sqrt(sequences.sum(axis=1))
        cosines = (prefixes @ sequences.T).toarray() / lengths.clip(min=1e-300)
        return (csr_array(self.nearest(cosines)) @ sequences).toarray()

    def nearest(
        self, cosines: Float[np.ndarray, "predictions sequences"]
    ) -> Float[np.ndarray, "predictions sequences"]:
        """The cosines with 0 for all but the largest; those that tie for the last place stay together."""
        others = max(0, cosines.shape[1] - self.settings.neighbours)
        last_place = np.partition(cosines, others, axis=1)[:, others, None]
        return np.where(cosines >= last_place, cosines, 0.0)
