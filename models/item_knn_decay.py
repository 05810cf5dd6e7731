r"""Item-KNN over the whole prefix: p(y | x) in proportion to the likeness of an item to all items read so far.

Axes: N scored predictions, V items.

    +------------------------- sequences, B --+
    |  x_1..x_t ---> next_item                |
    |                (observed, time in the   |
    |                 event)                  |
    +-----------------------------------------+
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from scipy.sparse import csr_array

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.prefixes import weighted_prefixes

from .item_knn import ItemKNN, ItemKNNConfig


@dataclass(frozen=True)
class ItemKNNDecayConfig(ItemKNNConfig):
    """How far back the likeness reaches."""

    shrinkage: float = 0.0
    """Sequences added to the count of every item in the cosine: makes rare items less alike."""
    decay: float = 5.0
    """Steps over which the weight of an item of the prefix falls to 1/e."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0.0 < self.decay < math.inf,
            f"--decay is a number of steps above 0 and finite (1e9: no decay); got {self.decay}.",
        )


class ItemKNNDecay(ItemKNN):
    """score(i) = sum_d exp(-d / decay) likeness(x_{t-d}, i), with the likeness of :class:`.item_knn.ItemKNN`.

    Args:
        items: V.
        settings: fields of :class:`ItemKNNDecayConfig` that differ from their defaults.
    """

    config: ClassVar[type] = ItemKNNDecayConfig

    def read(self, batch: Batch) -> csr_array:
        """(N, V + 1) decaying weights of all items of the prefix."""
        return weighted_prefixes(batch, self.items, self.settings.decay)
