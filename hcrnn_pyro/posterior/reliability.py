"""Are the probabilities of the next item to be believed?

Axes: N predictions, V items, b bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import Method, evaluation_batches
from hcrnn_pyro.prediction import Scorer

TOP_BINS = 15
EDGES = np.concatenate([[0.0], np.logspace(-6, 0, 25)])  # of the bins over all items, four to a factor of ten


@dataclass(frozen=True, eq=False)
class Curve:
    """Promised against kept, bin by bin; empty bins are left out.

    Attributes:
        predicted: (b,) mean probability that was given, rising.
        observed: (b,) share of the cases in which it came true.
        count: (b,) number of cases.
    """

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray


@dataclass(frozen=True, eq=False)
class Reliability:
    """How well next-item probabilities are calibrated.

    Attributes:
        top: whether the item held most probable came next, against its probability, in bins of equally many
            predictions (equal probabilities share one).
        ece: expected calibration error of ``top`` (Guo et al. 2017): mean over predictions of |observed - predicted|
            of their bin. Even perfect probabilities leave about 0.8 sqrt(b p (1 - p) / N), p their usual size.
        items: whether an item came next, against its probability, for every item of every prediction, in fixed bins of
            the probability, four to a factor of ten.
        misplaced: the share of probability that lies in the wrong bins of ``items``: half the sum over bins of
            |expected number of hits - hits|, over N. 0: calibrated; 1: all probability where nothing happens.
        nll: nats per prediction.
        predictions: N.
    """

    top: Curve
    ece: float
    items: Curve
    misplaced: float
    nll: float
    predictions: int


class _Sums:
    """What is added up batch by batch: three numbers for each bin over the items, two for each prediction."""

    def __init__(self) -> None:
        self.mass, self.hits, self.pairs = (np.zeros(len(EDGES)) for _ in range(3))
        self.confidence: list[np.ndarray] = []
        self.correct: list[np.ndarray] = []
        self.nll = 0.0

    def add(self, log_probs: Tensor, targets: Tensor) -> None:
        """Add (N, V + 1) log-probabilities, column 0 padding, and the (N,) items that came."""
        probabilities = log_probs[:, 1:].double().exp()
        off = float((probabilities.sum(dim=1) - 1).abs().max())
        require(off < 1e-3, f"Calibration is of probabilities; this scorer's sum to 1 only within {off:.2g}.")
        edges = torch.from_numpy(EDGES[1:-1]).to(probabilities.device)
        bins = torch.bucketize(probabilities, edges, right=True)  # a bin holds its lower edge
        flat = bins.flatten()
        self.mass += torch.bincount(flat, probabilities.flatten(), minlength=len(EDGES)).cpu().numpy()
        self.pairs += torch.bincount(flat, minlength=len(EDGES)).cpu().numpy()
        of_target = bins.gather(1, targets.unsqueeze(1) - 1).squeeze(1)
        self.hits += torch.bincount(of_target, minlength=len(EDGES)).cpu().numpy()
        confidence, best = probabilities.max(dim=1)
        self.confidence.append(confidence.cpu().numpy())
        self.correct.append((best + 1 == targets).cpu().numpy())
        self.nll -= float(log_probs.gather(1, targets.unsqueeze(1)).double().sum())

    def result(self) -> Reliability:
        """What the sums say."""
        confidence, correct = np.concatenate(self.confidence), np.concatenate(self.correct)
        filled = self.pairs > 0
        mass, hits, pairs = self.mass[filled], self.hits[filled], self.pairs[filled]
        top = top_curve(confidence, correct)
        return Reliability(
            top=top,
            ece=float(np.average(np.abs(top.observed - top.predicted), weights=top.count)),
            items=Curve(mass / pairs, hits / pairs, pairs.astype(np.int64)),
            misplaced=float(np.abs(mass - hits).sum() / (2 * len(confidence))),
            nll=self.nll / len(confidence),
            predictions=len(confidence),
        )


class Watched:
    """A scorer whose calibration is added up while it is evaluated, so that one pass over the part serves both.

    Args:
        scorer: batch -> log-probabilities of all items at each scored position.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._sums = _Sums()

    def __call__(self, batch: Batch) -> Tensor:
        """What the scorer says."""
        log_probs = self.scorer(batch)
        self._sums.add(log_probs, batch.targets[batch.scored])
        return log_probs

    def reliability(self) -> Reliability:
        """Of all that was scored so far."""
        return self._sums.result()


@torch.no_grad()
def reliability(
    scorer: Scorer,
    sequences: Sequences,
    method: Method = "exact",
    device: torch.device | str = "cpu",
    items: int | None = None,
) -> Reliability:
    """Calibration over all predictions of a part.

    Args:
        scorer: batch -> log-probabilities of all items at each scored position.
        sequences: the part; sequences of fewer than two events predict nothing.
        method: how the prefixes are read, as for :func:`hcrnn_pyro.evaluation.evaluate`.
        device: where the scorer runs.
        items: V, which bounds how many predictions are scored at a time; ``None``: the part's largest index.

    Raises:
        UserError: nothing to predict, or the scores are no log-probabilities.
    """
    watched = Watched(scorer)
    for batch in evaluation_batches(sequences, method, items):
        watched(batch.to(device))
    return watched.reliability()


def top_curve(confidence: np.ndarray, correct: np.ndarray, bins: int = TOP_BINS) -> Curve:
    """The calibration of single yes-or-no statements, in bins of equally many.

    Args:
        confidence: (N,) probability of each.
        correct: (N,) whether it came true.
        bins: how many at most; equal probabilities share a bin.
    """
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="higher"))
    of = np.searchsorted(edges, confidence, side="right")
    count = np.bincount(of)
    filled = count > 0
    sums = (np.bincount(of, weights=values)[filled] for values in (confidence, correct))
    predicted, observed = (total / count[filled] for total in sums)
    return Curve(predicted, observed, count[filled])
