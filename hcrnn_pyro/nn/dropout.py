"""Dropout whose mask is drawn quickly on a CPU, where ``nn.Dropout`` takes several times as long for it."""

from __future__ import annotations

from typing import Any, no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd import Function

from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import compiled

BITS = 16  # of a random number: a share is rounded to a multiple of 2^-16
SHARES = 2**BITS


class Dropout(nn.Dropout):
    """Each entry is 0 with probability p, and else divided by 1 - p; in evaluation all stay as they are.

    Source: Srivastava et al., "Dropout", JMLR 2014. On a CPU four entries share a random number of 64 bits, and p
    counts as the nearest multiple of 2^-16 below 1. Elsewhere it is ``nn.Dropout``.

    Args:
        p: in [0, 1).

    Raises:
        UserError: p is no such share.
    """

    def __init__(self, p: float) -> None:
        require(0.0 <= p < 1.0, f"Dropout takes a share in [0, 1); got {p}.")
        super().__init__(p)

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The same with some entries set to 0."""
        if not self.training or self.p == 0.0 or not forms.is_for_loops(input):
            return super().forward(input)
        dropped = min(round(self.p * SHARES), SHARES - 1)
        kept: Tensor = _Kept.apply(input, random_numbers(input.numel()), dropped)
        return kept


def random_numbers(count: int) -> Int[Tensor, " count"]:
    """Independent 16-bit integers, each as likely as the others."""
    words = torch.empty(-(-count * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count]


class _Kept(Function):
    """Entries whose number is among the ``dropped`` lowest are set to 0; a linear map, so its gradient is the same."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, numbers: Tensor, dropped: int) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.dropped = dropped
        result = values.new_empty(values.shape)
        flat = values.detach().reshape(-1).numpy(), numbers.numpy()
        _keep(*flat, dropped - SHARES // 2, SHARES / (SHARES - dropped), result.view(-1).numpy())
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Kept.apply(grad, *ctx.saved_tensors, ctx.dropped), None, None


@compiled
@no_type_check
def _keep(values, numbers, least, scale, result):
    for i in range(len(values)):
        result[i] = values[i] * values.dtype.type(scale if numbers[i] >= least else 0.0)
