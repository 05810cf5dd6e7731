"""Which items a sequence has already shown at each prediction, without a table of predictions times items.

Axes: B rows, T time, Q queries of a row, N scored predictions of all rows, V items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hcrnn_pyro.kernels.repeats import each_once

ENTRIES = 2**20  # most item indices (predictions times T) that are laid out at a time


@dataclass(frozen=True, eq=False)
class SeenItems:
    """The items of x_1..x_t for each of N predictions; it keeps the B T inputs, and lays them out for some at a time.

    Attributes:
        items: (B, T) item indices, each once: 0 for padding and where a row repeats an item.
        rows: (N,) the row of each prediction.
        positions: (N,) t - 1, the last position that the prediction has read.
    """

    items: Int[Tensor, "rows time"]
    rows: Int[Tensor, " predictions"]
    positions: Int[Tensor, " predictions"]

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, predictions: slice) -> Int[Tensor, "chosen time"]:
        """The distinct items that some predictions have seen, in the order of the row; 0 fills the rest."""
        items = self.items[self.rows[predictions]]
        later = torch.arange(items.shape[1], device=items.device) > self.positions[predictions].unsqueeze(1)
        return items.masked_fill_(later, 0)

    def parts(self) -> Iterator[tuple[slice, Int[Tensor, "chosen time"]]]:
        """All predictions, some at a time: their slice, and what they have seen."""
        size = max(1, ENTRIES // max(1, self.items.shape[1]))
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.at(part)

    def repeat(self, times: int) -> SeenItems:
        """The same predictions several times over, one set after the other."""
        return SeenItems(self.items, self.rows.repeat(times), self.positions.repeat(times))

    def contain(self, items: Int[Tensor, " predictions"]) -> Bool[Tensor, " predictions"]:
        """Whether each prediction has seen the item that stands beside it."""
        found = [(seen == items[part].unsqueeze(1)).any(dim=1) for part, seen in self.parts()]
        return torch.cat(found) if found else torch.zeros_like(items, dtype=torch.bool)

    def exclude_(self, scores: Float[Tensor, "*batch predictions columns"]) -> None:
        """Set the scores of seen items to minus infinity, and that of padding, which stands for none."""
        for part, items in self.parts():
            scores[..., part, :].scatter_(-1, items.expand(*scores.shape[:-2], -1, -1), -torch.inf)


def seen_items(
    inputs: Int[Tensor, "rows time"], queries: Int[Tensor, "rows queries"], scored: Bool[Tensor, "rows queries"]
) -> SeenItems:
    """Which items a row has shown up to and including each scored position.

    Args:
        inputs: item indices, 0 for padding.
        queries: positions 0..T-1.
        scored: which queries count; N of them, rows first, then positions.
    """
    return SeenItems(each_once(inputs), scored.nonzero()[:, 0], queries[scored])
