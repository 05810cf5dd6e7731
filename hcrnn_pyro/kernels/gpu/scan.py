"""The kernels of the recurrence on tensors: how many rows a program takes, and the sums over programs.

Axes: T time, R rows, E embedding, H hidden, K global contexts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from hcrnn_pyro.kernels.gpu import backward as backward_kernel
from hcrnn_pyro.kernels.gpu import forward as forward_kernel
from hcrnn_pyro.kernels.gpu.blocks import TILE_ROWS
from hcrnn_pyro.kernels.reference import ScanInputs
from hcrnn_pyro.kernels.scan_backward import Gradients, new_gradients
from hcrnn_pyro.kernels.scan_forward import ScanWeights, Steps, new_steps

LAUNCH: dict[str, Any] = {"WIDTH": 128, "STEP": 64, "num_warps": 8, "num_stages": 1}
"""Shape of a block. One stage: loads must not be moved ahead of the barrier that makes what they read."""


def forward(agreement: bool, inputs: ScanInputs, weights: ScanWeights) -> Steps:
    """See :func:`hcrnn_pyro.kernels.scan_forward.forward`."""
    steps = new_steps(inputs, weights.drift_bias is not None)
    arguments = _contiguous((inputs.items, inputs.projected, inputs.theta, *inputs[3:5], *weights))
    if len(inputs.items) > 0:
        programs, constants = _launch(agreement, inputs, weights)
        with torch.cuda.device_of(inputs.items):  # Triton launches on the current device
            forward_kernel.forward[(programs,)](*arguments, *steps, *_extent(inputs), **constants)
    return steps


def backward(
    agreement: bool, inputs: ScanInputs, weights: ScanWeights, steps: Steps, after_hidden: Tensor, after_local: Tensor
) -> Gradients:
    """See :func:`hcrnn_pyro.kernels.scan_backward.backward`."""
    grads = new_gradients(inputs, steps)
    if len(inputs.items) == 0:
        return grads
    programs, constants = _launch(agreement, inputs, weights)
    contexts = grads.score.new_zeros(programs, *grads.projected_contexts.shape)
    score = grads.score.new_zeros(programs, *grads.score.shape)
    arguments = _contiguous((inputs.items, *inputs[2:5], *weights[:-1]))
    read = [tensor for name, tensor in steps._asdict().items() if name != "read"]
    with torch.cuda.device_of(inputs.items):
        backward_kernel.backward[(programs,)](
            *arguments,
            *read,
            *_contiguous((after_hidden, after_local)),
            *grads._replace(projected_contexts=contexts, score=score),
            *_extent(inputs),
            **constants,
        )
    torch.sum(contexts, dim=0, out=grads.projected_contexts)
    torch.sum(score, dim=0, out=grads.score)
    return grads


def _contiguous(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _extent(inputs: ScanInputs) -> tuple[int, int]:
    return inputs.items.shape[1], inputs.items.shape[0]


def _launch(agreement: bool, inputs: ScanInputs, weights: ScanWeights) -> tuple[int, dict[str, Any]]:
    """Programs, and what is fixed when a kernel is compiled."""
    rows, contexts = len(inputs.items), len(inputs.global_contexts)
    taken = rows_of_a_program(rows, inputs.items.device)
    constants = {
        "E": inputs.items.shape[-1],
        "H": inputs.hidden.shape[-1],
        "K": contexts,
        "CONTEXTS": max(16, 1 << (contexts - 1).bit_length()),
        "AGREEMENT": agreement,
        "OWN_DRIFT_GATE": weights.drift_bias is not None,
        "THETA_PER_STEP": inputs.theta_per_step,
        "ROWS": taken,
    }
    return -(-rows // taken), constants | LAUNCH


def rows_of_a_program(rows: int, device: torch.device) -> int:
    """The fewest, as a power of 2, that leave no multiprocessor with a second program; TILE_ROWS at most."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    taken = 1
    while taken < TILE_ROWS.value and taken * processors < rows:
        taken *= 2
    return taken
