"""Functions of tensors with one axis of rows, on tensors in which Pyro has put further ones on its left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def over_rows(function: Callable[..., Tensor], tensors: tuple[Tensor, ...], *options: Any) -> Tensor:
    """What a function of tensors (rows, ., .) makes of tensors with any number of axes for rows.

    Args:
        function: of the tensors and then the options.
        tensors: all of one batch shape.
        options: not tensors with rows.
    """
    batch = tensors[0].shape[:-2]
    if len(batch) == 1:  # nearly always; a view that changes nothing costs its way through autograd
        return function(*tensors, *options)
    result = function(*(tensor.reshape(-1, *tensor.shape[-2:]) for tensor in tensors), *options)
    return result.view(*batch, *result.shape[1:])
