"""An attentive encoder: every event looks back at those before it and takes what it needs of them.

Axes: B rows, T time, E embedding = F features.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with the fixed positions of Vaswani et
al., "Attention Is All You Need", NIPS 2017, which serve sequences of any length.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.encoders import after_last

LAYERS = 2
LONGEST_WAVE = 10_000.0


class AttentionEncoder(nn.Module):
    """h_t = LayerNorm(Block_2(Block_1(sqrt(E) e(x_t) + position_t))), blocks of causal self-attention.

    Attention is causal in every scope, so the features of a whole row are those of its last input.

    Args:
        model: the model that the guide serves; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # a bound method: the embeddings stay the model's parameters alone
        self.output_size = model.embedding_size
        self.dropout = Dropout(model.input_dropout)
        self.blocks = nn.Sequential(*(AttentionBlock(self.output_size, model.input_dropout) for _ in range(LAYERS)))
        self.normalise = nn.LayerNorm(self.output_size)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """States; padding stands behind the last input, where no state that is kept can see it."""
        embedded = self.embed(batch.inputs) * math.sqrt(self.output_size)
        states = self.normalise(self.blocks(self.dropout(embedded + positions(embedded))))
        return states if batch.scope == "filtering" else after_last(states, batch)


class AttentionBlock(nn.Module):
    """x -> x + Attention(LayerNorm(x)), then x -> x + FeedForward(LayerNorm(x)), each with dropout before it is added.

    Args:
        size: E.
        dropout: a share.
    """

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.normalise_attention, self.normalise_forward = nn.LayerNorm(size), nn.LayerNorm(size)
        # A key's bias would add the same to all scores of a query, which a softmax ignores.
        self.query, self.key, self.value = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.mix = nn.Linear(size, size)
        self.forwards = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.Linear(size, size))
        self.dropout = Dropout(dropout)

    def forward(self, states: Float[Tensor, "batch time embedding"]) -> Float[Tensor, "batch time embedding"]:
        """The states, each having looked back."""
        normal = self.normalise_attention(states)
        looked_up = nn.functional.scaled_dot_product_attention(
            self.query(normal), self.key(normal), self.value(normal), is_causal=True
        )
        states = states + self.dropout(self.mix(looked_up))
        return states + self.dropout(self.forwards(self.normalise_forward(states)))


def positions(like: Float[Tensor, "batch time embedding"]) -> Float[Tensor, "time embedding"]:
    """sin(t / 10000^(2i/E)) in the first half of the coordinates, and the cosines in the second."""
    time, size = like.shape[1:]
    half = (size + 1) // 2
    rates = LONGEST_WAVE ** (-torch.arange(half, dtype=like.dtype, device=like.device) / half)
    angles = torch.arange(time, dtype=like.dtype, device=like.device).unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :size]
