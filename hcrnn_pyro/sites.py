"""Latent sites: which they are, where they live, and their shape (one value per row, or per step when filtering).

Axes: B rows, T time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import TransformedDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.plates import sequences_plate


class LatentSite(NamedTuple):
    """A latent variable of a prior, as a guide needs to know it.

    Attributes:
        name: of the Pyro site.
        shape: of the value of one row (of one step, in the filtering scope), e.g. (K,).
        support: where that value lives, e.g. ``constraints.real`` or ``constraints.simplex``.
    """

    name: str
    shape: torch.Size
    support: Constraint

    @property
    def unconstrained_size(self) -> int:
        """Number of reals that :func:`torch.distributions.biject_to` maps to the support: K - 1 for a simplex of K."""
        return int(torch.Size(biject_to(self.support).inverse_shape(self.shape)).numel())


def latent_sites(prior: Callable[[Batch], Any]) -> tuple[LatentSite, ...]:
    """What a prior draws, in its order; read from one run on a row of one step, which leaves random numbers alone.

    Args:
        prior: as the model calls it, inside a plate over sequences.

    Raises:
        UserError: a latent is discrete, or has no time axis in the filtering scope.
    """
    one = torch.ones(1, 1, dtype=torch.long)
    batch = Batch(one, one[0], 0 * one, one > 0, 0 * one[0], "filtering")
    with torch.no_grad(), torch.random.fork_rng(), sequences_plate(batch):
        nodes = poutine.trace(prior).get_trace(batch).nodes
    return tuple(_latent_site(site) for site in nodes.values() if is_latent(site))


def _latent_site(site: Any) -> LatentSite:
    name, event_shape, support = site["name"], site["fn"].event_shape, site["fn"].support
    require(
        len(event_shape) > 0 and event_shape[0] == 1,
        f"In the filtering scope the prior's {name} should have a value for every step, event shape (T, ...); for "
        f"T = 1 it has {tuple(event_shape)}. hcrnn_pyro.sites.over_steps gives a distribution its time axis.",
    )
    while hasattr(support, "base_constraint"):  # an event's dimensions, or a mixture, around where a value lives
        support = support.base_constraint
    require(
        not support.is_discrete,
        f"The prior's {name} is discrete. Sum it out, as pyro.distributions.MixtureSameFamily does: guides draw "
        "continuous latents alone.",
    )
    return LatentSite(name, event_shape[1:], support)


class SupportMismatch(UserError):
    """A guide cannot infer a latent that lives where this one does."""


def is_latent(site: Any) -> bool:
    """Whether a Pyro message or trace node is an unobserved random variable (and not a plate's index)."""
    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)


def is_deterministic(site: Any) -> bool:
    """Whether a message or trace node is ``pyro.deterministic``."""
    return site["type"] == "sample" and bool(site["infer"].get("_deterministic", False))


def is_data(site: Any) -> bool:
    """Whether a message or trace node is an observed random variable."""
    observed = site["type"] == "sample" and site["is_observed"]
    return observed and not is_deterministic(site) and not is_prior_on_parameter(site)


def is_prior_on_parameter(site: Any) -> bool:
    """Whether a message or trace node is one of :func:`prior_on_parameter`."""
    return site["type"] == "sample" and bool(site["infer"].get("_prior_on_parameter", False))


def prior_on_parameter(name: str, prior: TorchDistributionMixin, parameter: Tensor, share: Tensor | float) -> None:
    """Issue a site that adds a share of log p(parameter) to the joint density: of all batches, the whole of it.

    Maximising the ELBO then finds the parameter's maximum a posteriori. The site belongs to no row of the batch: it
    stands outside the plate over sequences.

    Args:
        name: of the site.
        prior: its event is the whole parameter.
        parameter: what is learned.
        share: the batch's share of the training part, in [0, 1].
    """
    marked: Any = {"_prior_on_parameter": True}
    with poutine.scale(scale=share):
        pyro.sample(name, prior, obs=parameter, infer=marked)


def over_steps(distribution: TorchDistributionMixin, batch: Batch) -> TorchDistributionMixin:
    """Give a per-row distribution its time axis where the batch's scope wants one.

    Args:
        distribution: event shape (K,); batch shape broadcastable to (B,), or to (B, T) in the filtering scope.
        batch: its scope decides.

    Returns:
        The distribution as it is, which the plate over sequences expands to batch shape (B,); or in the filtering scope
        one of batch shape (B,) and event shape (T, K), in which padded steps contribute nothing to the log-probability.
    """
    if batch.scope != "filtering":
        return distribution
    return distribution.expand(batch.inputs.shape).mask(batch.valid).to_event(1)


def centre(distribution: Any) -> Tensor:
    """The mean; where that has no closed form, as for a Normal pushed through a map, the image of the Normal's mean."""
    try:
        mean: Tensor = distribution.mean
    except NotImplementedError:
        while not isinstance(distribution, TransformedDistribution):
            distribution = distribution.base_dist
        mean = centre(distribution.base_dist)
        for transform in distribution.transforms:
            mean = transform(mean)
    return mean
