r"""p(v) = prod_k Beta(v_k; 1, alpha), theta_k = v_k prod_{j<k} (1 - v_j): how many contexts are used is inferred.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import math

import pyro
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import over_steps

from .edges import Beta


class StickBreaking(nn.Module):
    r"""p(v_k) = alpha (1 - v_k)^(alpha - 1) for k < K; theta_k = v_k prod_{j<k} (1 - v_j), and the last gets the rest.

    The sticks' Beta(1, alpha) is also a Kumaraswamy(1, alpha). Support of ``sticks``: (0, 1)^(K - 1). The contexts have
    an order, in which they get less and less. With r = alpha / (1 + alpha) and q = alpha / (2 + alpha):

        E[what is left after k contexts] = r^k
        E[theta_k] = (1 - r) r^(k-1),   E[theta_K] = r^(K-1)
        Var[theta_k] = 2 / ((1 + alpha) (2 + alpha)) q^(k-1) - E[theta_k]^2,   Var[theta_K] = q^(K-1) - r^(2K-2)

    alpha > 0 is learned. Sticks closer to 1 than the number below it have the density there.

    Source: Sethuraman, "A Constructive Definition of Dirichlet Priors", Statistica Sinica 1994; for amortized guides:
    Nalisnick and Smyth, "Stick-Breaking Variational Autoencoders", ICLR 2017.

    Args:
        contexts: K.
        concentration: where alpha starts; about 1 + alpha contexts hold most of theta.
    """

    def __init__(self, contexts: int, concentration: float = 5.0) -> None:
        super().__init__()
        require(concentration > 0.0, f"The concentration of sticks is above 0; got {concentration}.")
        self.sticks = contexts - 1
        self.log_concentration = nn.Parameter(torch.tensor(math.log(concentration)))  # log alpha

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``sticks``; returns theta."""
        alpha = self.log_concentration.exp()
        prior = Beta(torch.ones_like(alpha), alpha).expand(torch.Size([self.sticks])).to_event(1)
        return proportions_of(pyro.sample("sticks", over_steps(prior, batch)))


def proportions_of(sticks: Float[Tensor, "*rows sticks"]) -> Float[Tensor, "*rows contexts"]:
    """Theta, from the share of what is left that each context but the last takes."""
    whole = torch.ones_like(sticks[..., :1])
    left = torch.cat([whole, (1.0 - sticks).cumprod(dim=-1)], dim=-1)  # before each context
    return torch.cat([sticks, whole], dim=-1) * left
