"""Guides, one per file: ``GUIDES[name](model)`` makes a guide for a model; ``none`` is that of one without a latent."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .bag_of_items import BagOfItems
from .context_counts import ContextCountsGuide
from .no_latent import NoLatent

GUIDES: dict[str, Callable[[Any], nn.Module]] = {
    "bag-of-items": BagOfItems,
    "context-counts": ContextCountsGuide,
    "none": NoLatent,
}

__all__ = ["GUIDES", "BagOfItems", "ContextCountsGuide", "NoLatent"]
