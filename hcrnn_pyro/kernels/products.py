"""Sums of outer products, as the gradients of weights are made."""

from __future__ import annotations

from typing import no_type_check

from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.threads import share_out
from hcrnn_pyro.kernels.tiles import add_outer_products

BAND = 32  # rows of the result that a thread takes at a time


def outer_products(left: Float[Tensor, "*axes rows"], right: Float[Tensor, "*axes columns"]) -> Tensor:
    """Sum over all axes but the last of the outer products: (rows, columns)."""
    left, right = left.flatten(0, -2), right.flatten(0, -2)
    if not forms.is_for_loops(left):
        return left.T @ right
    result = left.new_empty(left.shape[1], right.shape[1])
    arrays = left.detach().numpy(), right.detach().contiguous().numpy(), result.numpy()
    share_out(_write, -(-len(result) // BAND), *arrays)
    return result


@compiled
@no_type_check
def _write(first, last, left, right, result):
    start, stop = first * BAND, min(last * BAND, len(result))
    result[start:stop] = 0
    add_outer_products(start, stop, left, right, result)
