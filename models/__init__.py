"""Pyro models, one per file, and the priors on their context proportions.

``MODELS[name](items=V, make_prior=PRIORS[name], **settings)`` builds a model for a vocabulary of V items; the
settings of the HCRNN variants are the fields of :class:`models.hcrnn.HCRNNConfig`.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from .hcrnn import HCRNN, HCRNNConfig
from .priors import PRIORS, LogisticNormal

MODELS: dict[str, Callable[..., nn.Module]] = {
    "hcrnn1": partial(HCRNN, "hcrnn1"),
    "hcrnn2": partial(HCRNN, "hcrnn2"),
    "hcrnn3": partial(HCRNN, "hcrnn3"),
    "hcrnn3-bi": partial(HCRNN, "hcrnn3-bi"),
}

__all__ = ["HCRNN", "MODELS", "PRIORS", "HCRNNConfig", "LogisticNormal"]
