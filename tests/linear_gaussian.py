"""A model whose posterior is known: eta ~ Normal(0, I_K), y | eta ~ Normal(A eta, s^2 I), and guides of known faults.

    p(eta | y) = Normal(P^-1 A^T y / s^2, P^-1),  P = I + A^T A / s^2,      p(y) = Normal(0, A A^T + s^2 I)

Rows are those of ``y``, by ``batch.rows``. All in double precision.
"""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from hcrnn_pyro.data.batches import Batch

CONTEXTS, SIZE = 3, 5


def batch_of(rows):
    """A batch of which the stand-in reads nothing but the rows."""
    one = torch.ones(rows, 1, dtype=torch.long)
    return Batch(one, one[:, 0], one, one > 0, torch.arange(rows), "sequence")


class LinearGaussian(nn.Module):
    def __init__(self, rows, noise=1.0, seed=0):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.noise = noise
        self.loading = nn.Parameter(torch.randn(SIZE, CONTEXTS, generator=random, dtype=torch.float64))
        self.eta = torch.randn(rows, CONTEXTS, generator=random, dtype=torch.float64)
        errors = noise * torch.randn(rows, SIZE, generator=random, dtype=torch.float64)
        self.y = (self.eta @ self.loading.T + errors).detach()

    def forward(self, batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            prior = dist.Normal(torch.zeros(CONTEXTS, dtype=torch.float64), 1.0).to_event(1)
            eta = pyro.sample("eta", prior.expand([batch.size]))
            pyro.deterministic("theta", eta.softmax(-1), event_dim=1)
            pyro.sample("y", dist.Normal(eta @ self.loading.T, self.noise).to_event(1), obs=self.y[batch.rows])

    @torch.no_grad()
    def posterior(self):
        """Mean (B, K) and covariance (K, K)."""
        precision = torch.eye(CONTEXTS, dtype=torch.float64) + self.loading.T @ self.loading / self.noise**2
        covariance = precision.inverse()
        return self.y @ self.loading / self.noise**2 @ covariance, covariance

    @torch.no_grad()
    def log_evidence(self):
        """Of each row, (B,)."""
        covariance = self.loading @ self.loading.T + self.noise**2 * torch.eye(SIZE, dtype=torch.float64)
        return MultivariateNormal(torch.zeros(SIZE, dtype=torch.float64), covariance).log_prob(self.y)


class Guide(nn.Module):
    """The posterior, its scales times ``factor`` and its mean ``shift`` standard deviations away."""

    def __init__(self, model, factor=1.0, shift=0.0):
        super().__init__()
        mean, covariance = model.posterior()
        tril = torch.linalg.cholesky(covariance)
        # Towards the first context and away from the second: softmax would not see all of them move together.
        direction = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / 2**0.5
        self.mean = nn.Parameter(mean + shift * tril @ direction)
        self.tril = nn.Parameter(factor * tril)
        self.kl = (CONTEXTS * (factor**2 - 1 - math.log(factor**2)) + shift**2) / 2

    def forward(self, batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            pyro.sample("eta", dist.MultivariateNormal(self.mean[batch.rows], scale_tril=self.tril))
