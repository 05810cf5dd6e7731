r"""p(eta) = sum_g w_g Normal(eta; m_g, diag s_g^2), theta = softmax(eta): groups of users.

Axes: B rows, T time, K contexts, G groups.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import over_steps

NOISE = 0.1  # groups that start alike would stay alike


class Mixture(nn.Module):
    r"""p(eta) = sum_g w_g Normal(eta; m_g, diag s_g^2), theta = softmax(eta); the group is summed out exactly.

    Support of ``eta``: R^K. Weights w, locations m and scales s are learned; they start from equal weights, locations
    near 0 and scales of 1. E[theta] = sum_g w_g E_g[theta], and Var[theta_k] is the mean over the groups of Var_g, plus
    the variance of E_g[theta_k] between them; the moments of a group have no closed form.

    Source: Jiang, Zheng, Tan, Tang and Zhou, "Variational Deep Embedding: An Unsupervised and Generative Approach to
    Clustering", IJCAI 2017, whose bound keeps the group as a latent.

    Args:
        contexts: K.
        groups: G.
    """

    def __init__(self, contexts: int, groups: int = 4) -> None:
        super().__init__()
        require(groups >= 1, f"A mixture has at least 1 group; got {groups}.")
        self.logits = nn.Parameter(torch.zeros(groups))  # w = softmax(logits)
        self.location = nn.Parameter(NOISE * torch.randn(groups, contexts))  # m
        self.log_scale = nn.Parameter(torch.zeros(groups, contexts))  # log s

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``eta``; returns theta."""
        prior = dist.MixtureSameFamily(dist.Categorical(logits=self.logits), self.members())
        eta = pyro.sample("eta", over_steps(prior, batch))
        return eta.softmax(dim=-1)

    def members(self) -> dist.Distribution:
        """p(eta | group), batch shape (G,) and event shape (K,)."""
        return dist.Normal(self.location, self.log_scale.exp()).to_event(1)

    def group_probabilities(self, eta: Float[Tensor, "*rows contexts"]) -> Float[Tensor, "*rows groups"]:
        """p(group | eta), by Bayes' rule."""
        joint = self.logits.log_softmax(dim=-1) + self.members().log_prob(eta.unsqueeze(-2))
        return joint.softmax(dim=-1)
