"""One step of the HCRNN recurrence, and its three variants.

Axes: ``*batch`` rows (Pyro adds dimensions on the left), E embedding, H hidden, K global contexts.

    alpha_t = softmax_k( v_theta . sigmoid(h_{t-1} W_ha + (theta_k M_k) W_thetaa) )
    c~_t    = sum_k alpha_t^(k) M_k
    G_t^c   = sigmoid(x_t W_xl + h_{t-1} W_hl + c_{t-1} W_cl + b_l)       local context gate
    c_t     = (1 - G_t^c) * c_{t-1} + G_t^c * c~_t                        local context
    z_t     = sigmoid(x_t W_xz + h_{t-1} W_hz + c_t W_cz + b_z)           update gate
    h~_t    = (history kept) W_hh + x_t W_xh + b_h
    h_t     = (1 - z_t) * h_{t-1} + z_t * tanh(h~_t)                      temporary context, Eq. 20

A cell is one step; the loop over time is :func:`hcrnn_pyro.nn.recurrence.recur`. The variants differ only in the
history that the candidate h~_t keeps, so a variant overrides :meth:`HCRNNCell.keep_history` and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

ABSTRACT = "HCRNNCell is the shared step; use HCRNN1Cell, HCRNN2Cell or HCRNN3Cell."


class CellState(NamedTuple):
    """What one step hands to the next: the temporary context h_t and the local context c_t."""

    hidden: Float[Tensor, "*batch hidden"]
    local_context: Float[Tensor, "*batch embedding"]


class Gates(NamedTuple):
    """What a step decided, for reading; entries of the gates lie in (0, 1).

    ``drift_gate`` is G_t^d of HCRNN-3 (Eq. 22); the other variants have none and give ones.
    """

    context_attention: Float[Tensor, "*batch contexts"]  # alpha_t, sums to 1
    local_gate: Float[Tensor, "*batch embedding"]  # G_t^c
    update_gate: Float[Tensor, "*batch hidden"]  # z_t
    reset_gate: Float[Tensor, "*batch hidden"]  # r_t
    drift_gate: Float[Tensor, "*batch hidden"]  # G_t^d


class HCRNNCell(nn.Module):
    """The step shared by all variants.

    Args:
        embedding_size: E, size of an item embedding, a global context and the local context.
        hidden_size: H, size of the temporary context.

    Packed weights, as in ``torch.nn.GRU``, so that one product serves all that share a factor:

    * ``input_projection`` holds W_xl, W_xz, W_xr, W_xh and b_l, b_z, b_r, b_h, in rows of E, H, H, H;
    * ``hidden_projection`` holds W_hl, W_hz, W_hr, W_ha, in rows of E, H, H, H.
    """

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.blocks = [embedding_size, hidden_size, hidden_size, hidden_size]
        self.input_projection = nn.Linear(embedding_size, sum(self.blocks))
        self.hidden_projection = nn.Linear(hidden_size, sum(self.blocks), bias=False)
        self.context_projection = nn.Linear(embedding_size, hidden_size, bias=False)  # W_thetaa
        self.context_score = nn.Parameter(torch.empty(hidden_size))  # v_theta
        self.local_to_local = nn.Linear(embedding_size, embedding_size, bias=False)  # W_cl
        self.local_to_update = nn.Linear(embedding_size, hidden_size, bias=False)  # W_cz
        self.history_to_candidate = nn.Linear(hidden_size, hidden_size, bias=False)  # W_hh
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform for every matrix of the equations by itself, zeros for the biases (the authors' settings)."""
        for packed in (self.input_projection, self.hidden_projection):
            for block in packed.weight.data.split(self.blocks):
                nn.init.xavier_uniform_(block)
        nn.init.zeros_(self.input_projection.bias)
        nn.init.xavier_uniform_(self.context_score.data.unsqueeze(-1))
        for single in (self.context_projection, self.local_to_local, self.local_to_update, self.history_to_candidate):
            nn.init.xavier_uniform_(single.weight)

    def initial_state(self, batch: torch.Size) -> CellState:
        """h_0 = c_0 = 0 for rows of some batch shape."""
        zeros = [self.context_score.new_zeros(*batch, size) for size in (self.blocks[1], self.blocks[0])]
        return CellState(*zeros)

    def forward(
        self,
        item: Float[Tensor, "*#batch embedding"],
        projected: Float[Tensor, "*#batch packed"],
        scored_contexts: Float[Tensor, "*#batch contexts hidden"],
        global_contexts: Float[Tensor, "contexts embedding"],
        hidden: Float[Tensor, "*batch hidden"],
        local_context: Float[Tensor, "*batch embedding"],
        drift_weight: Float[Tensor, "hidden embedding"],
    ) -> tuple[CellState, Gates]:
        """One step.

        Args:
            item: x_t.
            projected: ``input_projection(x_t)``, made for all steps at once by the caller.
            scored_contexts: (theta_k M_k) W_thetaa for every context.
            global_contexts: M_global.
            hidden: h_{t-1}.
            local_context: c_{t-1}.
            drift_weight: :attr:`drift_weight`, read once for all steps.
        """
        projected_gates, input_candidate = projected.split([sum(self.blocks[:3]), self.blocks[3]], dim=-1)
        from_hidden = self.hidden_projection(hidden)
        hidden_gates, attention_key = from_hidden.split([sum(self.blocks[:3]), self.blocks[3]], dim=-1)
        local_input, update_input, reset_input = (projected_gates + hidden_gates).split(self.blocks[:3], dim=-1)

        keyed = scored_contexts + attention_key.unsqueeze(-2)  # (*batch, K, H), the largest tensor of a step
        scores = keyed.sigmoid_() @ self.context_score
        attention = scores.softmax(dim=-1)
        proposed_context = attention @ global_contexts
        local_gate = torch.sigmoid(local_input + self.local_to_local(local_context))
        local_context = torch.lerp(local_context, proposed_context, local_gate)

        update_gate = torch.sigmoid(update_input + self.local_to_update(local_context))
        reset_gate, drift_gate = self.keep_history(item, local_context, reset_input, drift_weight)
        kept = reset_gate * (drift_gate * hidden)
        candidate = torch.tanh(self.history_to_candidate(kept) + input_candidate)
        hidden = torch.lerp(hidden, candidate, update_gate)
        gates = Gates(attention, local_gate, update_gate, reset_gate, drift_gate)
        return CellState(hidden, local_context), gates

    @property
    def drift_weight(self) -> Float[Tensor, "hidden embedding"]:
        """The matrix through which the local context decides on the history kept: W_cr or W_d."""
        raise TypeError(ABSTRACT)

    def keep_history(
        self,
        item: Float[Tensor, "*#batch embedding"],
        local_context: Float[Tensor, "*#batch embedding"],
        reset_input: Float[Tensor, "*#batch hidden"],
        drift_weight: Float[Tensor, "hidden embedding"],
    ) -> tuple[Float[Tensor, "*#batch hidden"], Float[Tensor, "*#batch hidden"]]:
        """The two factors of the history kept, r_t and G_t^d.

        Args:
            item: x_t.
            local_context: c_t.
            reset_input: x_t W_xr + h_{t-1} W_hr + b_r.
            drift_weight: the matrix of :attr:`drift_weight`.
        """
        raise TypeError(ABSTRACT)


class HCRNN1Cell(HCRNNCell):
    """Eqs. 18, 19: r_t = sigmoid(x_t W_xr + h_{t-1} W_hr + c_t W_cr + b_r); the history kept is r_t * h_{t-1}."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__(embedding_size, hidden_size)
        self.local_to_reset = nn.Linear(embedding_size, hidden_size, bias=False)  # W_cr
        nn.init.xavier_uniform_(self.local_to_reset.weight)

    @property
    def drift_weight(self) -> Tensor:
        """W_cr."""
        return self.local_to_reset.weight

    def keep_history(
        self, item: Tensor, local_context: Tensor, reset_input: Tensor, drift_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`HCRNNCell.keep_history`."""
        reset_gate = torch.sigmoid(reset_input + local_context @ drift_weight.T)
        return reset_gate, torch.ones_like(reset_gate)


class AgreementCell(HCRNNCell):
    """A cell that measures how item and local context agree, (x_t * c_t) W_d with W_d >= 0.

    W_d is the absolute value of a free matrix, so it is non-negative under every optimiser at every step. (The
    authors project onto W_d >= 0 after each step instead.)
    """

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__(embedding_size, hidden_size)
        self.free_agreement = nn.Parameter(torch.empty(hidden_size, embedding_size))
        nn.init.xavier_uniform_(self.free_agreement)

    @property
    def drift_weight(self) -> Tensor:
        """W_d, non-negative."""
        return self.free_agreement.abs()


class HCRNN2Cell(AgreementCell):
    """Eq. 21: r_t = sigmoid(x_t W_xr + h_{t-1} W_hr + (x_t * c_t) W_d + b_r); the history kept is r_t * h_{t-1}."""

    def keep_history(
        self, item: Tensor, local_context: Tensor, reset_input: Tensor, drift_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`HCRNNCell.keep_history`."""
        reset_gate = torch.sigmoid(reset_input + (item * local_context) @ drift_weight.T)
        return reset_gate, torch.ones_like(reset_gate)


class HCRNN3Cell(AgreementCell):
    """Eq. 22: G_t^d = sigmoid((x_t * c_t) W_d + b_d), r_t without context; kept is r_t * G_t^d * h_{t-1}."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__(embedding_size, hidden_size)
        self.drift_bias = nn.Parameter(torch.zeros(hidden_size))  # b_d

    def keep_history(
        self, item: Tensor, local_context: Tensor, reset_input: Tensor, drift_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`HCRNNCell.keep_history`."""
        drift_gate = torch.sigmoid((item * local_context) @ drift_weight.T + self.drift_bias)
        return torch.sigmoid(reset_input), drift_gate
