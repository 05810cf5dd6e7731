"""Encoders: what a guide reads in a sequence, before a family makes a posterior of it.

Axes: B rows, T time, E embedding, F features.

An encoder is made for a model, ``make_encoder(model)``, and maps a batch to features: (B, F) of each row's whole input,
or in the filtering scope (B, T, F), where step t has read x_1..x_t alone. ``output_size`` is F. This file has the
paper's; :mod:`hcrnn_pyro.nn.recurrent_encoder` and :mod:`hcrnn_pyro.nn.attention_encoder` keep the order of the items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.kernels.repeats import each_once
from hcrnn_pyro.nn.attention import at_positions
from hcrnn_pyro.nn.dropout import Dropout


class Encoder(Protocol):
    """A module that reads batches."""

    output_size: int
    """F."""

    def __call__(self, batch: Batch) -> Tensor:
        """Features (B, F), or (B, T, F) in the filtering scope."""
        ...


MakeEncoder = Callable[[ContextModel], Encoder]


class BagEncoder(nn.Module):
    """ELU(W s + b), s = the sum of the embeddings of the DISTINCT items: the paper's.

    Args:
        model: the model that the guide serves; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # a bound method: the embeddings stay the model's parameters alone
        self.output_size = model.embedding_size
        self.dropout = Dropout(model.input_dropout)
        self.layer = nn.Linear(model.embedding_size, self.output_size)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """Features of the distinct items."""
        return nn.functional.elu(self.layer(self.dropout(self.bag(batch))))

    def bag(self, batch: Batch) -> Float[Tensor, "batch *time embedding"]:
        """The sum of the distinct items' embeddings: of each row, or of each x_1..x_t in the filtering scope."""
        embedded = self.embed(each_once(batch.inputs))
        return embedded.cumsum(dim=1) if batch.scope == "filtering" else embedded.sum(dim=1)


def after_last(states: Float[Tensor, "batch time feature"], batch: Batch) -> Float[Tensor, "batch feature"]:
    """The state after each row's last input, of states that look back alone."""
    return at_positions(states, (batch.lengths - 1).unsqueeze(-1)).squeeze(-2)
