"""The systems that are compared: HCRNN and peers of its size, trained by one objective on the same batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from guides import BagOfItems, NoLatent
from hcrnn_pyro.contracts import MakePrior
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.kernels.reference import ScanResult
from models import HCRNN, HCRNNConfig, LogisticNormal, SASRec
from models.hcrnn import Variant

GRU, SASREC = "GRU", "SASRec"
OURS: Variant = "hcrnn3-bi"
REFERENCE = f"{OURS}, reference"  # the same by the plain loop over time


@dataclass(frozen=True)
class System:
    """Something that is trained and asked for predictions.

    Attributes:
        name: as it stands in the tables.
        build: V -> (model, guide).
        profiled: whether it has HCRNN's parts, so that a step can be taken apart.
        counts_as_hcrnn: whether its arithmetic is HCRNN's, so that it can be held against what that takes at least.
    """

    name: str
    build: Callable[[int], tuple[nn.Module, nn.Module]]
    profiled: bool = False
    counts_as_hcrnn: bool = False


class GRURecommender(HCRNN):
    """HCRNN-3+Bi with ``torch.nn.GRU`` in place of its recurrence: h_t stands for the local context c_t as well.

    Readouts, output layer, dropout, prior and guide are HCRNN's own; theta reaches no item.
    """

    def __init__(self, items: int, make_prior: MakePrior, **settings: Any) -> None:
        super().__init__(OURS, items, make_prior, **settings)
        del self.cell, self.global_contexts
        self.gru = nn.GRU(self.embedding_size, self.embedding_size, batch_first=True)

    def states(
        self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"], keep_gates: bool = False
    ) -> ScanResult:
        """h_1..h_T of a GRU, in both places; it has no gates to show."""
        hidden, _ = self.gru(self.event_inputs(self.embed(batch.inputs), batch))
        return ScanResult(hidden, hidden, None)


def compared_systems(settings: HCRNNConfig) -> list[System]:
    """HCRNN by either kernel and its peers, all of the size of ``settings``; ratios refer to the GRU among them."""
    reference = replace(settings, kernel="reference")
    return [
        System(OURS, partial(_hcrnn, replace(settings, kernel="fast")), profiled=True, counts_as_hcrnn=True),
        System(REFERENCE, partial(_hcrnn, reference), profiled=True, counts_as_hcrnn=True),
        System(GRU, partial(_gru, settings), profiled=True),
        System(SASREC, partial(_sasrec, settings)),
    ]


def _hcrnn(settings: HCRNNConfig, items: int) -> tuple[nn.Module, nn.Module]:
    model = HCRNN(OURS, items, LogisticNormal, **asdict(settings))
    return model, BagOfItems(model)


def _gru(settings: HCRNNConfig, items: int) -> tuple[nn.Module, nn.Module]:
    model = GRURecommender(items, LogisticNormal, **asdict(settings))
    return model, BagOfItems(model)


def _sasrec(settings: HCRNNConfig, items: int) -> tuple[nn.Module, nn.Module]:
    model = SASRec(items, hidden=settings.hidden, likelihood=settings.likelihood)
    return model, NoLatent(model)
