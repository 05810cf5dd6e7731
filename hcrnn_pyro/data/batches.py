"""From flat sequences to padded batches, and what one row of a batch is: its scope.

Axes: B rows, T inputs of the longest row, Q predictions of a row (T, or 1 in the prefix scope), V items.

A sequence x_1..x_n gives the inputs x_1..x_{n-1} and the targets x_2..x_n. The scope says what shares one theta:

========== ============================== ================= ======================================
scope      a row is                       theta             predictions of a row
========== ============================== ================= ======================================
sequence   a sequence                     one per row       every position (the paper's ELBO)
prefix     a prefix x_1..x_t              one per row       x_{t+1} only (the authors' code)
filtering  a sequence                     one per position  every position, theta_t from x_1..x_t
========== ============================== ================= ======================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hcrnn_pyro.data.dataset import Sequences

Scope = Literal["sequence", "prefix", "filtering"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
POOL_BATCHES = 50  # rows of this many batches are sorted by length together: little padding, still random batches


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded rows; no number computed from a batch may depend on how much padding it holds.

    Attributes:
        inputs: (B, T) item indices 1..V, 0 after the end of a row.
        lengths: (B,) inputs of each row, 1..T.
        targets: (B, Q) the item that follows each query, 0 where there is none.
        scored: (B, Q) which targets are predictions of this batch.
        rows: (B,) index of the sequence in its part.
        scope: what a row is and what shares one theta.
        elapsed: (B, T) seconds from the event before each input to it, NaN where unknown, as at the first; ``None``
            where the source has no times. Nothing tells how long it takes to the event that is to be predicted.
    """

    inputs: Int[Tensor, "batch time"]
    lengths: Int[Tensor, " batch"]
    targets: Int[Tensor, "batch queries"]
    scored: Bool[Tensor, "batch queries"]
    rows: Int[Tensor, " batch"]
    scope: Scope = "sequence"
    elapsed: Float[Tensor, "batch time"] | None = None

    @property
    def size(self) -> int:
        """Number of rows B."""
        return len(self.lengths)

    @property
    def valid(self) -> Bool[Tensor, "batch time"]:
        """Which inputs are items and not padding."""
        return self.inputs > 0

    @property
    def queries(self) -> Int[Tensor, "batch queries"]:
        """Positions 0..T-1 after which an item is predicted: all of them, or the last one of each prefix."""
        if self.scope == "prefix":
            return (self.lengths - 1).unsqueeze(-1)
        return torch.arange(self.inputs.shape[1], device=self.inputs.device).expand_as(self.inputs)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def take(self, rows: Tensor) -> Batch:
        """The chosen rows of the same batch.

        Args:
            rows: indices, or (B,) bool, which to take.
        """
        return self._map(lambda tensor: tensor[rows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same change of every tensor."""
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches for training, over all rows of one scope, random but of similar length; iterating twice gives the same.

    Attributes:
        sequences: the part to read.
        scope: what a row is.
        batch_size: rows in a batch (the last ones may be smaller).
        seed: the order of the rows and batches.
        rank, world_size: which of how many processes this is; it gets every ``world_size``-th row of each batch from
            row ``rank`` on, and of a batch with too few rows an empty one.
    """

    sequences: Sequences
    scope: Scope
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        rows, _ = _points(self.sequences, self.scope)
        return sum(-(-len(pool) // self.batch_size) for pool in _pools(len(rows), self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        rows, lengths = _points(self.sequences, self.scope)
        random = np.random.default_rng(self.seed)
        order = random.permutation(len(lengths))
        for pool in _pools(len(order), self.batch_size):
            members = order[pool]
            members = members[np.argsort(lengths[members], kind="stable")]
            for start in random.permutation(np.arange(0, len(members), self.batch_size)):
                chosen = members[start : start + self.batch_size][self.rank :: self.world_size]
                yield make_batch(self.sequences, rows[chosen], lengths[chosen], self.scope)


def batches_by_length(sequences: Sequences, scope: Scope, positions: int) -> Iterator[Batch]:
    """Batches for evaluation: all rows of one scope, shortest first, with little padding.

    Args:
        sequences: the part to read.
        scope: what a row is.
        positions: rows times time of a batch is at most this, unless a single row is longer.
    """
    rows, lengths = _points(sequences, scope)
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        candidates = order[start : start + max(1, positions // lengths[order[start]])]
        padded = np.arange(1, len(candidates) + 1) * lengths[candidates]  # size of a batch that ends at a candidate
        chosen = candidates[: max(1, np.searchsorted(padded, positions, side="right"))]
        yield make_batch(sequences, rows[chosen], lengths[chosen], scope)
        start += len(chosen)


def make_batch(sequences: Sequences, rows: np.ndarray, lengths: np.ndarray, scope: Scope) -> Batch:
    """Pad the first ``lengths[i]`` events of sequence ``rows[i]`` as inputs, with the events after them as targets.

    Args:
        sequences: the part.
        rows: (B,) indices of sequences; one may occur more than once, and there may be none.
        lengths: (B,) number of inputs of each row, at least 1 and less than the sequence's length.
        scope: what a row is.
    """
    steps = np.arange(lengths.max(initial=0))
    valid = steps < lengths[:, None]  # (B, T)
    events = sequences.offsets[rows][:, None] + steps  # (B, T)
    last = len(sequences.items) - 1
    inputs = np.where(valid, sequences.items[np.minimum(events, last)], 0)
    if scope == "prefix":
        targets = sequences.items[sequences.offsets[rows] + lengths][:, None]
        scored = np.ones_like(targets, dtype=bool)
    else:
        targets = np.where(valid, sequences.items[np.minimum(events + 1, last)], 0)
        first = 1 if sequences.first_target is None else sequences.first_target[rows][:, None]
        scored = valid & (steps + 1 >= first)
    return Batch(
        inputs=torch.from_numpy(inputs).long(),
        lengths=torch.from_numpy(lengths).long(),
        targets=torch.from_numpy(targets).long(),
        scored=torch.from_numpy(scored),
        rows=torch.from_numpy(rows).long(),
        scope=scope,
        elapsed=_elapsed(sequences, events, valid),
    )


def _elapsed(sequences: Sequences, events: np.ndarray, valid: np.ndarray) -> Tensor | None:
    """Seconds from the event before to each of the rows' events."""
    if sequences.times is None:
        return None
    times = np.where(valid, sequences.times[np.minimum(events, len(sequences.items) - 1)], np.nan)
    return torch.from_numpy(np.diff(times, axis=1, prepend=np.nan)).float()


def _points(sequences: Sequences, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
    """Sequence index and number of inputs of every row of a scope; O(events) numbers, no prefix is copied."""
    inputs = sequences.lengths - 1
    if scope != "prefix":
        rows = np.flatnonzero(inputs > 0)
        return rows, inputs[rows]
    first = np.ones(len(sequences), np.int64) if sequences.first_target is None else sequences.first_target
    counts = np.maximum(inputs - first + 1, 0)
    rows = np.repeat(np.arange(len(sequences)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, first[rows] + within


def _pools(points: int, batch_size: int) -> list[range]:
    """Stretches of the random order that are sorted by length together."""
    size = batch_size * POOL_BATCHES
    return [range(start, min(start + size, points)) for start in range(0, points, size)]
