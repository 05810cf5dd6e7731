"""Amortized guides, one per file: ``GUIDES[name](model)`` makes a guide for a model."""

from collections.abc import Callable

from torch import nn

from hcrnn_pyro.contracts import ContextModel

from .bag_of_items import BagOfItems

GUIDES: dict[str, Callable[[ContextModel], nn.Module]] = {
    "bag-of-items": BagOfItems,
}

__all__ = ["GUIDES", "BagOfItems"]
