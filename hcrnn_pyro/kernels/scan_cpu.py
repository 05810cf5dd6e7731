"""The compiled loops on tensors, with blocks of rows shared out over torch's threads.

Axes: T time, R rows, E embedding, H hidden, K global contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hcrnn_pyro.kernels import backward_loops, forward_loops
from hcrnn_pyro.kernels.reference import ScanInputs
from hcrnn_pyro.kernels.scan_backward import Gradients, new_gradients
from hcrnn_pyro.kernels.scan_forward import ScanWeights, Steps, new_steps


class ForwardWeights(NamedTuple):
    """Matrices that map their first axis to their last, as the loops read them."""

    hidden_to_gates: Any
    hidden_to_query: Any
    context_score: Any
    local_to_local: Any
    local_to_update: Any
    history_to_candidate: Any
    drift: Any
    drift_bias: Any  # of no entries where there is no drift gate


class BackwardWeights(NamedTuple):
    """Matrices that map their last axis to their first, so that a gradient flows from the first to the last."""

    hidden: Any
    context_score: Any
    scored_contexts: Any  # (K, H) v_theta * (M W_thetaa)_k
    local_to_local: Any
    local_to_update: Any
    history_to_candidate: Any
    drift: Any
    contexts: Any  # (E, K)


class Scratch(NamedTuple):
    """What the backward loops need besides the gradients."""

    after_hidden: Any  # (R, T, H) gradients of h_1..h_T, but for their way through later steps
    after_local: Any  # (R, T, E) of c_1..c_T, likewise
    kept: Any  # (R, H) gradient of the history kept
    attention: Any  # (R, K) of alpha_t
    score: Any  # (blocks, H) of v_theta, each block's part
    projected_contexts: Any  # (blocks, K, H) of M W_thetaa, each block's part, without the factor v_theta


def forward(agreement: bool, inputs: ScanInputs, weights: ScanWeights) -> Steps:
    """See :func:`hcrnn_pyro.kernels.scan_forward.forward`."""
    own_drift_gate = weights.drift_bias is not None
    steps = new_steps(inputs, own_drift_gate)
    gates = steps.gates.shape[-1]
    loop_weights = ForwardWeights(
        hidden_to_gates=weights.hidden[:gates].T,
        hidden_to_query=weights.hidden[gates:].T,
        context_score=weights.context_score,
        local_to_local=weights.local_to_local.T,
        local_to_update=weights.local_to_update.T,
        history_to_candidate=weights.history_to_candidate.T,
        drift=weights.drift.T,
        drift_bias=weights.context_score.new_empty(0) if weights.drift_bias is None else weights.drift_bias,
    )
    _over_blocks(forward_loops.forward, inputs, agreement, _with_steps(inputs), loop_weights, steps)
    return steps


def backward(
    agreement: bool, inputs: ScanInputs, weights: ScanWeights, steps: Steps, after_hidden: Tensor, after_local: Tensor
) -> Gradients:
    """See :func:`hcrnn_pyro.kernels.scan_backward.backward`."""
    grads = new_gradients(inputs, steps)
    blocks = _blocks(inputs)
    loop_weights = BackwardWeights(
        hidden=weights.hidden,
        context_score=weights.context_score,
        scored_contexts=weights.context_score * inputs.projected_contexts,
        local_to_local=weights.local_to_local,
        local_to_update=weights.local_to_update,
        history_to_candidate=weights.history_to_candidate,
        drift=weights.drift,
        contexts=inputs.global_contexts.T,
    )
    scratch = Scratch(
        after_hidden=after_hidden,
        after_local=after_local,
        kept=grads.hidden.new_empty(grads.hidden.shape),
        attention=torch.empty_like(steps.attention[0]),
        score=grads.score.new_zeros(blocks, *grads.score.shape),
        projected_contexts=grads.score.new_zeros(blocks, *grads.projected_contexts.shape),
    )
    theta = grads.theta if inputs.theta_per_step else grads.theta.unsqueeze(1)
    _over_blocks(
        backward_loops.backward,
        inputs,
        agreement,
        _with_steps(inputs),
        loop_weights,
        steps,
        grads._replace(theta=theta),
        scratch,
    )
    torch.sum(scratch.score, dim=0, out=grads.score)
    torch.sum(scratch.projected_contexts, dim=0, out=grads.projected_contexts).mul_(weights.context_score)
    return grads


def _with_steps(inputs: ScanInputs) -> ScanInputs:
    """The same with a time axis for theta, of one step where it is the same at all of them."""
    return inputs if inputs.theta_per_step else inputs._replace(theta=inputs.theta.unsqueeze(1))


def _blocks(inputs: ScanInputs) -> int:
    return -(-len(inputs.items) // forward_loops.BLOCK)


def _over_blocks(loops: Callable[..., None], inputs: ScanInputs, agreement: bool, *groups: Any) -> None:
    """Run loops over all blocks of rows, on as many threads as torch uses; the result is the same on any number."""
    arrays = [type(group)._make(map(_array, group)) for group in groups]
    blocks = _blocks(inputs)
    threads = min(torch.get_num_threads(), blocks)
    if threads <= 1:
        loops(0, blocks, agreement, *arrays)
        return
    ends = [blocks * thread // threads for thread in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        done = [pool.submit(loops, *part, agreement, *arrays) for part in pairwise(ends)]
    for part in done:
        part.result()  # raises what the part raised


def _array(tensor: Tensor | None) -> np.ndarray | None:
    if tensor is None:
        return None
    if tensor.requires_grad or not tensor.is_contiguous():  # few are; asking is cheaper
        tensor = tensor.detach().contiguous()
    return tensor.numpy()
