"""Families of posteriors: what a guide makes of the features that it has read from a sequence, q(z | features).

Axes: ``*rows`` rows (B, or B and T in the filtering scope), F features, D unconstrained size of the latent, R rank.

A family is made for one latent site, ``make_family(site, features)``. Those that are Normal at heart serve every
support: the Normal lives on R^D, and :func:`hcrnn_pyro.simplex.bijection_to` takes its draws to where the latent lives,
with the density that follows. :mod:`hcrnn_pyro.flow` has one more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from hcrnn_pyro.simplex import SMALLEST_PROPORTION, bijection_to, is_simplex
from hcrnn_pyro.sites import LatentSite, SupportMismatch

SMALLEST_SCALE = 1e-6
SMALLEST_CONCENTRATION = 0.05  # below, most of a Dirichlet's draws are smaller than float32 can say
LARGEST_CORRELATING = 10.0  # keeps the matrices of :class:`LowRank` well-conditioned in float32
RANK = 5

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


class LowRank(MeanField):
    """u ~ Normal(mu, W W^T + diag sigma^2), all of the features, W = diag(sigma) U of rank R; z = the image of u.

    R is 5, or D where that is less. Entries of U stay within (-10, 10).

    Args:
        site: the latent.
        features: F.
    """

    def __init__(self, site: LatentSite, features: int) -> None:
        super().__init__(site, features)
        self.rank = min(RANK, site.unconstrained_size)
        self.correlating = nn.Linear(features, site.unconstrained_size * self.rank)

    def forward(self, features: Float[Tensor, "*rows feature"]) -> TorchDistributionMixin:
        """q(z | features), batch shape ``rows``."""
        location, scale = self.parameters_of(features)
        # In units of sigma the matrix to be decomposed is I + U^T U, whose condition the bound on U limits.
        relative = LARGEST_CORRELATING * (self.correlating(features) / LARGEST_CORRELATING).tanh()
        factor = scale.unsqueeze(-1) * relative.unflatten(-1, (-1, self.rank))
        return on_support(dist.LowRankMultivariateNormal(location, factor, scale.square()), self.site)


class DirichletFamily(nn.Module):
    """z ~ Dirichlet(alpha(features)), alpha = 0.05 + softplus of a linear map: on the simplex, and there alone.

    Args:
        site: the latent.
        features: F.

    Raises:
        SupportMismatch: the latent lives elsewhere.
    """

    def __init__(self, site: LatentSite, features: int) -> None:
        super().__init__()
        if not is_simplex(site.support):
            raise SupportMismatch(
                f"A Dirichlet posterior needs a latent that lives on the simplex; the prior's {site.name}, of shape "
                f"{tuple(site.shape)}, has the support {_named(site.support)}."
            )
        self.concentration = nn.Linear(features, site.shape[-1])

    def forward(self, features: Float[Tensor, "*rows feature"]) -> TorchDistributionMixin:
        """q(z | features), batch shape ``rows``."""
        return _Dirichlet(SMALLEST_CONCENTRATION + nn.functional.softplus(self.concentration(features)))


class _Dirichlet(dist.Dirichlet):
    """Its draws' smallest entries are rounded up, as those of :class:`hcrnn_pyro.simplex.CentredSoftmax` are."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draw: Tensor = super().rsample(torch.Size(sample_shape))
        return draw.clamp(min=SMALLEST_PROPORTION)


class Point(nn.Module):
    """z = the image of mu(features), for certain: learning it by the ELBO finds the most probable z of the posterior.

    A Delta's log-density counts as 0, so the KL term is -log p(z), and the mode is that of the prior's own density: on
    the simplex and not on R^D.

    Args:
        site: the latent.
        features: F.
    """

    def __init__(self, site: LatentSite, features: int) -> None:
        super().__init__()
        self.site = site
        self.location = nn.Linear(features, site.unconstrained_size)

    def forward(self, features: Float[Tensor, "*rows feature"]) -> TorchDistributionMixin:
        """q(z | features), batch shape ``rows``."""
        return dist.Delta(bijection_to(self.site.support)(self.location(features)), event_dim=1)


def on_support(unconstrained: TorchDistributionMixin, site: LatentSite) -> TorchDistributionMixin:
    """The law of a latent whose unconstrained form, event shape (D,), has the given one."""
    if isinstance(site.support, type(constraints.real)):  # by type, as copying a guide copies the support
        return unconstrained
    return dist.TransformedDistribution(unconstrained, [bijection_to(site.support)])


def _named(support: Any) -> str:
    return str(support).removesuffix("()").lower()
