"""A prior of one's own: theta = softmax(Normal(0, 1.5^2)), the law that the synthetic data's theta is drawn from."""

import pyro
import pyro.distributions as dist
import torch

from hcrnn_pyro.sites import over_steps


class WidePrior(torch.nn.Module):
    """p(eta) = Normal(0, 1.5^2 I_K), theta = softmax(eta)."""

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(contexts), persistent=False)

    def forward(self, batch):
        """Issue ``eta``; returns theta."""
        eta = pyro.sample("eta", over_steps(dist.Normal(self.location, 1.5).to_event(1), batch))
        return eta.softmax(-1)
