"""The next item of a model that gives scores: counts or likenesses, where others give logits.

Axes: ``*batch`` (Pyro's sample dimensions) and B rows, Q predictions of a row, N scored predictions, V items.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hcrnn_pyro.distributions import ItemsAtPositions
from hcrnn_pyro.seen import SeenItems

DROPPED_BITS = 12  # of the 52 of a score's fraction


class ScoredItems(ItemsAtPositions):
    """p(y) = product over the scored positions of Categorical(y_t; (score_t + a_t) / its sum over the items).

    Scores rank, and have no likelihood of their own. This makes a distribution of them, so that their model is a Pyro
    program like the others: probabilities are proportional to the scores, and the V items share a smoothing mass as
    large as the smallest positive score of the prediction, a_t = min / V each (of counts, that is the posterior mean
    under Perks' prior, Dirichlet(1 / V)). Its nll compares models of this kind and says little beside a trained one.

    Log-probabilities keep the order of the scores and their ties exactly. Two scores are tied where 40 binary digits
    of them agree: sums of the same numbers in another order do, and what differs there still does so in a logarithm.

    Args:
        scores: (*batch, N, V + 1) at least 0, float64; column 0 is not read.
        scored: (B, Q) which positions are scored; N of them.
        seen: the items of probability 0 at each prediction, besides padding; ``None`` for none.
    """

    def __init__(
        self,
        scores: Float[Tensor, "*batch predictions columns"],
        scored: Bool[Tensor, "rows queries"],
        seen: SeenItems | None = None,
    ) -> None:
        if scores.dtype != torch.float64:
            raise ValueError(f"Scores are float64, as less would tie some that differ; got {scores.dtype}.")
        super().__init__(scores, scores.shape[-1], scored, seen)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Logarithms of the smoothed scores."""
        scores = _rounded(self.features)
        items = scores[..., 1:]
        smallest = items.masked_fill(items <= 0, torch.inf).amin(dim=-1, keepdim=True)
        smallest.masked_fill_(smallest.isinf(), 1.0)  # no item has a score: all are equally likely
        logits = scores.add_(smallest / items.shape[-1]).log_()
        return self.exclude_(logits)

    def _fixed(self) -> tuple[Any, ...]:
        return self.scored, self.seen


def _rounded(scores: Tensor) -> Tensor:
    """Scores to the nearest of 40 binary digits, by their bits: those of non-negative floats rise with the number."""
    bits = scores.contiguous().view(torch.int64)
    return (bits + (1 << DROPPED_BITS - 1)).bitwise_and_(-1 << DROPPED_BITS).view(torch.float64)
