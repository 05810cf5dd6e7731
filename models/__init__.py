"""Pyro models, one per file, and the priors on the context proportions.

``MODELS[name](items=V, **settings)`` builds a model for a vocabulary of V items; one with context proportions takes
``make_prior=PRIORS[name]`` as well. ``MODELS[name].config`` is the dataclass of its settings.
"""

from functools import partial
from typing import ClassVar

from hcrnn_pyro.contracts import MakeModel

from .hcrnn import HCRNN, HCRNNConfig
from .item_knn import ItemKNN
from .item_knn_decay import ItemKNNDecay
from .markov import Markov
from .pop import Pop
from .priors import PRIORS, LogisticNormal
from .sasrec import SASRec, SASRecConfig
from .session_knn import SessionKNN
from .session_pop import SessionPop


class HCRNNVariant(partial[HCRNN]):
    """Makes HCRNN of one variant."""

    config: ClassVar[type] = HCRNNConfig


MODELS: dict[str, MakeModel] = {
    "hcrnn1": HCRNNVariant(HCRNN, "hcrnn1"),
    "hcrnn2": HCRNNVariant(HCRNN, "hcrnn2"),
    "hcrnn3": HCRNNVariant(HCRNN, "hcrnn3"),
    "hcrnn3-bi": HCRNNVariant(HCRNN, "hcrnn3-bi"),
    "sasrec": SASRec,
    "pop": Pop,  # this and the following are counted, not trained
    "s-pop": SessionPop,
    "item-knn": ItemKNN,
    "item-knn-decay": ItemKNNDecay,
    "s-knn": SessionKNN,
    "markov": Markov,
}

__all__ = ["HCRNN", "MODELS", "PRIORS", "HCRNNConfig", "LogisticNormal", "SASRec", "SASRecConfig"]
