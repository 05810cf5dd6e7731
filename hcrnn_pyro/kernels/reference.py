"""The plain forms, which every faster one must equal: the recurrence as a loop over time, and additive attention.

Axes: ``*batch`` rows (Pyro adds dimensions on the left), T time, E embedding, H hidden, K global contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ScanInputs(NamedTuple):
    """What runs through a recurrence.

    Attributes:
        items: x_1..x_T.
        projected: the input projections of all steps, made in one product.
        theta: context proportions, one for a row, ``(*batch, K)``, or one for a step, ``(*batch, T, K)``.
        projected_contexts: M W_thetaa. As (theta_k M_k) W_thetaa = theta_k (M W_thetaa)_k, one K x H matrix serves all.
        global_contexts: M_global.
        hidden: h_0.
        local_context: c_0.
    """

    items: Float[Tensor, "rows time embedding"]
    projected: Float[Tensor, "rows time packed"]
    theta: Float[Tensor, "*theta_shape contexts"]
    projected_contexts: Float[Tensor, "contexts hidden"]
    global_contexts: Float[Tensor, "contexts embedding"]
    hidden: Float[Tensor, "*batch hidden"]
    local_context: Float[Tensor, "*batch embedding"]

    @property
    def theta_per_step(self) -> bool:
        """Whether every step has a theta of its own."""
        return self.theta.ndim > self.hidden.ndim


class ScanResult(NamedTuple):
    """The states after every step, and the gates of every step where they were asked for (each with a time axis)."""

    hidden: Float[Tensor, "*batch time hidden"]
    local_context: Float[Tensor, "*batch time embedding"]
    gates: Any


def scan(step: Callable[..., tuple[Any, Any]], inputs: ScanInputs, keep_gates: bool = False) -> ScanResult:
    """Run ``step`` over time from left to right; nothing at time t reads anything later.

    Args:
        step: one step of a cell, ``(x_t, projected x_t, scored contexts, global contexts, h_{t-1}, c_{t-1}) ->
            ((h_t, c_t), gates)``.
        inputs: what runs through it.
        keep_gates: whether to stack the gates of every step; training does not need them.
    """
    _, _, theta, projected_contexts, global_contexts, *state = inputs
    states, gates = [], []
    scored_contexts = None if inputs.theta_per_step else theta.unsqueeze(-1) * projected_contexts
    for t, (item, projected) in enumerate(zip(inputs.items.unbind(-2), inputs.projected.unbind(-2), strict=True)):
        if inputs.theta_per_step:
            scored_contexts = theta[..., t, :].unsqueeze(-1) * projected_contexts
        state, step_gates = step(item, projected, scored_contexts, global_contexts, *state)
        states.append(state)
        if keep_gates:
            gates.append(step_gates)
    hidden, local_context = _over_time(states)
    return ScanResult(hidden, local_context, type(gates[0])(*_over_time(gates)) if gates else None)


def _over_time(steps: list[Any]) -> list[Tensor]:
    """Tuples of tensors, one a step, to one tensor with a time axis for each of their fields."""
    return [torch.stack(field, dim=-2) for field in zip(*steps, strict=True)]


def additive_scores(
    query: Float[Tensor, "*batch queries hidden"],
    key: Float[Tensor, "*batch keys hidden"],
    weight: Float[Tensor, " hidden"],
) -> Float[Tensor, "*batch queries keys"]:
    """sum_h v_h sigmoid(query_h + key_h) for every pair."""
    return (query.unsqueeze(-2) + key.unsqueeze(-3)).sigmoid() @ weight
