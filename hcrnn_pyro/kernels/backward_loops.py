"""The backward pass of the recurrence in loops compiled by Numba for the CPU.

Axes: T time, R rows, E embedding, H hidden, K global contexts. The arrays are those of
:mod:`hcrnn_pyro.kernels.scan_backward`, which says the same in operations on whole tensors.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from hcrnn_pyro.kernels.forward_loops import BLOCK, fill_keys
from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.sigmoids import leave_scores
from hcrnn_pyro.kernels.tiles import add_product, put_product


@compiled
@no_type_check
def backward(first, last, agreement, inputs, weights, steps, grads, scratch):
    """Gradients of the blocks ``first`` to ``last`` - 1, from the last step to the first.

    Args:
        first: block to begin with.
        last: block to end before.
        agreement: whether the drift weight read x_t * c_t, or c_t alone.
        inputs: ``ScanInputs``, theta with a time axis, of one step where it was the same at all of them.
        weights: ``BackwardWeights``.
        steps: ``Steps``.
        grads: ``Gradients``, theta with a time axis as above; score and projected_contexts are left alone.
        scratch: ``Scratch``.
    """
    rows, time, embedding = inputs.items.shape
    contexts, size = inputs.projected_contexts.shape
    own_drift_gate = len(steps.drift_gate) > 0
    keys = np.empty((BLOCK, contexts, size), inputs.items.dtype)
    grad_keys = np.zeros_like(keys)  # without the factor v_theta
    for block in range(first, last):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, rows)
        for t in range(time - 1, -1, -1):
            if t == time - 1 or t < inputs.theta.shape[1]:
                fill_keys(start, stop, min(t, inputs.theta.shape[1] - 1), inputs, keys)
            packed, read, proposed = grads.packed[t], grads.read[t], grads.proposed[t]
            leave_hidden(start, stop, t, embedding, steps, grads, scratch)
            put_product(start, stop, grads.candidate[t], 0, weights.history_to_candidate, scratch.kept, 0)
            leave_history(start, stop, t, embedding, own_drift_gate, steps, grads, scratch)
            if own_drift_gate:
                put_product(start, stop, grads.drift[t], 0, weights.drift, read, 0)
            else:
                put_product(start, stop, packed, embedding + size, weights.drift, read, 0)
            for r in range(start, stop):
                for e in range(embedding):
                    factor = inputs.items[r, t, e] if agreement else packed.dtype.type(1)
                    grads.local_context[r, e] += scratch.after_local[r, t, e] + read[r, e] * factor
            add_product(start, stop, packed, embedding, weights.local_to_update, grads.local_context, 0)
            leave_local_context(start, stop, t, steps, grads, scratch)
            put_product(start, stop, proposed, 0, weights.contexts, scratch.attention, 0)
            leave_attention(start, stop, t, embedding, weights, keys, steps, grads, grad_keys, scratch)
            if t < inputs.theta.shape[1]:
                leave_keys(start, stop, t, inputs, weights, grads, grad_keys, scratch)
            add_product(start, stop, packed, 0, weights.hidden, grads.hidden, 0)
            add_product(start, stop, packed, 0, weights.local_to_local, grads.local_context, 0)


@compiled
@no_type_check
def leave_hidden(start, stop, t, embedding, steps, grads, scratch):
    """From h_t to h_{t-1} directly, to the update gate and to the candidate."""
    hidden, gates, packed = grads.hidden, steps.gates[t], grads.packed[t]
    one = hidden.dtype.type(1)
    for r in range(start, stop):
        update, grad_update = gates[r, embedding:], packed[r, embedding:]
        for h in range(hidden.shape[1]):
            grad = hidden[r, h] + scratch.after_hidden[r, t, h]
            gate, candidate = update[h], steps.candidate[t, r, h]
            grad_update[h] = grad * (candidate - steps.hidden[t, r, h]) * gate * (one - gate)
            grads.candidate[t, r, h] = grad * gate * (one - candidate * candidate)
            hidden[r, h] = grad * (one - gate)


@compiled
@no_type_check
def leave_history(start, stop, t, embedding, own_drift_gate, steps, grads, scratch):
    """From the history kept to h_{t-1}, to the reset gate and to the drift gate."""
    gates, packed, kept = steps.gates[t], grads.packed[t], steps.kept[t]
    one = kept.dtype.type(1)
    size = kept.shape[1]
    for r in range(start, stop):
        reset, grad_reset = gates[r, embedding + size :], packed[r, embedding + size :]
        for h in range(size):
            grad_reset[h] = scratch.kept[r, h] * kept[r, h] * (one - reset[h])
        if own_drift_gate:
            for h in range(size):
                gate = steps.drift_gate[t, r, h]
                grads.drift[t, r, h] = scratch.kept[r, h] * kept[r, h] * (one - gate)
                scratch.kept[r, h] *= gate
        for h in range(size):
            grads.hidden[r, h] += scratch.kept[r, h] * reset[h]


@compiled
@no_type_check
def leave_local_context(start, stop, t, steps, grads, scratch):
    """From c_t to c_{t-1} directly, to the local gate and to the context proposed."""
    gates, before, local = steps.gates[t], steps.local_context[t], grads.local_context
    one = local.dtype.type(1)
    for r in range(start, stop):
        for e in range(local.shape[1]):
            grad, gate = local[r, e], gates[r, e]
            grads.packed[t, r, e] = grad * (steps.proposed[t, r, e] - before[r, e]) * gate * (one - gate)
            grads.proposed[t, r, e] = grad * gate
            local[r, e] = grad * (one - gate)


@compiled
@no_type_check
def leave_attention(start, stop, t, embedding, weights, keys, steps, grads, grad_keys, scratch):
    """From alpha_t to the query, to the keys and to v_theta."""
    contexts, size = keys.shape[1:]
    query, packed, attention = steps.query[t], grads.packed[t], steps.attention[t]
    for r in range(start, stop):
        grad, mean = scratch.attention[r], keys.dtype.type(0)
        for k in range(contexts):
            mean += attention[r, k] * grad[k]
        for k in range(contexts):
            grad[k] = attention[r, k] * (grad[k] - mean)
        grad_query, key, grad_key = packed[r, embedding + 2 * size :], keys[r - start], grad_keys[r - start]
        grad_query[:] = 0
        leave_scores(query[r], key, contexts, grad, grad_query, grad_key, scratch.score[start // BLOCK])
        for h in range(size):
            grad_query[h] *= weights.context_score[h]


@compiled
@no_type_check
def leave_keys(start, stop, t, inputs, weights, grads, grad_keys, scratch):
    """From the keys of a step, theta_k (M W_thetaa)_k, to both factors; the keys' gradients are 0 after that."""
    contexts, size = inputs.projected_contexts.shape
    projected = scratch.projected_contexts[start // BLOCK]
    for r in range(start, stop):
        for k in range(contexts):
            share, total, grad = inputs.theta[r, t, k], grad_keys.dtype.type(0), grad_keys[r - start, k]
            for h in range(size):
                projected[k, h] += grad[h] * share
                total += grad[h] * weights.scored_contexts[k, h]
                grad[h] = 0
            grads.theta[r, t, k] = total
