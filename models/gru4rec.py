"""GRU4Rec as a Pyro model without a latent, and the same with an LSTM: p(y | x) = prod_t p(y_t | x_1..x_t).

Source: Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR
2016, with an embedding layer, and the losses of theirs and of Hidasi and Karatzoglou, CIKM 2018. Scores stay as they
come out of the output layer, where the first paper puts a tanh.

Axes: N scored predictions, V items, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.nn.attention import at_positions
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.event_inputs import EventInputs
from hcrnn_pyro.nn.head import ResidualHead
from hcrnn_pyro.ranking_losses import RankedNextItem, in_batch_negatives

from .plain import DropoutConfig, UntiedModel, glorot_

Recurrence = Literal["gru", "lstm"]
RECURRENCES: dict[Recurrence, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}
Loss = Literal["cross-entropy", "top1", "bpr-max"]


@dataclass(frozen=True)
class GRU4RecConfig(DropoutConfig):
    """Size, regularisation and loss of GRU4Rec."""

    loss: Loss = "cross-entropy"
    """What training minimises: top1 and bpr-max rank, against the other targets of a batch, and fit no likelihood."""


class GRU4Rec(UntiedModel):
    """h_t = GRU(x_1..x_t), scores = W h_t + b.

    Args:
        recurrence: gru or lstm.
        items: V.
        settings: fields of :class:`GRU4RecConfig` that differ from their defaults.
    """

    def __init__(self, recurrence: Recurrence, items: int, **settings: Any) -> None:
        config = GRU4RecConfig(**settings)
        super().__init__(items, config)
        self.loss = config.loss
        self.recurrence = RECURRENCES[recurrence](config.hidden, config.hidden, batch_first=True)
        glorot_(self.recurrence)
        self.event_inputs = EventInputs(config.hidden, config.dropout_in, config.time_intervals)
        self.dropout_out = Dropout(config.dropout_out)
        self.head = ResidualHead(config.hidden, config.head_layers, config.dropout_out)

    def likelihood(self, batch: Batch) -> NextItem:
        """p(y | x); in training with a ranking loss, what stands in for it."""
        likelihood = super().likelihood(batch)
        if not self.training or self.loss == "cross-entropy":
            return likelihood
        return RankedNextItem(likelihood, in_batch_negatives(batch.targets[batch.scored]), self.loss)

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """The states h_t, through the head, and a 1."""
        hidden, _ = self.recurrence(self.event_inputs(self.embed(batch.inputs), batch))
        states = self.dropout_out(at_positions(hidden, batch.queries)[batch.scored])
        return self.with_bias(self.head(states))
