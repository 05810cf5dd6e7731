r"""SLIT, session-aware linear item transitions: the weighted future of a sequence is linear in its weighted past.

Source: Choi et al., "Session-aware linear item-item models for session-based recommendation", The Web Conference 2021.

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
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from hcrnn_pyro.counting import COUNTED_NOTHING, CountingConfig, CountingModel
from hcrnn_pyro.data.batches import Batch, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.prefixes import weighted_futures, weighted_prefixes

MOST_ITEMS = 10_000  # while B is solved for, about seven matrices of V x V numbers of eight bytes then take 6 GB
LEAST = {"decay": 0.01, "reach": 0.01, "ridge": 1e-6}  # below, numbers are too small to reckon with
POSITIONS = 2**15  # rows times time of a batch while it is fitted


@dataclass(frozen=True)
class SLITConfig(CountingConfig):
    """How far past and future reach, and how far single turns are trusted."""

    decay: float = 5.0
    """Steps over which the weight of an item of the prefix falls to 1/e."""
    reach: float = 1.0
    """Steps over which the weight of an item of the future falls to 1/e."""
    ridge: float = 100.0
    """Added to the squared weights of every item of the past: makes rare items weigh less."""
    floor: float = 1e-3
    """Least score of an item: what lies below, or below 0, is as unlikely as this."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            require(least <= value < math.inf, f"--{name} is at least {least:g} and finite; got {value}.")
        require(0.0 < self.floor < math.inf, f"--floor is above 0 and finite; got {self.floor}.")


class SLIT(CountingModel):
    """score(i) = max(floor, (s B)_i), with s the weights exp(-d / decay) of the items that are d steps before x_t.

        B = argmin |F - S B|^2 + ridge |B|^2 = (S' S + ridge I)^-1 S' F

    A row of S is the weighted prefix of a prediction of training, that of F what came, an item d steps after the next
    one with weight exp(-d / reach). A short reach asks what comes next, a long one what else is in such a sequence.

    Args:
        items: V, at most 10,000.
        settings: fields of :class:`SLITConfig` that differ from their defaults.

    Raises:
        UserError: there are more items.
    """

    config: ClassVar[type] = SLITConfig
    transitions: Tensor

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__(items, **settings)
        require(
            items <= MOST_ITEMS,
            f"slit solves for a matrix of all pairs of items, and takes at most {MOST_ITEMS:,} of them; got {items:,}. "
            "sequential-knn counts the pairs that occur.",
        )
        self.register_buffer("transitions", torch.zeros(0, 0, dtype=torch.float64))

    def prepare(self, train: Sequences) -> None:
        """Solve for B."""
        past = turns = csr_array((self.items + 1, self.items + 1))
        for batch in batches_by_length(train, "filtering", POSITIONS):
            read = weighted_prefixes(batch, self.items, self.settings.decay)
            past = past + read.T @ read
            turns = turns + read.T @ weighted_futures(batch, self.items, self.settings.reach)
        past = past + self.settings.ridge * eye_array(self.items + 1)
        self.transitions = torch.from_numpy(scipy.linalg.solve(past.toarray(), turns.toarray(), assume_a="pos"))

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """The prefixes times B, not below the floor."""
        require(len(self.transitions) > 0, COUNTED_NOTHING)
        linear = weighted_prefixes(batch, self.items, self.settings.decay) @ self.transitions.cpu().numpy()
        return np.maximum(linear, self.settings.floor)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        if (stored := state_dict.get(f"{prefix}transitions")) is not None:
            self.transitions = self.transitions.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)
