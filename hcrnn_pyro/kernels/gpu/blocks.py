"""What the kernels share: products and activations of a block of rows, in Triton.

A program keeps its rows for all steps. Its values pass from one phase of a step to the next through memory that its
own multiprocessor has just written, with a barrier between; so a kernel takes models of any size.
"""
# ruff: noqa: N803 - capitals are compile-time constants, as is usual in Triton

from __future__ import annotations

import math
from typing import no_type_check

import torch
import triton
import triton.language as tl

TILE_ROWS = tl.constexpr(16)  # the rows of a product on tensor cores, of which a program may fill some only
LIMIT = tl.constexpr(math.log(torch.finfo(torch.float32).max) - 1.0)


@triton.jit
@no_type_check
def add_product(total, left, starts, valid, right, inner_stride, stride, columns, INNER, OUTER, STEP: tl.constexpr):
    """``total + left @ right`` for a block of rows and columns, to full float32 precision.

    Args:
        total: (TILE_ROWS, N) what the product is added to.
        left: a matrix of INNER columns, row by row.
        starts: (TILE_ROWS,) where its rows begin.
        valid: (TILE_ROWS,) whether there is such a row.
        right: (INNER, OUTER).
        inner_stride: of its first axis.
        stride: of its second axis.
        columns: (N,) those wanted; any from OUTER on are 0.
        INNER: see there.
        OUTER: see there.
        STEP: so much of INNER is multiplied at a time.
    """
    for start in range(0, INNER, STEP):
        inner = start + tl.arange(0, STEP)
        inside = inner < INNER
        x = tl.load(left + starts[:, None] + inner[None, :], mask=valid[:, None] & inside[None, :], other=0.0)
        places = right + inner[:, None] * inner_stride + columns[None, :] * stride
        w = tl.load(places, mask=inside[:, None] & (columns < OUTER)[None, :], other=0.0)
        total = tl.dot(x, w, total, input_precision="tf32x3")
    return total


@triton.jit
@no_type_check
def factor(value):
    """exp(-value), kept from overflow as in :func:`hcrnn_pyro.kernels.additive.factor_`."""
    return tl.exp(tl.clamp(-value, -LIMIT, LIMIT, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
@no_type_check
def sigmoids(query_factor, theta, projected_contexts):
    """(K, H) of the context attention: of a query and the keys theta_k (M W_thetaa)_k."""
    return 1.0 / (1.0 + query_factor[None, :] * factor(theta[:, None] * projected_contexts))


@triton.jit
@no_type_check
def tanh(value):
    """Through the sigmoid."""
    return 2.0 * tl.sigmoid(2.0 * value) - 1.0
