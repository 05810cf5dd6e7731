"""Dropout whose mask is drawn quickly on a CPU, where ``nn.Dropout`` takes several times as long for it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.errors import require

BITS = 16  # of a random number: a share is rounded to a multiple of 2^-16
SHARES = 2**BITS


class Dropout(nn.Dropout):
    """Each entry is 0 with probability p, and else divided by 1 - p; in evaluation all stay as they are.

    Source: Srivastava et al., "Dropout", JMLR 2014. On a CPU four entries share a random number of 64 bits, and p
    counts as the nearest multiple of 2^-16 below 1. On other devices it is ``nn.Dropout``.

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
        if not self.training or self.p == 0.0 or input.device.type != "cpu":
            return super().forward(input)
        dropped = min(round(self.p * SHARES), SHARES - 1)
        return input * (keep_mask(input, dropped).to(input.dtype) * (SHARES / (SHARES - dropped)))


def keep_mask(like: Tensor, dropped: int) -> Tensor:
    """A mask in the shape of a tensor, False with probability ``dropped / SHARES``."""
    words = torch.empty(-(-like.numel() * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    numbers = words.view(torch.int16)[: like.numel()].view(like.shape)
    return numbers >= dropped - SHARES // 2
