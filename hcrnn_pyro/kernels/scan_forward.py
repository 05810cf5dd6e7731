"""The steps of the recurrence, and what they leave for the backward pass.

Axes: T time, R rows, E embedding, H hidden, K global contexts; time comes first. Quantities are named as in
:mod:`hcrnn_pyro.nn.cells`, which has the equations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels import additive
from hcrnn_pyro.kernels.reference import ScanInputs


class ScanWeights(NamedTuple):
    """The weights of a cell that a step uses; a matrix maps its last axis to its first, as in ``torch.nn.Linear``.

    Attributes:
        hidden: W_hl, W_hz, W_hr, W_ha in rows of E, H, H, H.
        context_score: v_theta.
        local_to_local: W_cl.
        local_to_update: W_cz.
        history_to_candidate: W_hh.
        drift: W_cr or W_d.
        drift_bias: b_d of a drift gate of its own; ``None`` where the drift weight feeds the reset gate.
    """

    hidden: Float[Tensor, "packed hidden"]
    context_score: Float[Tensor, " hidden"]
    local_to_local: Float[Tensor, "embedding embedding"]
    local_to_update: Float[Tensor, "hidden embedding"]
    history_to_candidate: Float[Tensor, "hidden hidden"]
    drift: Float[Tensor, "hidden embedding"]
    drift_bias: Float[Tensor, " hidden"] | None


class Steps(NamedTuple):
    """What the steps leave for the backward pass, time first; the states have one entry more, the initial one."""

    hidden: Tensor  # h_0..h_T
    local_context: Tensor  # c_0..c_T
    query: Tensor  # the context attention's, h_{t-1} W_ha, as a factor
    attention: Tensor  # alpha_t
    proposed: Tensor  # c~_t
    gates: Tensor  # G_t^c, z_t, r_t side by side
    read: Tensor  # what the drift weight reads, x_t * c_t or c_t
    drift_gate: Tensor  # G_t^d, of no steps where there is none
    kept: Tensor  # the history kept
    candidate: Tensor  # tanh(h~_t)


def new_steps(inputs: ScanInputs, own_drift_gate: bool) -> Steps:
    """Room for all steps; the initial states are filled in."""
    (rows, time, embedding), size = inputs.items.shape, inputs.hidden.shape[-1]

    def room(steps: int, *shape: int) -> Tensor:
        return inputs.items.new_empty(steps, rows, *shape)

    steps = Steps(
        hidden=room(time + 1, size),
        local_context=room(time + 1, embedding),
        query=room(time, size),
        attention=room(time, len(inputs.global_contexts)),
        proposed=room(time, embedding),
        gates=room(time, embedding + 2 * size),
        read=room(time, embedding),
        drift_gate=room(time if own_drift_gate else 0, size),
        kept=room(time, size),
        candidate=room(time, size),
    )
    steps.hidden[0], steps.local_context[0] = inputs.hidden, inputs.local_context
    return steps


def forward(agreement: bool, inputs: ScanInputs, weights: ScanWeights) -> Steps:
    """All steps, first to last; every product and activation is written where it stays."""
    steps = new_steps(inputs, weights.drift_bias is not None)
    embedding, size = inputs.items.shape[-1], inputs.hidden.shape[-1]
    gates = embedding + 2 * size
    to_gates, to_query = weights.hidden.T.split([gates, size], dim=-1)
    projected_gates, projected_candidate = inputs.projected.transpose(0, 1).split([gates, size], dim=-1)
    key_factor = key_factor_at(inputs, 0)
    at: Any = Steps._make(tensor.unbind(0) for tensor in steps)  # indexing a tuple is cheaper than indexing a tensor
    local_gates = steps.gates[..., :embedding].unbind(0)
    other_gates = steps.gates[..., embedding:].unbind(0)
    update_gates, reset_gates = (gate.unbind(0) for gate in steps.gates[..., embedding:].split(size, dim=-1))
    per_step = zip(inputs.items.unbind(1), projected_gates.unbind(0), projected_candidate.unbind(0), strict=True)
    for t, (item, gate_input, candidate_input) in enumerate(per_step):
        hidden, local_context = at.hidden[t], at.local_context[t]
        torch.addmm(gate_input, hidden, to_gates, out=at.gates[t])
        query = additive.factor_(torch.mm(hidden, to_query, out=at.query[t]))
        if inputs.theta_per_step:
            key_factor = key_factor_at(inputs, t)
        scores = additive.scores(query.unsqueeze(1), key_factor, weights.context_score)
        torch.softmax(scores.squeeze(1), dim=-1, out=at.attention[t])
        torch.mm(at.attention[t], inputs.global_contexts, out=at.proposed[t])

        local_gates[t].addmm_(local_context, weights.local_to_local.T).sigmoid_()
        local_context = torch.lerp(local_context, at.proposed[t], local_gates[t], out=at.local_context[t + 1])

        update_gates[t].addmm_(local_context, weights.local_to_update.T)
        read = at.read[t].copy_(local_context)
        if agreement:
            read.mul_(item)
        if weights.drift_bias is None:
            reset_gates[t].addmm_(read, weights.drift.T)
        else:
            torch.addmm(weights.drift_bias, read, weights.drift.T, out=at.drift_gate[t]).sigmoid_()
        other_gates[t].sigmoid_()
        kept = torch.mul(reset_gates[t], hidden, out=at.kept[t])
        if weights.drift_bias is not None:
            kept.mul_(at.drift_gate[t])
        torch.addmm(candidate_input, kept, weights.history_to_candidate.T, out=at.candidate[t]).tanh_()
        torch.lerp(hidden, at.candidate[t], update_gates[t], out=at.hidden[t + 1])
    return steps


def key_factor_at(inputs: ScanInputs, t: int) -> Float[Tensor, "rows contexts hidden"]:
    """Factor of the context attention's keys, (theta_k M_k) W_thetaa; ``t`` matters where each step has its theta."""
    theta = inputs.theta[:, t] if inputs.theta_per_step else inputs.theta
    return additive.factor_(theta.unsqueeze(-1) * inputs.projected_contexts)
