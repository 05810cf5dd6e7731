r"""Densities that stay finite where single precision meets the edge of their support.

A value beyond a bound has the density at the bound, and so no gradient there: a proportion below 1e-30, a stick within
1e-30 of 0 or closer to 1 than the next number below it, a scale above 1e15. Inside the bounds nothing is changed.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-30
LARGEST = 1e15  # its square is a number in single precision


class Dirichlet(dist.Dirichlet):
    """p(theta) = Gamma(sum a) prod theta_k^(a_k - 1) / Gamma(a_k), with proportions below 1e-30 taken for 1e-30."""

    def log_prob(self, value: Float[Tensor, "*batch contexts"]) -> Float[Tensor, "*batch"]:
        """Log-density with respect to theta_1..theta_{K-1}."""
        density: Tensor = super().log_prob(value.clamp(min=SMALLEST))
        return density


class Beta(dist.Beta):
    """p(v) = v^(a - 1) (1 - v)^(b - 1) / B(a, b), with sticks kept off 0 and 1 by the least that the number can say."""

    def log_prob(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log-density."""
        density: Tensor = super().log_prob(value.clamp(SMALLEST, 1.0 - torch.finfo(value.dtype).eps))
        return density


class HalfCauchy(dist.HalfCauchy):
    """p(s) = 2 / (pi scale (1 + (s / scale)^2)) for s >= 0, with values above 1e15 taken for 1e15."""

    def log_prob(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log-density."""
        density: Tensor = super().log_prob(value.clamp(max=LARGEST))
        return density
