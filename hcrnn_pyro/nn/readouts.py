"""What the model reads out of the states x_1..x_t left behind, before it scores the items.

Axes: ``*batch`` rows, T time, Q queries, E embedding, H hidden.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hcrnn_pyro.kernels import Kernel, reference
from hcrnn_pyro.kernels.additive import additive_scores
from hcrnn_pyro.kernels.causal import causal_scores
from hcrnn_pyro.nn.attention import at_positions, attend
from hcrnn_pyro.nn.plain_linear import is_plain


class SingleReadout(nn.Module):
    """[h_t^h, h_t]: the temporary channel, as NARM's attention (Eq. 26).

    alpha_tj^h = softmax_{j<=t}( v_h . sigmoid(h_t W_ha1 + h_j W_ha2) ),   h_t^h = sum_j alpha_tj^h h_j

    Args:
        embedding_size: E, size of a local context.
        hidden_size: H, size of a temporary context.
        kernel: how the additive scores are computed.
    """

    def __init__(self, embedding_size: int, hidden_size: int, kernel: Kernel = "fast") -> None:
        super().__init__()
        self.kernel = kernel
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
        positions: Int[Tensor, "rows queries"],
    ) -> Float[Tensor, "*batch queries output"]:
        """Read out after each position asked about; it attends to the positions up to itself.

        Args:
            hidden: h_1..h_T.
            local_context: c_1..c_T.
            positions: 0..T-1; either all of them in order, or any.
        """
        current = at_positions(hidden, positions)
        return torch.cat([*self.channels(current, hidden, local_context, positions), current], dim=-1)

    def channels(self, current: Tensor, hidden: Tensor, local_context: Tensor, positions: Tensor) -> list[Tensor]:
        """The means of past states, h_t^h alone; ``current`` is h_t, the others as for :meth:`forward`."""
        query, key = self.query(current), self.key(hidden)
        return [attend(self.temporary_score, query, key, hidden, positions, kernel=self.kernel)]

    def temporary_score(
        self,
        query: Float[Tensor, "*batch queries hidden"],
        key: Float[Tensor, "*batch time hidden"],
        causal: bool = False,
    ) -> Float[Tensor, "*batch queries time"]:
        """The scores under alpha^h, of h_t W_ha1 and h_j W_ha2."""
        if self.kernel == "reference":
            return reference.additive_scores(query, key, self.score)
        return additive_scores(query, key, self.score, causal)


class BiChannelReadout(SingleReadout):
    """[h_t^c, h_t^h, h_t]: a local channel beside the temporary one.

    alpha_tj^c = softmax_{j<=t}( (c_t W_ca1) . (c_j W_ca2) / sqrt(H) ),   h_t^c = sum_j alpha_tj^c h_j

    Args:
        embedding_size: E, size of a local context.
        hidden_size: H, size of a temporary context.
        kernel: how the additive scores are computed.
    """

    def __init__(self, embedding_size: int, hidden_size: int, kernel: Kernel = "fast") -> None:
        super().__init__(embedding_size, hidden_size, kernel)
        self.output_size = 3 * hidden_size
        self.local_query = nn.Linear(embedding_size, embedding_size, bias=False)  # W_ca1
        self.local_key = nn.Linear(embedding_size, embedding_size, bias=False)  # W_ca2
        self.local_scale = 1.0 / math.sqrt(hidden_size)
        nn.init.xavier_uniform_(self.local_query.weight)
        nn.init.xavier_uniform_(self.local_key.weight)

    def channels(self, current: Tensor, hidden: Tensor, local_context: Tensor, positions: Tensor) -> list[Tensor]:
        """h_t^c and h_t^h."""
        query, key = self.compared(at_positions(local_context, positions), local_context)
        channel = attend(self.local_score, query, key, hidden, positions, kernel=self.kernel)
        return [channel, *super().channels(current, hidden, local_context, positions)]

    def compared(self, current: Tensor, local_context: Tensor) -> tuple[Tensor, Tensor]:
        """A query for each c_t and a key for each c_j, whose inner products are those of c_t W_ca1 and c_j W_ca2."""
        if self.kernel == "reference" or not (is_plain(self.local_query) and is_plain(self.local_key)):
            return self.local_query(current), self.local_key(local_context)
        # (c_t W_ca1) . (c_j W_ca2) = (c_t W_ca1 W_ca2^T) . c_j, in the order of products that takes the least.
        factors = current.flatten(0, -2), self.local_query.weight.T, self.local_key.weight
        return torch.linalg.multi_dot(factors).view(current.shape), local_context

    def local_score(
        self,
        query: Float[Tensor, "*batch queries embedding"],
        key: Float[Tensor, "*batch time embedding"],
        causal: bool = False,
    ) -> Float[Tensor, "*batch queries time"]:
        """The scores under alpha^c, of what :meth:`compared` gives."""
        if causal:
            return causal_scores(query, key, self.local_scale)
        return query @ key.mT * self.local_scale


def means_so_far(values: Float[Tensor, "*batch time size"]) -> Float[Tensor, "*batch time size"]:
    """1/t sum_{j<=t} value_j, for every t."""
    steps = torch.arange(1, values.shape[-2] + 1, device=values.device)
    return values.cumsum(dim=-2) / steps.unsqueeze(-1)
