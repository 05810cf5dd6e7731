r"""SASRec as a Pyro model without a latent: p(y | x) = prod_t p(y_t | x_1..x_t).

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Unlike theirs, one pass scores every
position over the whole catalogue, by the categorical likelihood that all models here share.

Axes: B rows, T time, N scored predictions, V items, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.nn.attention import at_positions
from hcrnn_pyro.nn.event_inputs import EventInputs
from hcrnn_pyro.nn.head import ResidualHead, check_head_layers

from .plain import PlainConfig, PlainModel


@dataclass(frozen=True)
class SASRecConfig(PlainConfig):
    """Sizes and regularisation of SASRec; the defaults are the paper's but for the size, which is HCRNN's."""

    layers: int = 2
    """Blocks of self-attention and feed-forward layer."""
    heads: int = 1
    """Heads of each attention; a divisor of --hidden."""
    positions: int = 200
    """Learned position embeddings; events behind the last one share it."""
    dropout: float = 0.5
    """Dropout on embedded inputs, attention weights and the output of every layer (0.2 suits dense data)."""
    head_layers: int = 0
    """Hidden layers, each 4 H wide, of a feed-forward part of the output layer; 0: none, as in the model's paper."""
    time_intervals: bool = False
    """Read how long ago the event before each one was; for data with times."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_head_layers(self.head_layers)
        for name in ("layers", "heads", "positions"):
            value = getattr(self, name)
            require(value >= 1, f"--{name} is a whole number of at least 1; got {value}.")
        require(
            self.hidden % self.heads == 0, f"--heads divides --hidden, {self.hidden}, without rest; got {self.heads}."
        )
        require(0.0 <= self.dropout < 1.0, f"--dropout is a share in [0, 1); got {self.dropout}.")


class SASRec(PlainModel):
    """Causal self-attention over the items so far; ``model(batch)`` issues the observed ``next_item`` and no latent.

    A block adds to its input x first Dropout(Attention(LayerNorm(x))), then Dropout(FeedForward(LayerNorm(x))). Items
    share their embeddings between input and output.

    Args:
        items: V.
        settings: fields of :class:`SASRecConfig` that differ from their defaults.

    Attributes:
        item_embeddings: (V + 1, H) parameter, row 0 (padding) is zero.
    """

    config: ClassVar[type] = SASRecConfig

    def __init__(self, items: int, **settings: Any) -> None:
        config = SASRecConfig(**settings)
        super().__init__(items, config)
        size = config.hidden
        self.positions = nn.Embedding(config.positions, size)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.event_inputs = EventInputs(size, config.dropout, config.time_intervals)
        block = nn.TransformerEncoderLayer(
            size, config.heads, dim_feedforward=size, dropout=config.dropout, batch_first=True, norm_first=True
        )
        # Nested tensors would leave padding out, which the causal mask does already for all that is scored.
        self.blocks = nn.TransformerEncoder(block, config.layers, nn.LayerNorm(size), enable_nested_tensor=False)
        self.head = ResidualHead(size, config.head_layers, config.dropout)

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """The states after the scored positions, through the head."""
        return self.head(at_positions(self.states(batch), batch.queries)[batch.scored])

    def states(self, batch: Batch) -> Float[Tensor, "rows time hidden"]:
        """What is known after x_1..x_t, for every t."""
        embedded = self.embed(batch.inputs)
        steps = torch.arange(batch.inputs.shape[1], device=batch.inputs.device)
        places = self.positions(steps.clamp(max=self.positions.num_embeddings - 1))
        inputs = self.event_inputs(embedded * math.sqrt(embedded.shape[-1]) + places, batch)
        mask = nn.Transformer.generate_square_subsequent_mask(len(steps), device=steps.device, dtype=inputs.dtype)
        states: Tensor = self.blocks(inputs, mask=mask, is_causal=True)
        return states
