"""Priors on the context proportions.

A prior is made for K contexts, ``make_prior(contexts)``, and called inside the model's plate over sequences with the
batch; it issues its latent site and returns theta, the point on the simplex: shape (B, K), or (B, T, K) in the
filtering scope, where :func:`hcrnn_pyro.sites.over_steps` gives the latent its time axis. The model records what it
returns as the deterministic site ``theta``.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from hcrnn_pyro.contracts import MakePrior
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.sites import over_steps


class LogisticNormal(nn.Module):
    """p(eta) = Normal(0, I_K), theta = softmax(eta): the paper's prior.

    Support of ``eta``: R^K. On the simplex the density is symmetric in the contexts, so E[theta_k] = 1 / K.

    Args:
        contexts: K.
    """

    location: Tensor

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(contexts), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``eta``; returns theta."""
        prior = dist.Normal(self.location, 1.0).to_event(1)
        eta = pyro.sample("eta", over_steps(prior, batch))
        return eta.softmax(dim=-1)


PRIORS: dict[str, MakePrior] = {
    "logistic-normal": LogisticNormal,
}
