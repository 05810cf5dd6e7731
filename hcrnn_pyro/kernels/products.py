"""Sums of outer products, as the gradients of weights are made."""

from __future__ import annotations

from typing import no_type_check

from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.tiles import add_outer_products


def outer_products(left: Float[Tensor, "*axes rows"], right: Float[Tensor, "*axes columns"]) -> Tensor:
    """Sum over all axes but the last of the outer products: (rows, columns)."""
    left, right = left.flatten(0, -2), right.flatten(0, -2)
    if not forms.is_for_serial_loops(left):
        return left.T @ right
    result = left.new_zeros(left.shape[1], right.shape[1])
    _add(left.detach().numpy(), right.detach().contiguous().numpy(), result.numpy())
    return result


@compiled
@no_type_check
def _add(left, right, result):
    add_outer_products(0, len(result), left, right, result)
