"""Whether two tensors that should be equal are, and what of a posterior is compared."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta, TransformedDistribution
from torch import Tensor

from hcrnn_pyro.sites import centre

TOLERANCE = 1e-7  # absolute and relative, in double precision


def moved(before: Tensor, after: Tensor) -> Tensor:
    """True where two tensors of one shape differ by more than rounding."""
    return ~torch.isclose(after, before, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def distance(before: Tensor, after: Tensor) -> str:
    """The largest difference, for a sentence."""
    return f"{float((after - before).detach().abs().max()) if before.numel() else 0.0:.2g}"


def location_and_scale(law: Any) -> list[Tensor]:
    """The centre of a distribution and its variance or, where that has no closed form, that of what it is made from."""
    spread = law
    while True:
        try:
            return [centre(law), spread.variance]
        except NotImplementedError:
            while not isinstance(spread, TransformedDistribution):
                spread = spread.base_dist
            spread = spread.base_dist


def is_a_point(law: Any) -> bool:
    """Whether it is a point mass, whose density tells equal values from others to the last bit."""
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return isinstance(law, Delta)
