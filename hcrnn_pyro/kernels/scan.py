"""The recurrence over time with a backward pass derived by hand: the fast form of the reference's ``scan``.

Axes: T time, R rows, E embedding, H hidden, K global contexts.

What it saves over differentiating the reference step by step:

* the R K H sigmoids of the context attention are made again instead of kept: memory is O(T R (E + H + K));
* products and activations are written where they stay, once;
* the factors of the chain rule that do not depend on later steps are made for all steps at once;
* the gradient of each weight is one product after the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from hcrnn_pyro.kernels import forms, scan_backward, scan_cpu, scan_forward
from hcrnn_pyro.kernels.reference import ScanInputs, ScanResult
from hcrnn_pyro.kernels.scan_backward import Gradients, to_inputs, to_weights
from hcrnn_pyro.kernels.scan_forward import ScanWeights, Steps


def scan(weights: ScanWeights, agreement: bool, inputs: ScanInputs) -> ScanResult:
    """The states after every step: the reference's in values and gradients, but without its gates.

    Args:
        weights: of the cell.
        agreement: whether the drift weight reads x_t * c_t (W_d) or c_t alone (W_cr).
        inputs: what runs through it.
    """
    batch = inputs.hidden.shape[:-1]
    if len(batch) > 1:
        inputs = _merged(inputs, batch)
    hidden, local_context = _Scan.apply(agreement, *inputs, *weights)
    if len(batch) > 1:
        hidden, local_context = (state.view(*batch, *state.shape[1:]) for state in (hidden, local_context))
    return ScanResult(hidden, local_context, gates=None)


def _merged(inputs: ScanInputs, batch: torch.Size) -> ScanInputs:
    """All rows along one axis, where Pyro has put further ones on its left."""
    return inputs._replace(
        items=inputs.items.expand(*batch, -1, -1).flatten(0, len(batch) - 1),
        projected=inputs.projected.expand(*batch, -1, -1).flatten(0, len(batch) - 1),
        theta=inputs.theta.flatten(0, len(batch) - 1),
        hidden=inputs.hidden.flatten(0, -2),
        local_context=inputs.local_context.flatten(0, -2),
    )


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, agreement: bool, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs, weights = _parted(tensors)
        forward, _ = _form_for(inputs.items)
        steps = forward(agreement, inputs, weights)
        ctx.agreement = agreement
        ctx.save_for_backward(*tensors, *steps)
        # Rows first in memory too: whoever reads the states would have to copy them, again and again.
        hidden, local_context = (
            states[1:].transpose(0, 1).contiguous() for states in (steps.hidden, steps.local_context)
        )
        return hidden, local_context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_local_context: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = _parted(ctx.saved_tensors)
        steps = Steps(*ctx.saved_tensors[len(inputs) + len(weights) :])
        _, backward = _form_for(inputs.items)
        grads = backward(ctx.agreement, inputs, weights, steps, grad_hidden, grad_local_context)
        return None, *to_inputs(ctx.agreement, grads, steps), *to_weights(grads, steps)


def _form_for(tensor: Tensor) -> tuple[Callable[..., Steps], Callable[..., Gradients]]:
    """Forward and backward pass."""
    if forms.is_for_loops(tensor):
        return scan_cpu.forward, scan_cpu.backward
    if forms.is_for_fused_kernels(tensor):
        from hcrnn_pyro.kernels.gpu import scan as on_gpu  # Triton is there for a GPU only

        return on_gpu.forward, on_gpu.backward
    return scan_forward.forward, scan_backward.backward


def _parted(tensors: Any) -> tuple[ScanInputs, ScanWeights]:
    split = len(ScanInputs._fields)
    return ScanInputs(*tensors[:split]), ScanWeights(*tensors[split : split + len(ScanWeights._fields)])
