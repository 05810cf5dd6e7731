r"""A memory of training: what followed the states that were like this one, by kernel regression.

    p_memory(y | x)  in proportion to  sum_i exp(-|s(x) - s_i|^2 / b) [y_i = y]      over all predictions i of training
    p(y | x)  =  (1 - a) p_model(y | x) + a p_memory(y | x)

s is what the model reads out of a sequence before its output layer. Weights have to share their capacity among all
users; the memory knows each rare turn that training has shown. The estimate is Nadaraya's and Watson's (1964), and its
mixture with a network is that of Khandelwal et al., "Generalization through memorization", ICLR 2020, who keep the
nearest states alone. What the model holds impossible the memory does too.

Axes: N predictions, M states of training, R readout, D kept dimensions, V items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels.exponentials import exponentials_
from hcrnn_pyro.nn.head import LinearHead, ResidualHead
from hcrnn_pyro.prediction import PosteriorPredictive

DIMENSIONS = 64  # principal ones, which hold nearly all of the states' variance
STATES = 2**18  # most states of training that are kept, at random
PREDICTIONS = 2**15  # most predictions by which bandwidth and share are chosen, of sequences at random
POSITIONS = 1_600  # rows times time of a batch
BLOCK = 2**22  # most distances at a time: some megabytes, near a cache
BANDWIDTHS = tuple(2.0 ** (-step / 2) for step in range(3, 15))  # over the states' variance: 0.35 to 0.008
ROUNDS = 200  # of expectation maximisation, for a single share
MOST = 0.99  # share of a memory: the model keeps the rest, so that nothing that it holds possible has probability 0


class Read(NamedTuple):
    """What a model makes of some predictions.

    Attributes:
        log_probs: what it predicts.
        states: what it has read out of the sequences.
    """

    log_probs: Float[Tensor, "predictions columns"]
    states: Float[Tensor, "predictions readout"]


@dataclass(frozen=True, eq=False)
class KernelMemory:
    """The states of training, and how they are asked.

    Attributes:
        mean: (R,) of the states.
        axes: (R, D) their principal axes.
        states: (M, D) along these axes, in the order of the items that followed.
        items: (M,) int64, these items, ascending.
        bandwidth: b, in units of the states' squared distances.
        share: a, in [0, 1).
    """

    mean: Tensor
    axes: Tensor
    states: Tensor
    items: Tensor
    bandwidth: float
    share: float

    def to(self, device: torch.device | str) -> KernelMemory:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("mean", "axes", "states", "items")}
        return replace(self, **moved)

    def mixed(self, read: Read) -> Float[Tensor, "predictions columns"]:
        """(N, V + 1) log-probabilities of the mixture."""
        if self.share == 0.0:
            return read.log_probs
        memory = torch.cat([found for (found,) in self._asked(read, [self.bandwidth])])
        return torch.logaddexp(read.log_probs + math.log1p(-self.share), memory.log() + math.log(self.share))

    def of_targets(self, read: Read, targets: Tensor, bandwidths: Sequence[float]) -> Float[Tensor, "bandwidths N"]:
        """p_memory of the items that came, by several bandwidths.

        Args:
            read: what the model makes of N predictions.
            targets: (N,) item indices.
            bandwidths: to try.
        """
        portions = targets.split(self._rows)
        found = zip(portions, self._asked(read, bandwidths), strict=True)
        said = [[each.gather(1, some[:, None])[:, 0] for each in of_some] for some, of_some in found]
        return torch.stack([torch.cat(column) for column in zip(*said, strict=True)])

    @property
    def _rows(self) -> int:
        return max(1, BLOCK // len(self.states))

    def _asked(self, read: Read, bandwidths: Sequence[float]) -> Any:
        """A list of p_memory for each portion of the predictions, one (n, V + 1) for each bandwidth."""
        squares = self.states.square().sum(dim=1)
        for states, log_probs in zip(read.states.split(self._rows), read.log_probs.split(self._rows), strict=True):
            near = 2.0 * ((states - self.mean) @ self.axes) @ self.states.T - squares  # less the query's own square
            yield [self._summed(near / bandwidth, log_probs) for bandwidth in bandwidths]

    def _summed(self, exponents: Tensor, log_probs: Tensor) -> Tensor:
        """The kernel's weights, summed over the states of each item, of those that are possible."""
        exponentials_(exponents, exponents.amax(dim=1, keepdim=True))
        lengths = torch.bincount(self.items, minlength=log_probs.shape[1])
        weights = torch.segment_reduce(exponents, "sum", lengths=lengths.expand(len(exponents), -1), axis=1)
        weights = weights.masked_fill(log_probs.isneginf(), 0.0)
        total = weights.sum(dim=1, keepdim=True)
        # Where nothing like it led to a possible item, the memory says what the model says.
        return torch.where(total > 0, weights / total, log_probs.exp())


@dataclass(frozen=True, eq=False)
class Remembering:
    """A model that also asks its memory, a scorer like any other.

    Attributes:
        predictive: the model and its guide.
        memory: of their training.
    """

    predictive: PosteriorPredictive
    memory: KernelMemory

    def to(self, device: torch.device | str) -> Remembering:
        """The same on another device."""
        return Remembering(self.predictive.to(device), self.memory.to(device))

    def __call__(self, batch: Batch) -> Float[Tensor, "predictions columns"]:
        """(N, V + 1) log-probabilities of every item at each scored position."""
        return self.memory.mixed(read(self.predictive, batch))


def read(predictive: PosteriorPredictive, batch: Batch) -> Read:
    """Predictions, and the states that they were made from.

    Args:
        predictive: the pair, theta at its posterior mean.
        batch: of the prefix or the filtering scope.

    Raises:
        UserError: the model has no such states.
    """
    heads = [part for part in predictive.model.modules() if isinstance(part, LinearHead | ResidualHead)]
    kind = type(predictive.model).__name__
    require(len(heads) == 1, f"A {kind} reads no states out of a sequence, so there is nothing to remember.")
    states: list[Tensor] = []
    handle = heads[0].register_forward_hook(lambda head, given, made: states.append(given[0]))
    try:
        log_probs = predictive(batch)
    finally:
        handle.remove()
    require(
        len(states) == 1 and states[0].shape[:-1] == log_probs.shape[:1],
        f"The states of a {kind} with these settings are not one for each prediction, so it cannot remember them.",
    )
    return Read(log_probs, states[0])


@torch.no_grad()
def remember(
    predictive: PosteriorPredictive, train: Sequences, device: torch.device | str = "cpu", seed: int = 0
) -> KernelMemory:
    """Keep the states of training, to be asked with a share of 0.

    Args:
        predictive: a trained pair.
        train: what it was trained on.
        device: where both are.
        seed: of the states that are kept, where there are too many.

    Raises:
        UserError: the model has no states.
    """
    found = [
        (read(predictive, batch.to(device)).states, batch.targets[batch.scored].to(device))
        for batch in batches_by_length(_some(train, STATES, seed), "filtering", POSITIONS)
    ]
    states, items = (torch.cat(column) for column in zip(*found, strict=True))
    items, order = items.sort(stable=True)
    states, mean = states[order], states.mean(dim=0)
    _, axes = torch.linalg.eigh(torch.cov((states - mean).T.double()))  # by rising variance
    axes = axes[:, -DIMENSIONS:].to(states.dtype)
    return KernelMemory(mean, axes, (states - mean) @ axes, items, 1.0, 0.0)


@torch.no_grad()
def fit_memory(
    memory: KernelMemory,
    predictive: PosteriorPredictive,
    valid: Sequences,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> KernelMemory:
    """The same memory, asked by the bandwidth and with the share that have the best log score.

    Args:
        memory: of training alone.
        predictive: the pair that remembers.
        valid: sequences that the pair was not trained on.
        device: where all are.
        seed: of the sequences that are read, where there are too many.
    """
    variance = float(memory.states.square().sum(dim=1).mean())
    bandwidths = [variance * each for each in BANDWIDTHS]
    of_model, of_memory = [], []
    for batch in batches_by_length(_some(valid, PREDICTIONS, seed), "filtering", POSITIONS):
        said, targets = read(predictive, batch.to(device)), batch.targets[batch.scored].to(device)
        of_model.append(said.log_probs.gather(1, targets[:, None])[:, 0].exp())
        of_memory.append(memory.of_targets(said, targets, bandwidths))
    model, remembered = torch.cat(of_model).double(), torch.cat(of_memory, dim=1).double()
    scores, shares = zip(*(_best_share(model, one) for one in remembered), strict=True)
    best = int(np.argmax(scores))
    return replace(memory, bandwidth=bandwidths[best], share=shares[best])


def _best_share(model: Tensor, memory: Tensor) -> tuple[float, float]:
    """The mean log score of the best mixture of two probabilities of what came, and the memory's share in it."""
    share = 0.5
    for _ in range(ROUNDS):
        share = float((share * memory / ((1 - share) * model + share * memory)).mean())
    share = min(share, MOST)
    return float(((1 - share) * model + share * memory).log().mean()), share


def _some(sequences: Sequences, most: int, seed: int) -> Sequences:
    """All sequences, or so many drawn ones that they hold about so many predictions."""
    share = most / max(1, sequences.predictions)
    if share >= 1:
        return sequences
    kept = np.random.default_rng(seed).permutation(len(sequences))[: max(1, int(share * len(sequences)))]
    return sequences.take(np.sort(kept))
