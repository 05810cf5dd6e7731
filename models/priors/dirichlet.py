r"""p(theta) = Dirichlet(a, ..., a): few contexts for a sequence if a < 1, about equal shares if a is large.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import over_steps

from .edges import Dirichlet


class SymmetricDirichlet(nn.Module):
    r"""p(theta) = Gamma(K a) / Gamma(a)^K prod_k theta_k^(a - 1).

    Support of ``proportions``, which is theta itself: the simplex. E[theta_k] = 1 / K and
    Var[theta_k] = (1 / K) (1 - 1 / K) / (K a + 1). The density is infinite at a corner where a < 1: proportions below
    1e-30 have that at 1e-30.

    Source: Blei, Ng and Jordan, "Latent Dirichlet Allocation", JMLR 2003.

    Args:
        contexts: K.
        concentration: a.
    """

    concentration: Tensor

    def __init__(self, contexts: int, concentration: float = 0.5) -> None:
        super().__init__()
        require(concentration > 0.0, f"The concentration of a Dirichlet is above 0; got {concentration}.")
        self.register_buffer("concentration", torch.full((contexts,), concentration), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``proportions``; returns them as theta."""
        theta: Tensor = pyro.sample("proportions", over_steps(Dirichlet(self.concentration), batch))
        return theta
