"""Pyro models, one per file, and the priors on the context proportions.

``MODELS[name](items=V, **settings)`` builds a model for a vocabulary of V items; one with context proportions takes
``make_prior=PRIORS[name]`` as well. ``MODELS[name].config`` is the dataclass of its settings.
"""

from functools import partial
from typing import ClassVar

from hcrnn_pyro.contracts import MakeModel

from .bpr_mf import BPRMF, BPRMFConfig
from .gru4rec import GRU4Rec, GRU4RecConfig
from .hcrnn import HCRNN, HCRNNConfig
from .item_knn import ItemKNN
from .item_knn_decay import ItemKNNDecay
from .markov import Markov
from .narm import NARM
from .plain import DropoutConfig, PlainConfig, PlainModel, UntiedModel
from .pop import Pop
from .priors import PRIORS, LogisticNormal
from .sasrec import SASRec, SASRecConfig
from .sequential_knn import SequentialKNN
from .session_knn import SessionKNN
from .session_pop import SessionPop
from .slit import SLIT
from .stamp import STAMP
from .switching import SwitchingConfig, SwitchingHCRNN


class HCRNNVariant(partial[HCRNN]):
    """Makes HCRNN of one variant."""

    config: ClassVar[type] = HCRNNConfig


class SwitchingVariant(partial[SwitchingHCRNN]):
    """Makes HCRNN with switching contexts."""

    config: ClassVar[type] = SwitchingConfig
    defaults: ClassVar[dict[str, str]] = {"guide": "context-counts"}


class GRU4RecVariant(partial[GRU4Rec]):
    """Makes GRU4Rec with one recurrence."""

    config: ClassVar[type] = GRU4RecConfig


MODELS: dict[str, MakeModel] = {
    "hcrnn1": HCRNNVariant(HCRNN, "hcrnn1"),
    "hcrnn2": HCRNNVariant(HCRNN, "hcrnn2"),
    "hcrnn3": HCRNNVariant(HCRNN, "hcrnn3"),
    "hcrnn3-bi": HCRNNVariant(HCRNN, "hcrnn3-bi"),
    "hcrnn-switching": SwitchingVariant(SwitchingHCRNN),
    "bpr-mf": BPRMF,
    "lstm4rec": GRU4RecVariant(GRU4Rec, "lstm"),
    "gru4rec": GRU4RecVariant(GRU4Rec, "gru"),
    "narm": NARM,
    "stamp": STAMP,
    "sasrec": SASRec,
    "pop": Pop,  # this and the following are counted, not trained
    "s-pop": SessionPop,
    "item-knn": ItemKNN,
    "item-knn-decay": ItemKNNDecay,
    "sequential-knn": SequentialKNN,
    "s-knn": SessionKNN,
    "markov": Markov,
    "slit": SLIT,
}

__all__ = [
    "BPRMF",
    "HCRNN",
    "MODELS",
    "NARM",
    "PRIORS",
    "STAMP",
    "BPRMFConfig",
    "DropoutConfig",
    "GRU4Rec",
    "GRU4RecConfig",
    "HCRNNConfig",
    "LogisticNormal",
    "PlainConfig",
    "PlainModel",
    "SASRec",
    "SASRecConfig",
    "SwitchingConfig",
    "SwitchingHCRNN",
    "UntiedModel",
]
