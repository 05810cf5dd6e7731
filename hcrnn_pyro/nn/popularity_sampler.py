"""Draws items for a sampled softmax, popular ones more often.

Axes: N predictions, V items.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hcrnn_pyro.kernels.sampled_softmax import Negatives, draw_negatives


class PopularitySampler(nn.Module):
    """q(v) = (share of v among the targets so far + 1 / V) / 2.

    The shares are counted as training goes on (Yi et al. 2019 estimate frequencies from the stream as well). The
    uniform half keeps the number of items that a drawn one stands for below 2 V / D: a defensive mixture (Hesterberg
    1995, "Weighted Average Importance Sampling and Defensive Mixture Distributions").

    Args:
        items: V.
        draws: D, drawn at each call with replacement.
    """

    counts: Int[Tensor, " columns"]

    def __init__(self, items: int, draws: int) -> None:
        super().__init__()
        self.draws = draws
        self.register_buffer("counts", torch.zeros(items + 1, dtype=torch.long))

    @torch.no_grad()
    def forward(self, targets: Int[Tensor, " predictions"]) -> Negatives:
        """Draw items by the targets of the calls before, then count these."""
        weights = self.counts.double() / self.counts.sum().clamp(min=1) + 1.0 / (len(self.counts) - 1)
        weights[0] = 0.0  # padding
        negatives = draw_negatives(weights, self.draws)
        self.counts.index_add_(0, targets, torch.ones_like(targets))
        return negatives
