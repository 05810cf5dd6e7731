"""Is the planted theta found? Data drawn from a known process have a true posterior, beside which a guide's stands.

Axes: S draws, B sequences, T time, K contexts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.truth import Truth
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.posterior.nuts import NutsDraws, run_nuts

COVERED = 0.9  # nominal coverage of the intervals


class TrueModel(nn.Module):
    """p(eta) p(x_1..x_T | theta), eta ~ Normal(0, s^2 I), theta = softmax(eta): the process that the data came from.

    Called with the batch it was made for; issues ``eta``, the deterministic ``theta`` and the factor ``items``.

    Args:
        truth: of the synthetic data.
        batch: whole sequences, whose items are looked up once.
    """

    def __init__(self, truth: Truth, batch: Batch) -> None:
        super().__init__()
        self.truth = truth
        self.contexts = len(truth.emissions)
        self.emission = truth.emission_of(whole_sequences(batch)).float()

    def forward(self, batch: Batch) -> Tensor:
        """The probabilistic program; returns theta."""
        with sequences_plate(batch):
            prior = dist.Normal(torch.zeros(self.contexts), self.truth.proportion_scale).to_event(1)
            eta = pyro.sample("eta", prior.expand([batch.size]))
            theta: Tensor = pyro.deterministic("theta", eta.softmax(dim=-1), event_dim=1)
            pyro.factor("items", self.truth.log_likelihood(self.emission, theta))
        return theta


class PriorGuide(nn.Module):
    """Draws of the true model's prior, where a sampler starts.

    Args:
        model: the true model.
    """

    def __init__(self, model: TrueModel) -> None:
        super().__init__()
        self.contexts, self.scale = model.contexts, model.truth.proportion_scale

    def forward(self, batch: Batch) -> None:
        """Issue ``eta``."""
        with sequences_plate(batch):
            prior = dist.Normal(torch.zeros(self.contexts), self.scale).to_event(1)
            pyro.sample("eta", prior.expand([batch.size]))


def true_posterior(truth: Truth, batch: Batch, draws: int, warmup: int, seed: int = 0) -> NutsDraws:
    """The posterior of someone who knows all but theta and z, by NUTS.

    Args:
        truth: of the synthetic data.
        batch: rows of its sequences.
        draws: of each of two chains.
        warmup: steps of each chain that are not kept.
        seed: of all draws.
    """
    model = TrueModel(truth, batch)
    return run_nuts(model, PriorGuide(model), batch, draws, warmup, seed)


def whole_sequences(batch: Batch) -> Tensor:
    """(B, T + 1) the items of each sequence, its last target included; 0 is padding."""
    items = torch.nn.functional.pad(batch.inputs, (0, 1))
    rows = torch.arange(batch.size, device=items.device)
    items[rows, batch.lengths] = batch.targets[rows, batch.lengths - 1]
    return items


@dataclass(frozen=True)
class Recovery:
    """How near a posterior comes to the planted proportions.

    Attributes:
        total_variation: mean over sequences of half the sum of |E[theta_k] - theta_k|, 0 to 1.
        coverage: share of (sequence, context) pairs whose planted theta_k lies in the central 90 % interval.
        width: mean width of those intervals.
        sequences: how many.
    """

    total_variation: float
    coverage: float
    width: float
    sequences: int


def recovery(theta: Float[np.ndarray, "draws rows contexts"], planted: Float[np.ndarray, "rows contexts"]) -> Recovery:
    """Hold draws of theta, their contexts named as the planted ones, against the planted theta.

    Args:
        theta: draws of each sequence's posterior.
        planted: what the sequences were drawn with.
    """
    low, high = np.quantile(theta, [(1 - COVERED) / 2, (1 + COVERED) / 2], axis=0)
    return Recovery(
        total_variation=float(0.5 * np.abs(theta.mean(axis=0) - planted).sum(axis=1).mean()),
        coverage=float(((low <= planted) & (planted <= high)).mean()),
        width=float((high - low).mean()),
        sequences=len(planted),
    )
