r"""p(eta) = Normal(m, W W^T + diag d), theta = softmax(eta), with m, W and d learned: contexts that occur together.

Axes: B rows, T time, K contexts, R rank.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.sites import over_steps

LARGEST_RANK = 5
NOISE = 0.01  # without it the gradient of W, which is proportional to W, would be 0 for ever


class LearnedLogisticNormal(nn.Module):
    r"""p(eta) = Normal(m, W W^T + diag d), theta = softmax(eta); W has R = min(5, K) columns.

    Support of ``eta``: R^K. With S = W W^T + diag d, log-ratios of proportions are Normal:
    E[log(theta_j / theta_k)] = m_j - m_k, and Var[log(theta_j / theta_k)] = S_jj + S_kk - 2 S_jk. The moments of
    theta_k itself have no closed form. It starts as the paper's prior, m = 0, d = 1 and W next to 0.

    Source: Blei and Lafferty, "A Correlated Topic Model of Science", Annals of Applied Statistics 2007, there with
    the whole covariance.

    Args:
        contexts: K.
    """

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.zeros(contexts))  # m
        self.factor = nn.Parameter(NOISE * torch.randn(contexts, min(LARGEST_RANK, contexts)))  # W
        self.log_diagonal = nn.Parameter(torch.zeros(contexts))  # log d

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``eta``; returns theta."""
        prior = dist.LowRankMultivariateNormal(self.location, self.factor, self.log_diagonal.exp())
        eta = pyro.sample("eta", over_steps(prior, batch))
        return eta.softmax(dim=-1)
