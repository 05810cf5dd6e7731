r"""Sequential Item-KNN: Item-KNN over the prefix, with a likeness that knows the order of two items and their distance.

Source: Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", 2018, whose sequential rules count
ordered pairs by their distance. Here reversed pairs join with a share, the cosine of Item-KNN normalises them, and all
items of the prefix vote.

Axes: V items.

    +------------------------- sequences, B --+
    |  x_1..x_t ---> next_item                |
    |                (observed, time in the   |
    |                 event)                  |
    +-----------------------------------------+
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from scipy.sparse import csr_array

from hcrnn_pyro.counting import CountTable
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.prefixes import ordered_pairs

from .item_knn_decay import ItemKNNDecay, ItemKNNDecayConfig


@dataclass(frozen=True)
class SequentialKNNConfig(ItemKNNDecayConfig):
    """How near two items must stand to be alike, and in which order."""

    shrinkage: float = 5.0
    """Sequences added to the count of every item in the cosine: makes rare items less alike."""
    decay: float = 4.0
    """Steps over which the weight of an item of the prefix falls to 1/e."""
    reach: float = 4.0
    """Steps over which the weight of a pair of training events falls to 1/e."""
    backward: float = 0.5
    """Weight of the pairs in reversed order: 0 counts the order alone, 1 does not know it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.reach < math.inf, f"--reach is a number of steps above 0 and finite; got {self.reach}.")
        require(0.0 <= self.backward <= 1.0, f"--backward is a weight from 0 to 1; got {self.backward}.")


class SequentialKNN(ItemKNNDecay):
    """score(i) = sum_d exp(-d / decay) likeness(x_{t-d}, i), with the likeness of two items that stand near each other.

        likeness(j, i) = (w_ji + backward w_ij) / sqrt((n_j + s) (n_i + s)),   likeness(i, i) = 0

    w_ji sums exp(-(d - 1) / reach) over the pairs of training events in which i comes d steps after j, n counts the
    training sequences that hold an item, and s is the shrinkage.

    Args:
        items: V.
        settings: fields of :class:`SequentialKNNConfig` that differ from their defaults.
    """

    config: ClassVar[type] = SequentialKNNConfig

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        self.together = CountTable(items + 1, torch.float64)

    def count_pairs(self, train: Sequences) -> csr_array:
        """(V + 1, V + 1) w_ji + backward w_ij."""
        forward = ordered_pairs(train, self.items, self.settings.reach)
        return csr_array(forward + self.settings.backward * forward.T)
