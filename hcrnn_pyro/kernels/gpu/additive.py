"""Scores of additive attention and their gradients, in Triton: the sigmoids never leave the registers.

Axes: B rows, Q queries, K keys, H hidden.
"""
# ruff: noqa: N803 - capitals are compile-time constants, as is usual in Triton

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

ASKED = 4  # of the first axis, a program
OTHERS = 32  # of the second axis, at a time
UNITS = 32  # of H, at a time


def scores(query_factor: Tensor, key_factor: Tensor, weight: Tensor) -> Tensor:
    """See :func:`hcrnn_pyro.kernels.additive.scores`."""
    rows, queries, size = query_factor.shape
    keys = key_factor.shape[1]
    result = query_factor.new_empty(rows, queries, keys)
    if result.numel() > 0:
        arguments = query_factor.contiguous(), key_factor.contiguous(), weight.contiguous(), result
        grid = (rows, triton.cdiv(queries, ASKED), triton.cdiv(keys, OTHERS))
        with torch.cuda.device_of(result):  # Triton launches on the current device
            _scores[grid](*arguments, queries, keys, size, ASKED, OTHERS, UNITS)
    return result


def add_gradients(
    query_factor: Tensor, key_factor: Tensor, grad: Tensor, grad_query: Tensor, grad_key: Tensor, grad_weight: Tensor
) -> None:
    """See :func:`hcrnn_pyro.kernels.additive.add_gradients`."""
    if grad.numel() == 0:
        return
    query_factor, key_factor, grad = query_factor.contiguous(), key_factor.contiguous(), grad.contiguous()
    grad_weight += _add_slopes(query_factor, key_factor, grad, grad_query, of_weight=True).sum((0, 1))
    _add_slopes(key_factor, query_factor, grad.mT, grad_key, of_weight=False)


def _add_slopes(own: Tensor, other: Tensor, grad: Tensor, to_own: Tensor, of_weight: bool) -> Tensor:
    """Add the gradient of one side; the weight's is returned in a part for each program."""
    rows, asked, size = own.shape
    blocks = triton.cdiv(asked, ASKED)
    to_weight = own.new_empty((rows, blocks, size) if of_weight else 0)
    strides = grad.stride()
    with torch.cuda.device_of(own):
        _slopes[(rows, blocks, triton.cdiv(size, UNITS))](
            own, other, grad, to_own, to_weight, asked, other.shape[1], size, *strides, of_weight, ASKED, OTHERS, UNITS
        )
    return to_weight


@triton.jit(do_not_specialize=["queries", "keys"])
@no_type_check
def _scores(
    query,
    key,
    weight,
    result,
    queries,
    keys,
    H: tl.constexpr,
    ASKED: tl.constexpr,
    OTHERS: tl.constexpr,
    UNITS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    ask = tl.program_id(1) * ASKED + tl.arange(0, ASKED)
    other = tl.program_id(2) * OTHERS + tl.arange(0, OTHERS)
    some_queries, some_keys = (ask < queries)[:, None], (other < keys)[:, None]
    total = tl.zeros((ASKED, OTHERS), tl.float32)
    for start in range(0, H, UNITS):
        unit = start + tl.arange(0, UNITS)
        inside = (unit < H)[None, :]
        q = tl.load(query + (row * queries + ask)[:, None] * H + unit[None, :], mask=some_queries & inside, other=0.0)
        k = tl.load(key + (row * keys + other)[:, None] * H + unit[None, :], mask=some_keys & inside, other=0.0)
        v = tl.load(weight + unit, mask=unit < H, other=0.0)
        total += tl.sum(v[None, None, :] / (1.0 + q[:, None, :] * k[None, :, :]), axis=2)
    place = result + (row * queries + ask)[:, None] * keys + other[None, :]
    tl.store(place, total, mask=some_queries & (other < keys)[None, :])


@triton.jit(do_not_specialize=["asked", "others", "row_stride", "own_stride", "other_stride"])
@no_type_check
def _slopes(
    own,
    other,
    grad,
    to_own,
    to_weight,
    asked,
    others,
    H: tl.constexpr,
    row_stride,
    own_stride,
    other_stride,
    OF_WEIGHT: tl.constexpr,
    ASKED: tl.constexpr,
    OTHERS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Gradients of one side, query or key; the other side's are those with the axes of ``grad`` exchanged."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    ask = block * ASKED + tl.arange(0, ASKED)
    unit = tl.program_id(2) * UNITS + tl.arange(0, UNITS)
    some = (ask < asked)[:, None] & (unit < H)[None, :]
    place = (row * asked + ask)[:, None] * H + unit[None, :]
    q = tl.load(own + place, mask=some, other=0.0)
    total = tl.load(to_own + place, mask=some, other=0.0)
    total_weight = tl.zeros((UNITS,), tl.float32)
    for start in range(0, others, OTHERS):
        each = start + tl.arange(0, OTHERS)
        inside = (each < others)[:, None] & (unit < H)[None, :]
        k = tl.load(other + (row * others + each)[:, None] * H + unit[None, :], mask=inside, other=0.0)
        of_pair = grad + row * row_stride + ask[:, None] * own_stride + each[None, :] * other_stride
        g = tl.load(of_pair, mask=(ask < asked)[:, None] & (each < others)[None, :], other=0.0)
        sigmoid = 1.0 / (1.0 + q[:, None, :] * k[None, :, :])
        weighted = g[:, :, None] * sigmoid
        total += tl.sum(weighted * (1.0 - sigmoid), axis=1)
        if OF_WEIGHT:
            total_weight += tl.sum(tl.sum(weighted, axis=1), axis=0)
    tl.store(to_own + place, total, mask=some)
    if OF_WEIGHT:
        blocks = tl.num_programs(1)
        tl.store(to_weight + (row * blocks + block) * H + unit, total_weight, mask=unit < H)
