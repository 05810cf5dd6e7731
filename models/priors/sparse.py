r"""p(s, d) = prod_k HalfCauchy(s_k; 1) Normal(d_k; 0, 1), theta = softmax(tau s d): most contexts alike, few stand out.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import over_steps

from .edges import LARGEST, HalfCauchy


class Sparse(nn.Module):
    r"""p(s_k) = 2 / (pi (1 + s_k^2)), p(d_k) = Normal(0, 1), eta_k = tau s_k d_k, theta = softmax(eta): the horseshoe.

    Support of ``spread`` (s): [0, inf)^K; of ``direction`` (d): R^K. Given s, eta is Normal(0, tau^2 diag s^2). On the
    simplex the density is symmetric in the contexts, so E[theta_k] = 1 / K. Var[theta_k] has no closed form: it rises
    with tau from 0, where all shares are equal, to (1 / K) (1 - 1 / K), where one context has all. tau > 0 is learned,
    one for all sequences. A spread above 1e15 counts as 1e15.

    Source: Carvalho, Polson and Scott, "The Horseshoe Estimator for Sparse Signals", Biometrika 2010.

    Args:
        contexts: K.
        spread_of_all: where tau starts.
    """

    unit: Tensor

    def __init__(self, contexts: int, spread_of_all: float = 0.1) -> None:
        super().__init__()
        require(spread_of_all > 0.0, f"The spread of all contexts is above 0; got {spread_of_all}.")
        self.register_buffer("unit", torch.ones(contexts), persistent=False)
        self.log_spread_of_all = nn.Parameter(torch.tensor(math.log(spread_of_all)))  # log tau

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``spread`` and ``direction``; returns theta."""
        spread = pyro.sample("spread", over_steps(HalfCauchy(self.unit).to_event(1), batch))
        direction = pyro.sample("direction", over_steps(dist.Normal(0.0, self.unit).to_event(1), batch))
        eta = self.log_spread_of_all.exp() * spread.clamp(max=LARGEST) * direction
        return eta.softmax(dim=-1)
