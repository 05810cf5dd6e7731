r"""p(theta) = Dirichlet(a_1, ..., a_K) with learned a: some contexts are common among all sequences, others rare.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import math

import pyro
import torch
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import over_steps

from .edges import Dirichlet


class LearnedDirichlet(nn.Module):
    r"""p(theta) = Gamma(A) prod_k theta_k^(a_k - 1) / Gamma(a_k), A = sum_k a_k.

    Support of ``proportions``, which is theta itself: the simplex. E[theta_k] = a_k / A and
    Var[theta_k] = (a_k / A) (1 - a_k / A) / (A + 1). Proportions below 1e-30 have the density at 1e-30.

    Source: Wallach, Mimno and McCallum, "Rethinking LDA: Why Priors Matter", NeurIPS 2009.

    Args:
        contexts: K.
        concentration: where every a_k starts.
    """

    def __init__(self, contexts: int, concentration: float = 0.5) -> None:
        super().__init__()
        require(concentration > 0.0, f"The concentration of a Dirichlet is above 0; got {concentration}.")
        self.log_concentration = nn.Parameter(torch.full((contexts,), math.log(concentration)))

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``proportions``; returns them as theta."""
        theta: Tensor = pyro.sample("proportions", over_steps(Dirichlet(self.log_concentration.exp()), batch))
        return theta
