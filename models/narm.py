r"""NARM as a Pyro model without a latent: p(y | x) = prod_t p(y_t | x_1..x_t).

    h_t = GRU(x_1..x_t),   c_t = sum_{j<=t} alpha_tj h_j,   score(y) = emb_y . B [c_t; h_t]

Source: Li, Ren, Chen, Ren, Lian and Ma, "Neural Attentive Session-based Recommendation", CIKM 2017. alpha_tj is the
softmax over j of v . sigmoid(A_1 h_t + A_2 h_j): their equation leaves the softmax out, their code has it, and so has
HCRNN, whose readout this is.

Axes: N scored predictions, V items, H hidden.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.event_inputs import EventInputs
from hcrnn_pyro.nn.head import LinearHead
from hcrnn_pyro.nn.readouts import SingleReadout

from .plain import DropoutConfig, PlainModel, glorot_


class NARM(PlainModel):
    """A GRU with additive attention over its states; items share their embeddings between input and output.

    Args:
        items: V.
        settings: fields of :class:`DropoutConfig` that differ from their defaults.
    """

    config: ClassVar[type] = DropoutConfig

    def __init__(self, items: int, **settings: Any) -> None:
        config = DropoutConfig(**settings)
        super().__init__(items, config)
        size = config.hidden
        self.recurrence = nn.GRU(size, size, batch_first=True)
        self.readout = SingleReadout(size, size)
        self.to_item_space = LinearHead(self.readout.output_size, size, config.head_layers, config.dropout_out)  # B
        glorot_(self.recurrence)
        nn.init.xavier_uniform_(self.to_item_space.weight)
        self.event_inputs = EventInputs(size, config.dropout_in, config.time_intervals)
        self.dropout_out = Dropout(config.dropout_out)

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """B [c_t; h_t]."""
        hidden, _ = self.recurrence(self.event_inputs(self.embed(batch.inputs), batch))
        readout = self.readout(hidden, hidden, batch.queries)[batch.scored]
        return self.to_item_space(self.dropout_out(readout))
