"""The joint density of a batch as a function of its latents alone: p(y, z | x) with the weights as they stand.

Axes: S draws, B rows, D reals that a row's latents have together.

The latents of a row, laid end to end in unconstrained form, are a point u of R^D; ``biject_to`` of each latent's
support leads from there to the values, and its Jacobian makes the density of u. Rows are independent given the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import Transform, biject_to

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import is_latent


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One latent's place in u.

    Attributes:
        name: of the site.
        shape: of one row's value.
        transform: from unconstrained values, of shape ``free_shape``, to the support.
        free_shape: of one row's unconstrained value.
        place: which entries of u it has.
    """

    name: str
    shape: torch.Size
    transform: Transform
    free_shape: torch.Size
    place: slice


@dataclass(frozen=True, eq=False)
class Joint:
    """log p(y, z | x) of every row of a batch.

    Attributes:
        model: the Pyro model, in evaluation mode and frozen; see :func:`frozen`.
        batch: B rows, with targets, in the sequence or the prefix scope.
        coordinates: the model's latents, in its order.
    """

    model: Callable[[Batch], Any]
    batch: Batch
    coordinates: tuple[Coordinate, ...]

    @classmethod
    def of(cls, model: Callable[[Batch], Any], batch: Batch) -> Joint:
        """Learn from one run of the model which latents there are.

        Raises:
            UserError: the model has no latent, or a row's latents have no common shape, as in the filtering scope.
        """
        require(batch.scope != "filtering", "One theta a row is needed here: take the sequence or the prefix scope.")
        with torch.no_grad(), torch.random.fork_rng():
            nodes: Any = poutine.trace(model).get_trace(batch).nodes
        coordinates, start = [], 0
        for name, site in nodes.items():
            if is_latent(site):
                transform = biject_to(site["fn"].support)
                shape = torch.Size(site["fn"].event_shape)
                free_shape = torch.Size(transform.inverse_shape(shape))
                place = slice(start, start := start + free_shape.numel())
                coordinates.append(Coordinate(name, shape, transform, free_shape, place))
        require(bool(coordinates), "The model has no latent variable, so there is no posterior to read.")
        return cls(model, batch, tuple(coordinates))

    @property
    def size(self) -> int:
        """D."""
        return self.coordinates[-1].place.stop

    def free(self, latents: Mapping[str, Tensor]) -> Float[Tensor, "*draws rows size"]:
        """The unconstrained form u of values."""
        parts = [c.transform.inv(latents[c.name]).flatten(-len(c.free_shape)) for c in self.coordinates]
        return torch.cat(parts, dim=-1)

    def latents(self, u: Float[Tensor, "*draws rows size"]) -> dict[str, Tensor]:
        """The values at u."""
        return {c.name: c.transform(self._part(u, c)) for c in self.coordinates}

    def log_density(self, u: Float[Tensor, "draws rows size"]) -> Float[Tensor, "draws rows"]:
        """Log of the density of y and u given x, each row's own."""
        latents = self.latents(u)
        total = u.new_zeros(u.shape[:-1])
        for c in self.coordinates:
            total = total + c.transform.log_abs_det_jacobian(self._part(u, c), latents[c.name])
        trace = self._trace(latents, len(u))
        trace.compute_log_prob()
        for site in trace.nodes.values():
            if site["type"] == "sample" and not site_is_subsample(site):
                total = total + site["log_prob"]
        return total

    def theta(self, u: Float[Tensor, "draws rows size"]) -> Float[Tensor, "draws rows contexts"]:
        """The context proportions at u, as the model makes them of its latents."""
        with torch.no_grad():
            value: Any = self._trace(self.latents(u), len(u)).nodes["theta"]["value"]
        return value.expand(*u.shape[:-1], value.shape[-1])

    def _part(self, u: Tensor, coordinate: Coordinate) -> Tensor:
        return u[..., coordinate.place].unflatten(-1, coordinate.free_shape)

    def _trace(self, latents: dict[str, Tensor], draws: int) -> poutine.Trace:
        plate: Any = pyro.plate("draws", draws, dim=-2)
        return poutine.trace(plate(poutine.condition(self.model, data=latents))).get_trace(self.batch)


@contextmanager
def frozen(*parts: Any) -> Iterator[None]:
    """Leave the weights alone: no gradient flows into them, and nothing drops out; afterwards all is as it was.

    Args:
        parts: modules; what is none, as a guide that is a plain function, has nothing to freeze.
    """
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    trained = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
    training = [module for module in modules if module.training]
    for parameter in trained:
        parameter.requires_grad_(False)
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of their own for what is inside; those outside go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
