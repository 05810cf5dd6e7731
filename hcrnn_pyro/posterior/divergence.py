"""KL(q || p) of a guide from the prior, read from a trace of each at the guide's values.

Axes: S draws, B rows, K contexts.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from hcrnn_pyro.sites import is_latent


def divergence(inferred: poutine.Trace, replayed: poutine.Trace, shape: tuple[int, int]) -> Float[Tensor, "draws rows"]:
    """Log q - log p of all latents together: its mean over draws is the KL, infinite where the guide says a point.

    Args:
        inferred: the guide's trace, with its log-densities computed.
        replayed: that of the prior at the guide's values.
        shape: (S, B).
    """
    laws = [_core(site["fn"]) for site in inferred.nodes.values() if is_latent(site)]
    if any(isinstance(law, dist.Delta) for law in laws):
        return torch.full(shape, torch.inf, dtype=torch.double)
    return _log_density(inferred, shape) - _log_density(replayed, shape)


def context_divergence(
    inferred: poutine.Trace, replayed: poutine.Trace, shape: tuple[int, int, int]
) -> Float[Tensor, "rows contexts"] | None:
    """The KL of each context in closed form, where the one latent is K independent Normals for guide and prior.

    Args:
        inferred: the guide's trace.
        replayed: that of the prior.
        shape: (S, B, K).
    """
    names = [name for name, site in inferred.nodes.items() if is_latent(site)]
    laws: list[Any] = [trace.nodes[names[0]]["fn"] for trace in (inferred, replayed)]
    normal = all(isinstance(_core(law), Normal) for law in laws)
    if len(names) != 1 or not normal or laws[0].event_shape != shape[2:]:
        return None
    return kl_divergence(*map(_core, laws)).expand(shape).mean(dim=0)


def _log_density(trace: poutine.Trace, shape: tuple[int, int]) -> Tensor:
    densities: list[Any] = [site["log_prob"] for site in trace.nodes.values() if is_latent(site)]
    return torch.stack([density.double().expand(shape) for density in densities]).sum(dim=0)


def _core(law: Any) -> Any:
    """What a law of vectors is made of, such as the Normal of batch shape (..., K) under its event dimension."""
    while isinstance(law, dist.Independent | dist.MaskedDistribution):
        law = law.base_dist
    return law
