r"""STAMP as a Pyro model without a latent: p(y | x) = prod_t p(y_t | x_1..x_t).

    m_s = 1/t sum_{j<=t} x_j
    a_j = w_0 . sigmoid(W_1 x_j + W_2 x_t + W_3 m_s + b_a),   m_a = sum_{j<=t} a_j x_j
    h_s = tanh(W_s m_a + b_s),   h_t = tanh(W_t x_t + b_t),   score(y) = sum_h h_s h_t emb_y

Source: Liu, Zeng, Mokhosi and Zhang, "STAMP: Short-Term Attention/Memory Priority Model for Session-based
Recommendation", KDD 2018. As there, the weights a_j are not normalised. The score stays as it is: the sigmoid that
their equation puts on it would keep the softmax over a catalogue close to uniform.

Axes: N scored predictions, V items, H hidden.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.kernels.additive import additive_scores
from hcrnn_pyro.nn.attention import at_positions, attend
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.event_inputs import EventInputs
from hcrnn_pyro.nn.head import ResidualHead
from hcrnn_pyro.nn.readouts import means_so_far

from .plain import DropoutConfig, PlainModel, glorot_


class STAMP(PlainModel):
    """Attention over the embedded items, asked by the last one and the mean; no recurrence.

    Args:
        items: V.
        settings: fields of :class:`DropoutConfig` that differ from their defaults.
    """

    config: ClassVar[type] = DropoutConfig

    def __init__(self, items: int, **settings: Any) -> None:
        config = DropoutConfig(**settings)
        super().__init__(items, config)
        size = config.hidden
        self.key = nn.Linear(size, size, bias=False)  # W_1
        self.query_last = nn.Linear(size, size)  # W_2, b_a
        self.query_mean = nn.Linear(size, size, bias=False)  # W_3
        self.weight = nn.Linear(size, 1, bias=False)  # w_0
        self.memory = nn.Linear(size, size)  # W_s, b_s
        self.last = nn.Linear(size, size)  # W_t, b_t
        for layer in self.children():
            glorot_(layer)
        self.event_inputs = EventInputs(size, config.dropout_in, config.time_intervals)
        self.dropout_out = Dropout(config.dropout_out)
        self.head = ResidualHead(size, config.head_layers, config.dropout_out)

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """h_s h_t, unit by unit, through the head."""
        items = self.event_inputs(self.embed(batch.inputs), batch)
        last, mean = (at_positions(x, batch.queries) for x in (items, means_so_far(items)))
        query = self.query_last(last) + self.query_mean(mean)
        memory = attend(self.score, query, self.key(items), items, batch.queries, normalise=False)
        short = torch.tanh(self.last(last[batch.scored]))
        return self.head(self.dropout_out(torch.tanh(self.memory(memory[batch.scored])) * short))

    def score(
        self, query: Float[Tensor, "rows queries hidden"], key: Float[Tensor, "rows time hidden"]
    ) -> Float[Tensor, "rows queries time"]:
        """The weights a_j."""
        return additive_scores(query, key, self.weight.weight.squeeze(0))
