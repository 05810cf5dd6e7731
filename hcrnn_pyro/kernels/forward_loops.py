"""The steps of the recurrence in loops compiled by Numba for the CPU.

Axes: T time, R rows, E embedding, H hidden, K global contexts. The arrays are those of
:mod:`hcrnn_pyro.kernels.scan_forward`, which says the same in operations on whole tensors. Here a block of rows runs
through all of its steps by itself: its states and the weights stay in cache, and no result depends on how the blocks
are shared out over threads.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from hcrnn_pyro.kernels.loops import compiled, exponential, sigmoid
from hcrnn_pyro.kernels.sigmoids import score_keys
from hcrnn_pyro.kernels.tiles import add_product, put_product

BLOCK = 8  # rows that run through the steps together


@compiled
@no_type_check
def forward(first, last, agreement, inputs, weights, steps):
    """Fill in the steps of the blocks ``first`` to ``last`` - 1.

    Args:
        first: block to begin with.
        last: block to end before.
        agreement: whether the drift weight reads x_t * c_t, or c_t alone.
        inputs: ``ScanInputs``, theta with a time axis, of one step where it is the same at all of them.
        weights: ``ForwardWeights``.
        steps: ``Steps``; it has the initial states.
    """
    rows, time, embedding = inputs.items.shape
    contexts, size = inputs.projected_contexts.shape
    own_drift_gate = len(weights.drift_bias) > 0
    keys = np.empty((BLOCK, contexts, size), inputs.items.dtype)
    for block in range(first, last):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, rows)
        for t in range(time):
            if t < inputs.theta.shape[1]:
                fill_keys(start, stop, t, inputs, keys)
            gates = steps.gates[t]
            project(start, stop, t, inputs, weights, steps)
            propose(start, stop, inputs, weights, keys, steps.query[t], steps.attention[t], steps.proposed[t])
            add_product(start, stop, steps.local_context[t], 0, weights.local_to_local, gates, 0)
            update_local_context(start, stop, t, agreement, inputs, steps)
            add_product(start, stop, steps.local_context[t + 1], 0, weights.local_to_update, gates, embedding)
            if own_drift_gate:
                drift = steps.drift_gate[t]
                drift[start:stop] = weights.drift_bias
                add_product(start, stop, steps.read[t], 0, weights.drift, drift, 0)
            else:
                add_product(start, stop, steps.read[t], 0, weights.drift, gates, embedding + size)
            keep_history(start, stop, t, embedding, own_drift_gate, steps)
            add_product(start, stop, steps.kept[t], 0, weights.history_to_candidate, steps.candidate[t], 0)
            update_hidden(start, stop, t, embedding, steps)


@compiled
@no_type_check
def fill_keys(start, stop, t, inputs, keys):
    """Factors of the context attention's keys, exp(-theta_k (M W_thetaa)_k), of the rows of a block."""
    contexts, size = inputs.projected_contexts.shape
    for r in range(start, stop):
        for k in range(contexts):
            share = inputs.theta[r, t, k]
            for h in range(size):
                keys[r - start, k, h] = exponential(-share * inputs.projected_contexts[k, h])


@compiled
@no_type_check
def project(start, stop, t, inputs, weights, steps):
    """What x_t and h_{t-1} bring to gates and candidate, and the factor of the context attention's query."""
    hidden, gates, query, candidate = steps.hidden[t], steps.gates[t], steps.query[t], steps.candidate[t]
    size, width = hidden.shape[1], gates.shape[1]
    for r in range(start, stop):
        gates[r] = inputs.projected[r, t, :width]
        candidate[r] = inputs.projected[r, t, width:]
    add_product(start, stop, hidden, 0, weights.hidden_to_gates, gates, 0)
    put_product(start, stop, hidden, 0, weights.hidden_to_query, query, 0)
    for r in range(start, stop):
        for h in range(size):
            query[r, h] = exponential(-query[r, h])


@compiled
@no_type_check
def propose(start, stop, inputs, weights, keys, query, attention, proposed):
    """The attention to the global contexts, alpha_t, and the context that it proposes."""
    contexts = len(inputs.projected_contexts)
    for r in range(start, stop):
        score_keys(query[r], keys[r - start], contexts, weights.context_score, attention[r])
        largest = attention[r, 0]
        for k in range(1, contexts):
            largest = max(largest, attention[r, k])
        total = query.dtype.type(0)
        for k in range(contexts):
            attention[r, k] = exponential(attention[r, k] - largest)
            total += attention[r, k]
        for k in range(contexts):
            attention[r, k] /= total
    put_product(start, stop, attention, 0, inputs.global_contexts, proposed, 0)


@compiled
@no_type_check
def update_local_context(start, stop, t, agreement, inputs, steps):
    """G_t^c, c_t, and what the drift weight reads."""
    gates, before, after = steps.gates[t], steps.local_context[t], steps.local_context[t + 1]
    for r in range(start, stop):
        for e in range(before.shape[1]):
            gates[r, e] = sigmoid(gates[r, e])
            after[r, e] = before[r, e] + gates[r, e] * (steps.proposed[t, r, e] - before[r, e])
            steps.read[t, r, e] = after[r, e] * inputs.items[r, t, e] if agreement else after[r, e]


@compiled
@no_type_check
def keep_history(start, stop, t, embedding, own_drift_gate, steps):
    """z_t, r_t, G_t^d, and the history kept."""
    gates, hidden, kept = steps.gates[t], steps.hidden[t], steps.kept[t]
    size = hidden.shape[1]
    for r in range(start, stop):
        update_and_reset, reset = gates[r, embedding:], gates[r, embedding + size :]
        for j in range(2 * size):
            update_and_reset[j] = sigmoid(update_and_reset[j])
        for h in range(size):
            kept[r, h] = reset[h] * hidden[r, h]
        if own_drift_gate:
            for h in range(size):
                steps.drift_gate[t, r, h] = sigmoid(steps.drift_gate[t, r, h])
                kept[r, h] *= steps.drift_gate[t, r, h]


@compiled
@no_type_check
def update_hidden(start, stop, t, embedding, steps):
    """The candidate tanh(h~_t) and h_t."""
    hidden, candidate = steps.hidden[t], steps.candidate[t]
    two = hidden.dtype.type(2)
    one = hidden.dtype.type(1)
    for r in range(start, stop):
        update, after = steps.gates[t, r, embedding:], steps.hidden[t + 1, r]
        for h in range(hidden.shape[1]):
            candidate[r, h] = two * sigmoid(two * candidate[r, h]) - one
            after[h] = hidden[r, h] + update[h] * (candidate[r, h] - hidden[r, h])
