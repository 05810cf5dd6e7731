"""What the model reads out of the states x_1..x_t left behind, before it scores the items.

Axes: ``*batch`` rows, T time, Q queries, E embedding, H hidden.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

QUERY_CHUNK = 8  # queries scored at once: few enough to stay in cache and to skip most keys behind them


class SingleReadout(nn.Module):
    """[h_t^h, h_t]: the temporary channel, as NARM's attention (Eq. 26).

    alpha_tj^h = softmax_{j<=t}( v_h . sigmoid(h_t W_ha1 + h_j W_ha2) ),   h_t^h = sum_j alpha_tj^h h_j

    Args:
        embedding_size: E, size of a local context.
        hidden_size: H, size of a temporary context.
    """

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.output_size = 2 * hidden_size
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)  # W_ha1
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)  # W_ha2
        self.score = nn.Parameter(torch.empty(hidden_size))  # v_h
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.xavier_uniform_(self.score.data.unsqueeze(-1))

    def forward(
        self,
        hidden: Float[Tensor, "*batch time hidden"],
        local_context: Float[Tensor, "*batch time embedding"],
        queries: Int[Tensor, "rows queries"],
    ) -> Float[Tensor, "*batch queries output"]:
        """Read out after each query.

        Args:
            hidden: h_1..h_T.
            local_context: c_1..c_T.
            queries: positions t, 0..T-1; a query attends to the positions up to itself.
        """
        current = at_queries(hidden, queries)
        mask = visible(queries, hidden.shape[-2])
        query, key = self.query(current), self.key(hidden)
        whole = queries.shape[-1] == hidden.shape[-2]  # then a query sees no key behind itself, and none is scored
        read = []
        for start in range(0, queries.shape[-1], QUERY_CHUNK):
            chunk = slice(start, start + QUERY_CHUNK)
            keys = slice(0, chunk.stop if whole else None)
            attention = self._attention(query[..., chunk, :], key[..., keys, :], mask[..., chunk, keys])
            read.append(attention @ hidden[..., keys, :])
        return torch.cat([torch.cat(read, dim=-2), current], dim=-1)

    def temporary_attention(
        self, hidden: Float[Tensor, "*batch time hidden"], queries: Int[Tensor, "rows queries"]
    ) -> Float[Tensor, "*batch queries time"]:
        """alpha^h, zero at the positions after the query."""
        mask = visible(queries, hidden.shape[-2])
        return self._attention(self.query(at_queries(hidden, queries)), self.key(hidden), mask)

    def _attention(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        scores = torch.sigmoid(query.unsqueeze(-2) + key.unsqueeze(-3)) @ self.score  # (*batch, queries, keys)
        return scores.masked_fill(~mask, -math.inf).softmax(dim=-1)


class BiChannelReadout(SingleReadout):
    """[h_t^c, h_t^h, h_t]: a local channel beside the temporary one.

    alpha_tj^c = softmax_{j<=t}( (c_t W_ca1) . (c_j W_ca2) / sqrt(H) ),   h_t^c = sum_j alpha_tj^c h_j

    Args:
        embedding_size: E, size of a local context.
        hidden_size: H, size of a temporary context.
    """

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__(embedding_size, hidden_size)
        self.output_size = 3 * hidden_size
        self.local_query = nn.Linear(embedding_size, embedding_size, bias=False)  # W_ca1
        self.local_key = nn.Linear(embedding_size, embedding_size, bias=False)  # W_ca2
        self.local_scale = 1.0 / math.sqrt(hidden_size)
        nn.init.xavier_uniform_(self.local_query.weight)
        nn.init.xavier_uniform_(self.local_key.weight)

    def forward(self, hidden: Tensor, local_context: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`SingleReadout.forward`."""
        local_channel = self.local_attention(local_context, queries) @ hidden
        return torch.cat([local_channel, super().forward(hidden, local_context, queries)], dim=-1)

    def local_attention(
        self, local_context: Float[Tensor, "*batch time embedding"], queries: Int[Tensor, "rows queries"]
    ) -> Float[Tensor, "*batch queries time"]:
        """alpha^c, zero at the positions after the query."""
        query = self.local_query(at_queries(local_context, queries))
        scores = query @ self.local_key(local_context).mT * self.local_scale
        return scores.masked_fill(~visible(queries, local_context.shape[-2]), -math.inf).softmax(dim=-1)


def visible(queries: Int[Tensor, "rows queries"], time: int) -> Bool[Tensor, "rows queries time"]:
    """Which positions a query may read: those up to itself."""
    return torch.arange(time, device=queries.device) <= queries.unsqueeze(-1)


def at_queries(
    states: Float[Tensor, "*batch time size"], queries: Int[Tensor, "rows queries"]
) -> Float[Tensor, "*batch queries size"]:
    """The states at the query positions."""
    if queries.shape[-1] == states.shape[-2]:  # every position is a query, in order
        return states
    index = queries.unsqueeze(-1).expand(*states.shape[:-2], queries.shape[-1], states.shape[-1])
    return states.gather(-2, index)
