"""Dropout whose mask is drawn quickly on a CPU, where ``nn.Dropout`` takes several times as long for it."""

from __future__ import annotations

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function

from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import INLINED, compiled

BITS = 16  # of a random number: a share is rounded to a multiple of 2^-16
SHARES = 2**BITS
PARTS = 64 // BITS  # numbers of a random word


class Dropout(nn.Dropout):
    """Each entry is 0 with probability p, and else divided by 1 - p; in evaluation all stay as they are.

    Source: Srivastava et al., "Dropout", JMLR 2014. On a CPU, in single or double precision, four entries share
    a random number of 64 bits, and p counts as the nearest multiple of 2^-16 below 1. Else it is ``nn.Dropout``.

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
        kept: Tensor = _Kept.apply(input, int(torch.randint(2**63 - 1, ())), dropped)
        return kept


class _Kept(Function):
    """Entries whose 16 bits are among the ``dropped`` lowest become 0; a linear map, so its gradient is the same."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, seed: int, dropped: int) -> Tensor:
        ctx.seed, ctx.dropped = seed, dropped
        result = values.new_empty(values.shape)
        entries = values.detach().reshape(-1).numpy(), result.view(-1).numpy()
        _keep(*entries, np.uint64(seed), np.uint64(dropped), SHARES / (SHARES - dropped))
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Kept.apply(grad, ctx.seed, ctx.dropped), None, None


@compiled
@no_type_check
def _keep(values, result, seed, dropped, scale):
    """The numbers are made again for the gradient, from the seed and the place alone."""
    factor, zero = values.dtype.type(scale), values.dtype.type(0)
    whole = len(values) // PARTS
    for word in range(whole):
        bits = random_word(seed, np.uint64(word))
        for part in range(PARTS):
            some = (bits >> np.uint64(BITS * part)) & np.uint64(SHARES - 1)
            i = PARTS * word + part
            result[i] = values[i] * (factor if some >= dropped else zero)
    bits = random_word(seed, np.uint64(whole))
    for i in range(PARTS * whole, len(values)):
        some = (bits >> np.uint64(BITS * (i - PARTS * whole))) & np.uint64(SHARES - 1)
        result[i] = values[i] * (factor if some >= dropped else zero)


@numba.njit(**INLINED)
@no_type_check
def random_word(seed, place):
    """The output at a place of the generator SplitMix64 (Steele, Lea and Flood, "Fast splittable ...", OOPSLA 2014)."""
    word = seed + (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
