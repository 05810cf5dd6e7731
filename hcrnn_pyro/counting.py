"""What models share that are counted, not trained: tables of counts, and scores made from them.

Axes: B rows, Q queries, N scored predictions, V items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import Likelihood
from hcrnn_pyro.errors import require
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.scored_items import ScoredItems
from hcrnn_pyro.seen import seen_items

COUNTED_NOTHING = "This model has counted nothing yet: call prepare(train) before the first batch."


class CountTable(nn.Module):
    """Sparse counts by rows (CSR), in buffers: they are saved with their owner, and load whatever their size.

    Args:
        columns: width of the table.
        dtype: of the counts.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor

    def __init__(self, columns: int, dtype: torch.dtype = torch.int32) -> None:
        super().__init__()
        self.width = columns
        self.register_buffer("values", torch.zeros(0, dtype=dtype))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("starts", torch.zeros(1, dtype=torch.int64))
        self._table: csr_array | None = None

    def keep(self, table: csr_array) -> None:
        """Take a table's counts for one's own."""
        self.values = torch.from_numpy(table.data).to(self.values.dtype)
        self.columns = torch.from_numpy(table.indices.astype(np.int32))
        self.starts = torch.from_numpy(table.indptr.astype(np.int64))
        self._table = None

    @property
    def table(self) -> csr_array:
        """The counts, as float64."""
        if self._table is None:
            values, columns, starts = (part.cpu().numpy() for part in (self.values, self.columns, self.starts))
            require(len(starts) > 1, COUNTED_NOTHING)
            shape = (len(starts) - 1, self.width)
            self._table = csr_array((values.astype(np.float64), columns, starts), shape=shape)
        return self._table

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, buffer.new_empty(stored.shape))
        self._table = None
        super()._load_from_state_dict(state_dict, prefix, *others)


@dataclass(frozen=True)
class CountingConfig:
    """What every counting model may be told."""

    likelihood: Likelihood = "categorical"
    """categorical: every item may follow. without-replacement: items already in the sequence have probability 0."""


class CountingModel(nn.Module):
    """A model without parameters: ``prepare`` counts, and every prediction scores the items from the counts.

    ``model(batch)`` issues the observed ``next_item`` and no latent. A subclass has :class:`CountTable` parts, fills
    them in ``prepare`` and reads them in ``scores``.

    Args:
        items: V.
        settings: fields of the dataclass ``config`` that differ from their defaults.
    """

    config: ClassVar[type] = CountingConfig

    def __init__(self, items: int, **settings: Any) -> None:
        super().__init__()
        self.items = items
        self.settings = self.config(**settings)

    def prepare(self, train: Sequences) -> None:
        """Count."""
        raise NotImplementedError

    def scores(self, batch: Batch) -> Float[np.ndarray, "predictions columns"]:
        """(N, V + 1) non-negative scores of all items at each scored position, from x_1..x_t alone."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """The probabilistic program; returns the observed (or, without targets, drawn) next items (B, Q)."""
        with sequences_plate(batch):
            return pyro.sample("next_item", self.likelihood(batch), obs=batch.targets)

    def likelihood(self, batch: Batch) -> ScoredItems:
        """p(y | x), in proportion to the scores."""
        scores = torch.from_numpy(self.scores(batch)).to(batch.inputs.device)
        without_replacement = self.settings.likelihood == "without-replacement"
        seen = seen_items(batch.inputs, batch.queries, batch.scored) if without_replacement else None
        return ScoredItems(scores, batch.scored, seen)
