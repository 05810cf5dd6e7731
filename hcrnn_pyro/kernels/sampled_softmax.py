r"""log p(target) under a softmax whose normaliser is estimated from a few drawn items.

    log p(y_n) ~ f_n . w_{y_n} - log( exp(f_n . w_{y_n}) + sum_j exp(f_n . w_j - log(D q_j)) )

over D items j drawn with probabilities q, those equal to the target left out: importance sampling of the softmax's
normaliser (Bengio and Senecal 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
Language Model"), with the log-Q correction of each drawn item (Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling
for Large Corpus Item Recommendations"). The target is always there, so it needs no correction. The estimate of
the normaliser is unbiased, and that of log p is too high on average by a term that falls as 1 / D.

Axes: N predictions, V items, U distinct drawn items, E embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from hcrnn_pyro.seen import SeenItems


class Negatives(NamedTuple):
    """Items drawn to stand for the whole catalogue.

    Attributes:
        items: (U,) item indices, each once, ascending.
        log_weights: (U,) log of (number of times drawn / (D q)), the number of items that each stands for.
    """

    items: Int[Tensor, " distinct"]
    log_weights: Float[Tensor, " distinct"]


def draw_negatives(weights: Float[Tensor, " columns"], draws: int) -> Negatives:
    """Draw items with replacement.

    Args:
        weights: (V + 1,) float64, proportional to q; above 0 for every item and 0 for padding.
        draws: D.
    """
    cumulative = weights.cumsum(0)  # single precision would not tell the probabilities of a million items apart
    thrown = torch.rand(draws, dtype=weights.dtype, device=weights.device) * cumulative[-1]
    drawn = torch.searchsorted(cumulative, thrown, right=True).clamp_(max=len(weights) - 1)
    items, times = drawn.unique(return_counts=True)
    expected = draws * weights[items] / cumulative[-1]
    return Negatives(items, (times / expected).log().float())


def sampled_log_probs(
    features: Float[Tensor, "predictions embedding"],
    item_embeddings: Float[Tensor, "columns embedding"],
    targets: Int[Tensor, " predictions"],
    negatives: Negatives,
    seen: SeenItems | None = None,
) -> Float[Tensor, " predictions"]:
    """Estimated log-probability of each prediction's target; gradients reach the drawn items and the targets alone.

    Args:
        features: f, what the model says at each prediction.
        item_embeddings: w, (V + 1, E), row 0 for padding.
        targets: item indices 1..V.
        negatives: the drawn items, the same for all predictions.
        seen: items of probability 0 at each prediction; ``None`` for none.
    """
    # One look-up: each has a gradient of the size of the whole catalogue.
    chosen = functional.embedding(torch.cat([targets, negatives.items]), item_embeddings)
    of_targets, of_negatives = chosen.split([len(targets), len(negatives.items)])
    scores = features @ of_negatives.T + negatives.log_weights.to(features.dtype)  # (N, U)
    leave_out_(scores, negatives.items, targets.unsqueeze(1))
    target_scores = torch.linalg.vecdot(features, of_targets)
    if seen is not None:
        for part, items in seen.parts():
            leave_out_(scores[part], negatives.items, items)
        target_scores = target_scores.masked_fill(seen.contain(targets), -torch.inf)
    return target_scores - torch.logaddexp(target_scores, scores.logsumexp(dim=1))


def leave_out_(scores: Tensor, columns: Tensor, items: Tensor) -> None:
    """Make the scores (n, U) of the columns whose item is among a row's ``items`` (n, M) minus infinity."""
    found = torch.searchsorted(columns, items).clamp_(max=len(columns) - 1)
    rows, places = (columns[found] == items).nonzero(as_tuple=True)
    scores[rows, found[rows, places]] = -torch.inf
