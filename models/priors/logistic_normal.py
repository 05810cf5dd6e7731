r"""p(eta) = Normal(0, I_K), theta = softmax(eta): the paper's prior.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.sites import over_steps


class LogisticNormal(nn.Module):
    r"""p(eta) = Normal(0, I_K), theta = softmax(eta).

    Support of ``eta``: R^K. On the simplex the density is symmetric in the contexts, so E[theta_k] = 1 / K. The
    variance has no closed form; as K grows, Var[theta_k] -> (e - 1) / K^2, that of a log-normal over K times its mean.

    Source: Song, Ji, Park and Moon, "Hierarchical Context enabled Recurrent Neural Network for Recommendation", AAAI
    2019; the distribution: Aitchison and Shen, "Logistic-Normal Distributions: Some Properties and Uses", Biometrika
    1980.

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
