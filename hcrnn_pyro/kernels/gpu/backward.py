"""The backward pass of the recurrence in one kernel: each program takes a block of rows from last step to first.

Axes: T time, R rows, E embedding, H hidden, K global contexts. Quantities are named as in
:mod:`hcrnn_pyro.kernels.scan_backward`, whose arrays the kernel fills.
"""
# ruff: noqa: N803, N806 - capitals are compile-time constants, as is usual in Triton

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from hcrnn_pyro.kernels.gpu.blocks import TILE_ROWS, add_product, sigmoids


@triton.jit(do_not_specialize=["time", "rows"])
@no_type_check
def backward(
    items,  # (R, T, E), and so on: the inputs
    theta,  # (R, T or 1, K)
    projected_contexts,
    global_contexts,
    to_packed,  # the weights
    context_score,
    local_to_local,
    local_to_update,
    history_to_candidate,
    drift,
    hidden,  # the steps, time first
    local_context,
    query,
    attention,
    proposed,
    gates,
    drift_gate,
    kept,
    candidate,
    after_hidden,  # (R, T, H) gradients of the states, but for their way through later steps
    after_local,
    grad_packed,  # the gradients, time first
    grad_candidate,
    grad_drift,
    grad_read,
    grad_proposed,
    grad_theta,  # as theta; this and those below are added to
    grad_contexts,  # (programs, K, H) of M W_thetaa
    grad_score,  # (programs, H)
    grad_hidden,  # (R, H) of the state before the step
    grad_local,
    time,
    rows,
    E: tl.constexpr,
    H: tl.constexpr,
    K: tl.constexpr,
    CONTEXTS: tl.constexpr,  # K, up to a power of 2
    AGREEMENT: tl.constexpr,
    OWN_DRIFT_GATE: tl.constexpr,
    THETA_PER_STEP: tl.constexpr,
    ROWS: tl.constexpr,  # of a program
    WIDTH: tl.constexpr,  # columns of a block
    STEP: tl.constexpr,
):
    """Fill the gradients."""
    GATES: tl.constexpr = E + 2 * H
    PACKED: tl.constexpr = GATES + H
    program = tl.program_id(0)
    first = program * ROWS
    lane = tl.arange(0, TILE_ROWS)
    valid = (lane < ROWS) & (first + lane < rows)
    row = (first + lane).to(tl.int64)
    nothing = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    for behind in range(time):
        t = time - 1 - behind
        now = (t * rows + first + lane).to(tl.int64)  # among the rows of all steps
        source = ((first + lane) * time + t).to(tl.int64)  # among the rows of the inputs

        for column in range(0, H, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < H)[None, :]
            in_hidden = (now * H)[:, None] + columns[None, :]
            of_grad = grad_hidden + (row * H)[:, None] + columns[None, :]
            grad = tl.load(of_grad, mask=some, other=0.0)
            grad += tl.load(after_hidden + (source * H)[:, None] + columns[None, :], mask=some, other=0.0)
            before = tl.load(hidden + in_hidden, mask=some, other=0.0)
            value = tl.load(candidate + in_hidden, mask=some, other=0.0)
            update = tl.load(gates + (now * GATES + E)[:, None] + columns[None, :], mask=some, other=0.0)
            to_update = grad * (value - before) * update * (1.0 - update)
            tl.store(grad_packed + (now * PACKED + E)[:, None] + columns[None, :], to_update, mask=some)
            tl.store(grad_candidate + in_hidden, grad * update * (1.0 - value * value), mask=some)
            tl.store(of_grad, grad * (1.0 - update), mask=some)
        tl.debug_barrier()

        for column in range(0, H, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < H)[None, :]
            in_hidden = (now * H)[:, None] + columns[None, :]
            grad = add_product(nothing, grad_candidate, now * H, valid, history_to_candidate, H, 1, columns, H, H, STEP)
            history = tl.load(kept + in_hidden, mask=some, other=0.0)
            reset = tl.load(gates + (now * GATES + E + H)[:, None] + columns[None, :], mask=some, other=0.0)
            to_reset = grad * history * (1.0 - reset)
            tl.store(grad_packed + (now * PACKED + E + H)[:, None] + columns[None, :], to_reset, mask=some)
            keep = reset
            if OWN_DRIFT_GATE:
                gate = tl.load(drift_gate + in_hidden, mask=some, other=0.0)
                tl.store(grad_drift + in_hidden, grad * history * (1.0 - gate), mask=some)
                keep *= gate
            of_grad = grad_hidden + (row * H)[:, None] + columns[None, :]
            tl.store(of_grad, tl.load(of_grad, mask=some, other=0.0) + grad * keep, mask=some)
        tl.debug_barrier()

        for column in range(0, E, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < E)[None, :]
            in_embedding = (now * E)[:, None] + columns[None, :]
            if OWN_DRIFT_GATE:
                to_read = add_product(nothing, grad_drift, now * H, valid, drift, E, 1, columns, H, E, STEP)
            else:
                starts = now * PACKED + E + H
                to_read = add_product(nothing, grad_packed, starts, valid, drift, E, 1, columns, H, E, STEP)
            tl.store(grad_read + in_embedding, to_read, mask=some)
            if AGREEMENT:
                to_read *= tl.load(items + (source * E)[:, None] + columns[None, :], mask=some, other=0.0)
            of_grad = grad_local + (row * E)[:, None] + columns[None, :]
            grad = to_read + tl.load(of_grad, mask=some, other=0.0)
            grad += tl.load(after_local + (source * E)[:, None] + columns[None, :], mask=some, other=0.0)
            grad = add_product(grad, grad_packed, now * PACKED + E, valid, local_to_update, E, 1, columns, H, E, STEP)
            gate = tl.load(gates + (now * GATES)[:, None] + columns[None, :], mask=some, other=0.0)
            before = tl.load(local_context + in_embedding, mask=some, other=0.0)
            proposal = tl.load(proposed + in_embedding, mask=some, other=0.0)
            to_gate = grad * (proposal - before) * gate * (1.0 - gate)
            tl.store(grad_packed + (now * PACKED)[:, None] + columns[None, :], to_gate, mask=some)
            tl.store(grad_proposed + in_embedding, grad * gate, mask=some)
            tl.store(of_grad, grad * (1.0 - gate), mask=some)
        tl.debug_barrier()

        for lane_of_row in range(ROWS):
            if first + lane_of_row < rows:
                at = (t * rows + first + lane_of_row).to(tl.int64)
                of_theta = (first + lane_of_row).to(tl.int64)
                if THETA_PER_STEP:
                    of_theta = of_theta * time + t
                _leave_attention(
                    grad_proposed + at * E,
                    global_contexts,
                    attention + at * K,
                    query + at * H,
                    theta + of_theta * K,
                    projected_contexts,
                    context_score,
                    grad_packed + at * PACKED + GATES,
                    grad_theta + of_theta * K,
                    grad_contexts + program.to(tl.int64) * K * H,
                    grad_score + program * H,
                    E,
                    H,
                    K,
                    CONTEXTS,
                    STEP,
                )
                tl.debug_barrier()  # the next row adds to the same sums

        for column in range(0, H, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < H)[None, :]
            of_grad = grad_hidden + (row * H)[:, None] + columns[None, :]
            grad = tl.load(of_grad, mask=some, other=0.0)
            grad = add_product(grad, grad_packed, now * PACKED, valid, to_packed, H, 1, columns, PACKED, H, STEP)
            tl.store(of_grad, grad, mask=some)
        for column in range(0, E, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < E)[None, :]
            of_grad = grad_local + (row * E)[:, None] + columns[None, :]
            grad = tl.load(of_grad, mask=some, other=0.0)
            grad = add_product(grad, grad_packed, now * PACKED, valid, local_to_local, E, 1, columns, E, E, STEP)
            tl.store(of_grad, grad, mask=some)
        tl.debug_barrier()


@triton.jit
@no_type_check
def _leave_attention(
    grad_proposed,
    global_contexts,
    attention,
    query,
    theta,
    projected_contexts,
    context_score,
    grad_query,
    grad_theta,
    grad_contexts,
    grad_score,
    E: tl.constexpr,
    H: tl.constexpr,
    K: tl.constexpr,
    CONTEXTS: tl.constexpr,
    STEP: tl.constexpr,
):
    """From the context proposed to one row's query, theta, M W_thetaa and v_theta."""
    context = tl.arange(0, CONTEXTS)
    grad = tl.zeros((CONTEXTS,), tl.float32)
    for start in range(0, E, STEP):
        unit = start + tl.arange(0, STEP)
        inside = (context < K)[:, None] & (unit < E)[None, :]
        values = tl.load(global_contexts + context[:, None] * E + unit[None, :], mask=inside, other=0.0)
        grad += tl.sum(values * tl.load(grad_proposed + unit, mask=unit < E, other=0.0)[None, :], axis=1)
    weight = tl.load(attention + context, mask=context < K, other=0.0)
    grad = weight * (grad - tl.sum(weight * grad, axis=0))  # of the scores

    shares = tl.load(theta + context, mask=context < K, other=0.0)
    to_theta = tl.load(grad_theta + context, mask=context < K, other=0.0)
    for start in range(0, H, STEP):
        unit = start + tl.arange(0, STEP)
        inside = (context < K)[:, None] & (unit < H)[None, :]
        place = context[:, None] * H + unit[None, :]
        keys = tl.load(projected_contexts + place, mask=inside, other=0.0)
        score = tl.load(context_score + unit, mask=unit < H, other=0.0)
        sigmoid = sigmoids(tl.load(query + unit, mask=unit < H, other=0.0), shares, keys)
        to_score = tl.load(grad_score + unit, mask=unit < H, other=0.0) + tl.sum(grad[:, None] * sigmoid, axis=0)
        tl.store(grad_score + unit, to_score, mask=unit < H)
        slope = grad[:, None] * score[None, :] * sigmoid * (1.0 - sigmoid)
        tl.store(grad_query + unit, tl.sum(slope, axis=0), mask=unit < H)
        to_theta += tl.sum(slope * keys, axis=1)
        to_contexts = tl.load(grad_contexts + place, mask=inside, other=0.0) + slope * shares[:, None]
        tl.store(grad_contexts + place, to_contexts, mask=inside)
    tl.store(grad_theta + context, to_theta, mask=context < K)
