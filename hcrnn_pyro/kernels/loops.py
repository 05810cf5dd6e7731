"""The innermost loops of additive attention, compiled by Numba.

Axes: B rows, Q queries, K keys, H hidden. Every function overwrites or adds to arrays its caller made.

With exp(-query) and exp(-key) at hand, sigmoid(query + key) = 1 / (1 + exp(-query) exp(-key)) costs one product and one
division, and none of the B Q K H values is ever stored.
"""

from __future__ import annotations

from typing import no_type_check

import numba

# Sums may be reordered, so that they run in vector registers; infinities and NaN keep their meaning.
compiled = numba.njit(fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy", nogil=True, cache=True)


@compiled
@no_type_check
def scores(query_factor, key_factor, weight, result):
    """Write sum_h weight_h / (1 + query_factor key_factor).

    Args:
        query_factor: (B, Q, H) exp(-query).
        key_factor: (B, K, H) exp(-key).
        weight: (H,) v.
        result: (B, Q, K), overwritten.
    """
    one = weight.dtype.type(1)
    rows, queries, size = query_factor.shape
    for b in range(rows):
        for q in range(queries):
            for k in range(key_factor.shape[1]):
                total = weight.dtype.type(0)
                for h in range(size):
                    total += weight[h] / (one + query_factor[b, q, h] * key_factor[b, k, h])
                result[b, q, k] = total


@compiled
@no_type_check
def add_gradients(query_factor, key_factor, grad, grad_query, grad_key, grad_weight):
    """Add the gradients of :func:`scores`; those of query and key lack the factor v_h, which the caller puts in once.

    Args:
        query_factor: (B, Q, H) exp(-query).
        key_factor: (B, K, H) exp(-key).
        grad: (B, Q, K) gradient of the scores.
        grad_query: (B, Q, H), added to.
        grad_key: (B, K, H), added to.
        grad_weight: (H,), added to.
    """
    one = grad_weight.dtype.type(1)
    rows, queries, size = query_factor.shape
    for b in range(rows):
        for q in range(queries):
            for k in range(key_factor.shape[1]):
                upstream = grad[b, q, k]
                for h in range(size):
                    sigmoid = one / (one + query_factor[b, q, h] * key_factor[b, k, h])
                    slope = upstream * (sigmoid - sigmoid * sigmoid)
                    grad_weight[h] += upstream * sigmoid
                    grad_query[b, q, h] += slope
                    grad_key[b, k, h] += slope
