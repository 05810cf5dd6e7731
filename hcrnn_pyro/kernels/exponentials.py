"""The exponentials of a softmax, in place: on a CPU in one pass of a compiled loop.

Axes: N rows, V columns.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import compiled, exponential

LEAST = {torch.float32: np.float32(-87.3), torch.float64: np.float64(-708.3)}  # of whose exponential there is a number


def exponentials_(scores: Float[Tensor, "rows columns"], offset: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows 1"]:
    """Put exp(score - offset) in the place of each score, and return each row's sum.

    Args:
        scores: contiguous; minus infinity becomes 0.
        offset: at least each row's largest score less 87 (708 in double precision), and finite.
    """
    if not forms.is_for_loops(scores):
        return scores.sub_(offset).exp_().sum(dim=1, keepdim=True)
    total = torch.empty_like(offset)
    _exponentials(scores.numpy(), offset.numpy(), LEAST[scores.dtype], total.numpy())
    return total


@compiled
@no_type_check
def _exponentials(scores, offset, least, total):
    """See :func:`exponentials_`; the exponential of what is below ``least`` is 0."""
    zero = scores.dtype.type(0)
    for row in range(scores.shape[0]):
        some, shift, sums = scores[row], offset[row, 0], zero
        for column in range(scores.shape[1]):
            x = some[column] - shift
            value = zero if x < least else exponential(x)
            some[column] = value
            sums += value
        total[row, 0] = sums
