"""Several models as one: the logarithmic opinion pool of their next-item probabilities, weighed on held-out sequences.

    p(y | x)  in proportion to  prod_m p_m(y | x)^{w_m},   w_m >= 0

Genest and Zidek, "Combining probability distributions: a critique and an annotated bibliography", 1986. Of one model, w
is the inverse of a temperature (Guo et al. 2017). The weights maximise the log score, which is concave in them.

Axes: N predictions, M models, V items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import Method, evaluation_batches
from hcrnn_pyro.prediction import Scorer

PRECISE = {"ftol": 1e-12, "gtol": 1e-7}
STORED = 2**28  # most log-probabilities that are held while weights are fitted; of more, some sequences are drawn


@dataclass(frozen=True, eq=False)
class LogPool:
    """The pooled next-item probabilities, a scorer like any other.

    What one of the models holds impossible stays so, whatever its weight.

    Attributes:
        scorers: M models; each gives log-probabilities.
        weights: (M,) at least 0.
    """

    scorers: tuple[Scorer, ...]
    weights: tuple[float, ...]

    def __call__(self, batch: Batch) -> Float[Tensor, "predictions columns"]:
        """(N, V + 1) log-probabilities of every item at each scored position."""
        opinions = Opinions.of(self.scorers, batch)
        return opinions.pooled(torch.tensor(self.weights, dtype=opinions.log_probs.dtype))


@dataclass(frozen=True, eq=False)
class Opinions:
    """What all models say about some predictions.

    Attributes:
        log_probs: (M, N, V + 1), 0 where ``impossible``.
        impossible: (N, V + 1) where at least one model gives probability 0.
        targets: (N,) the items that came.
    """

    log_probs: Float[Tensor, "models predictions columns"]
    impossible: Bool[Tensor, "predictions columns"]
    targets: Tensor

    @classmethod
    def of(cls, scorers: Sequence[Scorer], batch: Batch) -> Opinions:
        """Ask every model about a batch."""
        said = torch.stack([scorer(batch).float() for scorer in scorers])
        impossible = said.isneginf().any(dim=0)
        return cls(said.masked_fill_(impossible, 0.0), impossible, batch.targets[batch.scored])

    def pooled(self, weights: Float[Tensor, " models"]) -> Float[Tensor, "predictions columns"]:
        """The pool's log-probabilities."""
        mixed = torch.einsum("m,mnv->nv", weights.to(self.log_probs.device), self.log_probs)
        return mixed.masked_fill_(self.impossible, -math.inf).log_softmax(dim=-1)

    def log_score(self, weights: Float[Tensor, " models"]) -> tuple[float, np.ndarray]:
        """The sum of log p(target), and its (M,) gradient: what was said of the targets less its expectation."""
        pooled = self.pooled(weights)
        at = self.targets.unsqueeze(1)
        score = pooled.gather(1, at).double().sum()
        said = self.log_probs.gather(2, at.expand(len(self.log_probs), -1, 1)).double().sum(dim=(1, 2))
        expected = torch.einsum("nv,mnv->m", pooled.exp(), self.log_probs).double()
        return float(score), (said - expected).cpu().numpy()


@torch.no_grad()
def fit_pool(
    scorers: Sequence[Scorer],
    sequences: Sequences,
    method: Method = "exact",
    device: torch.device | str = "cpu",
    items: int | None = None,
) -> LogPool:
    """Weigh models by the log score of their pool on sequences that none of them was trained on.

    Args:
        scorers: M models; each gives log-probabilities of all items, those of ``items`` included.
        sequences: the validation part.
        method: how the prefixes are read, as for :func:`hcrnn_pyro.evaluation.evaluate`.
        device: where the scorers run.
        items: V; ``None``: the part's largest index.

    Raises:
        UserError: an item came next to which a model gives probability 0, so that no pool has a finite log score.
    """
    some = _some(sequences, len(scorers) * (items or int(sequences.items.max())))
    opinions = [Opinions.of(scorers, batch.to(device)) for batch in evaluation_batches(some, method, items)]
    for said in opinions:
        require(
            not bool(said.impossible.gather(1, said.targets.unsqueeze(1)).any()),
            "A model gives probability 0 to an item that came next, so its pool cannot be weighed. Where items repeat, "
            "leave out models whose likelihood is without-replacement.",
        )
    predictions = sum(len(said.targets) for said in opinions)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores, gradients = zip(*(said.log_score(torch.from_numpy(weights).float()) for said in opinions), strict=True)
        return -sum(scores) / predictions, -np.sum(gradients, axis=0) / predictions

    start = np.full(len(scorers), 1 / len(scorers))
    found = scipy.optimize.minimize(
        loss, start, jac=True, bounds=[(0.0, None)] * len(scorers), method="L-BFGS-B", options=PRECISE
    )
    return LogPool(tuple(scorers), tuple(float(weight) for weight in found.x))


def _some(sequences: Sequences, numbers: int) -> Sequences:
    """All sequences, or so many drawn ones that their opinions fit into memory; ``numbers`` each prediction takes."""
    share = STORED / (numbers * max(1, sequences.predictions))
    if share >= 1:
        return sequences
    kept = np.random.default_rng(0).permutation(len(sequences))[: max(1, int(share * len(sequences)))]
    return sequences.take(np.sort(kept))
