"""Families of posteriors: what a guide makes of the features that it has read from a sequence, q(z | features).

Axes: ``*rows`` rows (B, or B and T in the filtering scope), F features, D unconstrained size of the latent.

A family is made for one latent site, ``make_family(site, features)``. Those that are Normal at heart serve every
support: the Normal lives on R^D, and ``biject_to(support)`` takes its draws to where the latent lives, with the density
that follows.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from jaxtyping import Float
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import biject_to

from hcrnn_pyro.sites import LatentSite

SMALLEST_SCALE = 1e-6

MakeFamily = Callable[[LatentSite, int], nn.Module]
"""Latent site, F -> module that maps features (*rows, F) to a distribution of batch shape ``rows``."""


class MeanField(nn.Module):
    """u ~ Normal(mu(features), diag sigma(features)^2), z = the image of u on the latent's support.

    Args:
        site: the latent.
        features: F.
    """

    def __init__(self, site: LatentSite, features: int) -> None:
        super().__init__()
        self.site = site
        self.location = nn.Linear(features, site.unconstrained_size)
        self.scale = nn.Linear(features, site.unconstrained_size)

    def forward(self, features: Float[Tensor, "*rows feature"]) -> TorchDistributionMixin:
        """q(z | features), batch shape ``rows``."""
        return on_support(dist.Normal(*self.parameters_of(features)).to_event(1), self.site)

    def parameters_of(
        self, features: Float[Tensor, "*rows feature"]
    ) -> tuple[Float[Tensor, "*rows size"], Float[Tensor, "*rows size"]]:
        """The mean mu and the scale sigma."""
        return self.location(features), SMALLEST_SCALE + nn.functional.softplus(self.scale(features))


def on_support(unconstrained: TorchDistributionMixin, site: LatentSite) -> TorchDistributionMixin:
    """The law of a latent whose unconstrained form, event shape (D,), has the given one."""
    if site.support is constraints.real:
        return unconstrained
    return dist.TransformedDistribution(unconstrained, [biject_to(site.support)])
