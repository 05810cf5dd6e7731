"""The simplex from R^(K-1): a softmax that treats all of its K entries alike, and whose densities stay finite.

Axes: ``*batch`` rows, K entries.

PyTorch's own bijection breaks a stick: its last entries are products of K numbers, which underflow to 0, where neither
the posterior nor a Dirichlet prior has a finite log-density.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform, biject_to
from torch.distributions.constraints import Constraint

SMALLEST_PROPORTION = 1e-30  # smaller ones are rounded up to it: float32 ends at 1e-38, and its logarithm must exist


class CentredSoftmax(Transform):
    """theta = softmax(V u), V a K x (K-1) matrix with orthonormal columns, each of sum 0 (Helmert's).

    So the density of a Normal(0, s^2 I) of u is symmetric in the entries of theta, and u = V^T log theta. Entries below
    :data:`SMALLEST_PROPORTION` are rounded up to it; the Jacobian is that of the exact theta.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _call(self, x: Float[Tensor, "*batch free"]) -> Float[Tensor, "*batch entries"]:
        return _spread(x).softmax(dim=-1).clamp(min=SMALLEST_PROPORTION)

    def _inverse(self, y: Float[Tensor, "*batch entries"]) -> Float[Tensor, "*batch free"]:
        logarithms = y.clamp(min=SMALLEST_PROPORTION).log()
        places = _places(y.shape[-1], y)
        return (logarithms.cumsum(dim=-1)[..., :-1] - places * logarithms[..., 1:]) * _lengths(places)

    def log_abs_det_jacobian(
        self, x: Float[Tensor, "*batch free"], y: Float[Tensor, "*batch entries"]
    ) -> Float[Tensor, "*batch"]:
        """Of the first K - 1 entries of theta, as a Dirichlet's density has it: sum_k log theta_k + (log K) / 2."""
        logarithms = _spread(x).log_softmax(dim=-1)
        return logarithms.sum(dim=-1) + 0.5 * math.log(logarithms.shape[-1])

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """One entry more."""
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """One number less."""
        return torch.Size((*shape[:-1], shape[-1] - 1))


def bijection_to(support: Constraint) -> Transform:
    """From R^D to a support; what it maps is remembered, so that a draw's density is that of what was drawn."""
    bijection: Transform = CentredSoftmax() if is_simplex(support) else biject_to(support)
    return bijection.with_cache(1)


def is_simplex(support: Constraint) -> bool:
    """Whether a support is the simplex; a guide that was copied or unpickled holds another instance of it."""
    return isinstance(support, type(constraints.simplex))


def _spread(x: Tensor) -> Tensor:
    """V x, from its columns' form: j times 1, then -j, then 0, over sqrt(j (j + 1))."""
    places = _places(x.shape[-1] + 1, x)
    scaled = x * _lengths(places)
    behind = scaled.flip(-1).cumsum(dim=-1).flip(-1)
    return torch.nn.functional.pad(behind, (0, 1)) - torch.nn.functional.pad(places * scaled, (1, 0))


def _places(entries: int, like: Tensor) -> Tensor:
    return torch.arange(1, entries, dtype=like.dtype, device=like.device)


def _lengths(places: Tensor) -> Tensor:
    return (places * (places + 1)).rsqrt()
