"""All steps of the recurrence in one kernel: each program takes a block of rows from the first step to the last.

Axes: T time, R rows, E embedding, H hidden, K global contexts. Quantities are named as in
:mod:`hcrnn_pyro.kernels.scan_forward`, whose arrays the kernel fills.
"""
# ruff: noqa: N803, N806 - capitals are compile-time constants, as is usual in Triton

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from hcrnn_pyro.kernels.gpu.blocks import TILE_ROWS, add_product, factor, sigmoids, tanh


@triton.jit(do_not_specialize=["time", "rows"])
@no_type_check
def forward(
    items,  # (R, T, E), and so on: the inputs
    projected,
    theta,  # (R, T or 1, K)
    projected_contexts,
    global_contexts,
    to_packed,  # the weights
    context_score,
    local_to_local,
    local_to_update,
    history_to_candidate,
    drift,
    drift_bias,
    hidden,  # the steps, time first; the first entry of the two states is given
    local_context,
    query,
    attention,
    proposed,
    gates,
    read,
    drift_gate,
    kept,
    candidate,
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
    """Fill the steps."""
    GATES: tl.constexpr = E + 2 * H
    PACKED: tl.constexpr = GATES + H
    first = tl.program_id(0) * ROWS
    lane = tl.arange(0, TILE_ROWS)
    valid = (lane < ROWS) & (first + lane < rows)
    nothing = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    for t in range(time):
        now = (t * rows + first + lane).to(tl.int64)  # among the rows of all steps
        after = now + rows
        source = ((first + lane) * time + t).to(tl.int64)  # among the rows of the inputs

        for column in range(0, PACKED, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            total = add_product(nothing, hidden, now * H, valid, to_packed, 1, H, columns, H, PACKED, STEP)
            of_gate = valid[:, None] & (columns < GATES)[None, :]
            of_query = valid[:, None] & ((columns >= GATES) & (columns < PACKED))[None, :]
            given = tl.load(projected + (source * PACKED)[:, None] + columns[None, :], mask=of_gate, other=0.0)
            tl.store(gates + (now * GATES)[:, None] + columns[None, :], total + given, mask=of_gate)
            tl.store(query + (now * H)[:, None] + (columns - GATES)[None, :], factor(total), mask=of_query)
        tl.debug_barrier()

        for lane_of_row in range(ROWS):
            if first + lane_of_row < rows:
                at = (t * rows + first + lane_of_row).to(tl.int64)
                of_theta = (first + lane_of_row).to(tl.int64)
                if THETA_PER_STEP:
                    of_theta = of_theta * time + t
                _attend(
                    query + at * H,
                    theta + of_theta * K,
                    projected_contexts,
                    context_score,
                    attention + at * K,
                    H,
                    K,
                    CONTEXTS,
                    STEP,
                )
        tl.debug_barrier()

        for column in range(0, E, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < E)[None, :]
            in_embedding = (now * E)[:, None] + columns[None, :]
            of_local_gate = gates + (now * GATES)[:, None] + columns[None, :]
            proposal = add_product(nothing, attention, now * K, valid, global_contexts, E, 1, columns, K, E, STEP)
            gate = tl.load(of_local_gate, mask=some, other=0.0)
            gate = add_product(gate, local_context, now * E, valid, local_to_local, 1, E, columns, E, E, STEP)
            gate = tl.sigmoid(gate)
            before = tl.load(local_context + in_embedding, mask=some, other=0.0)
            context = before + gate * (proposal - before)
            tl.store(proposed + in_embedding, proposal, mask=some)
            tl.store(of_local_gate, gate, mask=some)
            tl.store(local_context + (after * E)[:, None] + columns[None, :], context, mask=some)
            if AGREEMENT:
                context *= tl.load(items + (source * E)[:, None] + columns[None, :], mask=some, other=0.0)
            tl.store(read + in_embedding, context, mask=some)
        tl.debug_barrier()

        for column in range(0, H, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < H)[None, :]
            in_hidden = (now * H)[:, None] + columns[None, :]
            of_update = gates + (now * GATES + E)[:, None] + columns[None, :]
            of_reset = of_update + H
            update = tl.load(of_update, mask=some, other=0.0)
            update = add_product(update, local_context, after * E, valid, local_to_update, 1, E, columns, E, H, STEP)
            tl.store(of_update, tl.sigmoid(update), mask=some)
            reset = tl.load(of_reset, mask=some, other=0.0)
            keep = tl.load(hidden + in_hidden, mask=some, other=0.0)
            if OWN_DRIFT_GATE:
                given = nothing + tl.load(drift_bias + columns, mask=columns < H, other=0.0)[None, :]
                gate = tl.sigmoid(add_product(given, read, now * E, valid, drift, 1, E, columns, E, H, STEP))
                tl.store(drift_gate + in_hidden, gate, mask=some)
                keep *= gate
            else:
                reset = add_product(reset, read, now * E, valid, drift, 1, E, columns, E, H, STEP)
            reset = tl.sigmoid(reset)
            tl.store(of_reset, reset, mask=some)
            tl.store(kept + in_hidden, keep * reset, mask=some)
        tl.debug_barrier()

        for column in range(0, H, WIDTH):
            columns = column + tl.arange(0, WIDTH)
            some = valid[:, None] & (columns < H)[None, :]
            in_hidden = (now * H)[:, None] + columns[None, :]
            value = tl.load(projected + (source * PACKED + GATES)[:, None] + columns[None, :], mask=some, other=0.0)
            value = add_product(value, kept, now * H, valid, history_to_candidate, 1, H, columns, H, H, STEP)
            value = tanh(value)
            before = tl.load(hidden + in_hidden, mask=some, other=0.0)
            update = tl.load(gates + (now * GATES + E)[:, None] + columns[None, :], mask=some, other=0.0)
            tl.store(candidate + in_hidden, value, mask=some)
            tl.store(hidden + (after * H)[:, None] + columns[None, :], before + update * (value - before), mask=some)
        tl.debug_barrier()


@triton.jit
@no_type_check
def _attend(
    query,
    theta,
    projected_contexts,
    context_score,
    attention,
    H: tl.constexpr,
    K: tl.constexpr,
    CONTEXTS: tl.constexpr,
    STEP: tl.constexpr,
):
    """alpha_t of one row."""
    context = tl.arange(0, CONTEXTS)
    shares = tl.load(theta + context, mask=context < K, other=0.0)
    scores = tl.zeros((CONTEXTS,), tl.float32)
    for start in range(0, H, STEP):
        unit = start + tl.arange(0, STEP)
        inside = (context < K)[:, None] & (unit < H)[None, :]
        keys = tl.load(projected_contexts + context[:, None] * H + unit[None, :], mask=inside, other=0.0)
        weight = tl.load(context_score + unit, mask=unit < H, other=0.0)
        asked = tl.load(query + unit, mask=unit < H, other=0.0)
        scores += tl.sum(weight[None, :] * sigmoids(asked, shares, keys), axis=1)
    scores = tl.where(context < K, scores, -float("inf"))
    exponentials = tl.exp(scores - tl.max(scores, axis=0))
    tl.store(attention + context, exponentials / tl.sum(exponentials, axis=0), mask=context < K)
