"""The distinct items of each row.

Axes: B rows, T time.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hcrnn_pyro.kernels.loops import compiled


def each_once(inputs: Int[Tensor, "rows time"]) -> Int[Tensor, "rows time"]:
    """The same items, with 0 in place of each that its row has shown before.

    Args:
        inputs: item indices, 0 for padding.
    """
    if inputs.device.type != "cpu":
        return sorted_once(inputs)
    result = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    _keep_first(inputs.numpy(), result.numpy())
    return result


def sorted_once(inputs: Int[Tensor, "rows time"]) -> Int[Tensor, "rows time"]:
    """:func:`each_once` in operations on whole tensors, O(T log T) a row."""
    ordered, order = inputs.sort(dim=1, stable=True)
    repeated = torch.zeros_like(inputs, dtype=torch.bool)
    repeated.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
    return inputs.masked_fill(repeated, 0)


@compiled
@no_type_check
def _keep_first(inputs, result):
    """Beside each item stands the last row that has shown it."""
    largest = 0
    for b in range(inputs.shape[0]):
        for t in range(inputs.shape[1]):
            largest = max(largest, inputs[b, t])
    shown = np.full(largest + 1, -1)
    for b in range(inputs.shape[0]):
        for t in range(inputs.shape[1]):
            item = inputs[b, t]
            result[b, t] = 0 if shown[item] == b else item
            shown[item] = b
