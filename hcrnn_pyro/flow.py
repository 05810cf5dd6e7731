"""A posterior of any shape: a Normal bent by affine couplings, all of them conditioned on the features.

Axes: ``*rows`` rows (B, or B and T in the filtering scope), S draws, F features, D unconstrained size of the latent.

Source: Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017. A coupling is as fast backwards
as forwards, so that the density of any value costs as much as that of a draw.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Transform

from hcrnn_pyro.families import MeanField, on_support
from hcrnn_pyro.sites import LatentSite, SupportMismatch

COUPLINGS = 4  # an even number: each reverses the order of the coordinates
HIDDEN = 64
LARGEST_LOG_SCALE = 2.0  # of one coupling: no draw leaves what float32 can say
FIRST_STEP = 0.01


class Flow(MeanField):
    """u_0 ~ Normal(mu(features), diag sigma(features)^2), u = f_4 ... f_1(u_0), z = the image of u on the support.

    f_l(u; features) = reverse(a, m + b exp(s)), u = (a, b) in halves, (m, s) a network of a and the features.

    Args:
        site: the latent.
        features: F.

    Raises:
        SupportMismatch: the latent has one coordinate, which has no other to be bent by.
    """

    def __init__(self, site: LatentSite, features: int) -> None:
        if site.unconstrained_size < 2:
            raise SupportMismatch(
                "A flow bends the coordinates of a latent by each other, so it needs two or more; the prior's "
                f"{site.name}, of shape {tuple(site.shape)}, has {site.unconstrained_size}."
            )
        super().__init__(site, features)
        self.bends = nn.ModuleList(Bend(site.unconstrained_size, features) for _ in range(COUPLINGS))

    def forward(self, features: Float[Tensor, "*rows feature"]) -> TorchDistributionMixin:
        """q(z | features), batch shape ``rows``."""
        base = dist.Normal(*self.parameters_of(features)).to_event(1)
        couplings: list[Transform] = [bend(features) for bend in self.bends]
        return on_support(dist.TransformedDistribution(base, couplings), self.site)


class Bend(nn.Module):
    """(m, s)(a, features): how one half of the coordinates is moved and stretched, given the other half.

    Args:
        size: D.
        features: F.
    """

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.given = size // 2
        self.of_given = nn.Linear(self.given, HIDDEN, bias=False)
        self.of_features = nn.Linear(features, HIDDEN)
        self.output = nn.Linear(HIDDEN, 2 * (size - self.given))
        self.step = nn.Parameter(torch.tensor(FIRST_STEP))  # a flow starts next to its Normal

    def forward(self, features: Float[Tensor, "*rows feature"]) -> Coupling:
        """The coupling for the rows of these features."""
        return Coupling(self, features)

    def move(
        self, given: Float[Tensor, "*draws half"], features: Float[Tensor, "*rows feature"]
    ) -> tuple[Float[Tensor, "*draws other"], Float[Tensor, "*draws other"]]:
        """The shift m and the log-scale s, within (-2, 2)."""
        hidden = (self.of_given(given) + self.of_features(features)).tanh()
        shift, log_scale = (self.step * self.output(hidden)).chunk(2, dim=-1)
        return shift, LARGEST_LOG_SCALE * (log_scale / LARGEST_LOG_SCALE).tanh()


class Coupling(Transform):
    """(a, b) -> reverse(a, m + b exp(s)), m and s of a and of the features of each row.

    Args:
        bend: what computes m and s.
        features: (*rows, F).
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, bend: Bend, features: Float[Tensor, "*rows feature"]) -> None:
        super().__init__(cache_size=1)  # a draw's density is that of what was drawn
        self.bend = bend
        self.features = features

    def _call(self, x: Float[Tensor, "*draws size"]) -> Float[Tensor, "*draws size"]:
        given, moved = self._halves(x)
        shift, log_scale = self.bend.move(given, self.features)
        return torch.cat([given, shift + moved * log_scale.exp()], dim=-1).flip(-1)

    def _inverse(self, y: Float[Tensor, "*draws size"]) -> Float[Tensor, "*draws size"]:
        given, moved = self._halves(y.flip(-1))
        shift, log_scale = self.bend.move(given, self.features)
        return torch.cat([given, (moved - shift) * (-log_scale).exp()], dim=-1)

    def log_abs_det_jacobian(
        self, x: Float[Tensor, "*draws size"], y: Float[Tensor, "*draws size"]
    ) -> Float[Tensor, "*draws"]:
        """The sum of the log-scales; reversing changes no volume."""
        _, log_scale = self.bend.move(self._halves(x)[0], self.features)
        return log_scale.sum(dim=-1)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., : self.bend.given], x[..., self.bend.given :]
