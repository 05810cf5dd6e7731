r"""p(eta) = Normal(0, s^2 I_K), theta = softmax(eta): a Normal in place of a symmetric Dirichlet.

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


class DirichletLaplace(nn.Module):
    r"""p(eta) = Normal(0, s^2 I_K) with s^2 = (1 / a) (1 - 2 / K) + 1 / (K a), theta = softmax(eta).

    The Laplace approximation of Dirichlet(a, ..., a) in the softmax basis, off the diagonal of its covariance left out.
    Support of ``eta``: R^K. E[theta_k] = 1 / K, as the Dirichlet has it. The variance has no closed form; as K grows,
    Var[theta_k] -> (e^(s^2) - 1) / K^2, and as a grows, to (1 - 1 / K) times the Dirichlet's. For a below 1 fewer
    proportions are next to 0 than the Dirichlet has.

    Source: Srivastava and Sutton, "Autoencoding Variational Inference for Topic Models", ICLR 2017; the approximation:
    MacKay, "Choice of Basis for Laplace Approximation", Machine Learning 1998.

    Args:
        contexts: K.
        concentration: a.
    """

    location: Tensor

    def __init__(self, contexts: int, concentration: float = 0.5) -> None:
        super().__init__()
        require(concentration > 0.0, f"The concentration of a Dirichlet is above 0; got {concentration}.")
        self.register_buffer("location", torch.zeros(contexts), persistent=False)
        self.scale = math.sqrt((1.0 - 2.0 / contexts) / concentration + 1.0 / (contexts * concentration))  # s

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``eta``; returns theta."""
        prior = dist.Normal(self.location, self.scale).to_event(1)
        eta = pyro.sample("eta", over_steps(prior, batch))
        return eta.softmax(dim=-1)
