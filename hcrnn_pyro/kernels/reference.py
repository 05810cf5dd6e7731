"""The recurrence over time as a plain loop: the readable form that every faster one must equal.

Axes: ``*batch`` rows, T time, E embedding, H hidden, K global contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ScanResult(NamedTuple):
    """The states after every step, and the gates of every step where they were asked for (each with a time axis)."""

    hidden: Float[Tensor, "*batch time hidden"]
    local_context: Float[Tensor, "*batch time embedding"]
    gates: Any


def scan(
    step: Callable[..., tuple[Any, Any]],
    items: Float[Tensor, "rows time embedding"],
    projected: Float[Tensor, "rows time packed"],
    theta: Float[Tensor, "*theta_shape contexts"],
    projected_contexts: Float[Tensor, "contexts hidden"],
    global_contexts: Float[Tensor, "contexts embedding"],
    drift_weight: Float[Tensor, "embedding hidden"],
    state: Any,
    theta_per_step: bool = False,
    keep_gates: bool = False,
) -> ScanResult:
    """Run ``step`` over time from left to right; nothing at time t reads anything later.

    Args:
        step: one step of a cell, ``(x_t, projected x_t, scored contexts, global contexts,
            drift weight, state) -> (state, gates)``.
        items: x_1..x_T.
        projected: the input projections of all steps, made in one product.
        theta: context proportions, ``(*batch, K)``, or ``(*batch, T, K)`` with ``theta_per_step``.
        projected_contexts: M W_thetaa. As (theta_k M_k) W_thetaa = theta_k (M W_thetaa)_k, one K x H matrix serves all.
        global_contexts: M_global.
        drift_weight: W_cr or W_d, the same at every step.
        state: the state before the first step.
        theta_per_step: whether every step has its own theta.
        keep_gates: whether to stack the gates of every step; training does not need them.
    """
    hidden, local_context, gates = [], [], []
    proportions = theta.unbind(-2) if theta_per_step else None
    scored_contexts = None if theta_per_step else theta.unsqueeze(-1) * projected_contexts
    for t, (item, projected_item) in enumerate(zip(items.unbind(-2), projected.unbind(-2), strict=True)):
        if proportions is not None:
            scored_contexts = proportions[t].unsqueeze(-1) * projected_contexts
        state, step_gates = step(item, projected_item, scored_contexts, global_contexts, drift_weight, state)
        hidden.append(state.hidden)
        local_context.append(state.local_context)
        if keep_gates:
            gates.append(step_gates)
    stacked = type(gates[0])(*(torch.stack(gate, dim=-2) for gate in zip(*gates, strict=True))) if gates else None
    return ScanResult(torch.stack(hidden, dim=-2), torch.stack(local_context, dim=-2), stacked)
