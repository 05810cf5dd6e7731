"""Guides, one per file: ``GUIDES[name](model)`` makes a guide for a model; ``none`` is that of one without a latent."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .attention import Attention
from .bag_of_items import BagOfItems
from .context_counts import ContextCountsGuide
from .dirichlet import DirichletBag
from .flow import FlowBag
from .low_rank import LowRankBag
from .no_latent import NoLatent
from .point import PointBag
from .prior import FromPrior
from .recurrent import Recurrent

GUIDES: dict[str, Callable[[Any], nn.Module]] = {
    "bag-of-items": BagOfItems,
    "context-counts": ContextCountsGuide,
    "recurrent": Recurrent,
    "attention": Attention,
    "low-rank": LowRankBag,
    "flow": FlowBag,
    "dirichlet": DirichletBag,
    "point": PointBag,
    "prior": FromPrior,
    "none": NoLatent,
}

__all__ = [
    "GUIDES",
    "Attention",
    "BagOfItems",
    "ContextCountsGuide",
    "DirichletBag",
    "FlowBag",
    "FromPrior",
    "LowRankBag",
    "NoLatent",
    "PointBag",
    "Recurrent",
]
