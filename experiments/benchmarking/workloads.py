"""What a system is asked to do: train a step or an epoch, evaluate, answer one user."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyro
from pyro.infer import Trace_ELBO
from torch import Tensor

from experiments.benchmarking.systems import System
from hcrnn_pyro.data.batches import Batch, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.evaluation import Method, evaluate
from hcrnn_pyro.memory import hold_freed_memory
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.svi_module import adam


class Bench:
    """A system built for a catalogue, with its loss and its optimiser.

    Args:
        system: what to build.
        items: V.
        device: where it runs.
        seed: of weights, dropout and draws.
    """

    def __init__(self, system: System, items: int, device: str, seed: int = 0) -> None:
        hold_freed_memory()  # as training does
        pyro.set_rng_seed(seed)
        self.device = device
        self.counts_as_hcrnn = system.counts_as_hcrnn
        model, guide = system.build(items)
        self.objective = Objective(model.to(device), guide.to(device), Trace_ELBO())
        self.predictive = PosteriorPredictive(model, guide)
        self.optimiser = adam(self.objective, lr=1e-3)

    def train(self, batches: Iterable[Batch]) -> None:
        """A step on each batch, as in training: Pyro's checks are off after the first steps of a run."""
        self.objective.train()
        with pyro.validation_enabled(False):
            for batch in batches:
                self.step(batch.to(self.device))

    def step(self, batch: Batch) -> None:
        """One step of training, through Pyro."""
        terms = self.objective(batch)
        self.update(terms.loss / terms.predictions)

    def update(self, loss: Tensor) -> None:
        """The backward pass and the optimiser; gradients go at the end, so that memory ends where it started."""
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def evaluate(self, sequences: Sequences, method: Method) -> None:
        """Rank every next item of a part."""
        self.objective.eval()
        with pyro.validation_enabled(False):
            evaluate(self.predictive, sequences, method, self.device)

    def answer(self, batch: Batch, times: int) -> None:
        """The probabilities of every next item, asked for so many times, one after the other."""
        self.objective.eval()
        with pyro.validation_enabled(False):
            for _ in range(times):
                self.predictive(batch.to(self.device)).cpu()


def one_user(items: int, events: int, seed: int = 0) -> Batch:
    """A batch of one random history, to predict what follows it.

    Args:
        items: V.
        events: length of the history.
        seed: of the random items.
    """
    history = random_sequences(1, events + 1, items, seed)
    return make_batch(history, np.array([0]), np.array([events]), "prefix")


def random_batch(rows: int, events: int, items: int, seed: int = 0) -> Batch:
    """A training batch of random sequences of equal length, in the sequence scope.

    Args:
        rows: B.
        events: T, the inputs of each row.
        items: V.
        seed: of the random items.
    """
    sequences = random_sequences(rows, events + 1, items, seed)
    return make_batch(sequences, np.arange(rows), np.full(rows, events), "sequence")


def random_sequences(sequences: int, events: int, items: int, seed: int = 0) -> Sequences:
    """Sequences of equal length, each item uniform over the catalogue: enough to time by, and quick to make.

    Args:
        sequences: how many.
        events: of each.
        items: V.
        seed: of the random items.
    """
    drawn = np.random.default_rng(seed).integers(1, items + 1, size=sequences * events, dtype=np.int32)
    offsets = np.arange(sequences + 1, dtype=np.int64) * events
    return Sequences(drawn, offsets, ids=np.arange(sequences).astype(str))
