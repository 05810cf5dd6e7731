r"""Losses that compare a target with drawn items, its negatives, in place of a likelihood.

With r the score of the target, r_j that of a negative, and p_j the shares of the draws of a prediction's negatives:

    bpr       sum_j p_j (-log sigmoid(r - r_j))                     Rendle et al., UAI 2009
    top1      sum_j p_j (sigmoid(r_j - r) + sigmoid(r_j^2))         Hidasi et al., ICLR 2016
    bpr-max   -log( sum_j s_j sigmoid(r - r_j) ) + sum_j s_j r_j^2  Hidasi and Karatzoglou, CIKM 2018

with s_j proportional to p_j exp(r_j). A model trained so ranks; what its softmax gives is no estimate of the data's
distribution, and ``nll`` no measure of fit.

Axes: N predictions, U distinct negatives of all predictions, V items, E features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.kernels.sampled_softmax import Negatives, leave_out_
from hcrnn_pyro.seen import SeenItems

RankingLoss = Literal["bpr", "top1", "bpr-max"]

Scores = Float[Tensor, "predictions distinct"]
Targets = Float[Tensor, "predictions 1"]
Losses = Float[Tensor, " predictions"]


def bpr(target: Targets, negative: Scores, log_shares: Scores) -> Losses:
    """Every negative is to score below the target.

    Args:
        target: r.
        negative: r_j.
        log_shares: log p_j; minus infinity for what is no negative of a prediction.
    """
    return -(log_shares.exp() * functional.logsigmoid(target - negative)).sum(dim=1)


def top1(target: Targets, negative: Scores, log_shares: Scores) -> Losses:
    """Every negative is to score below the target, and near zero; arguments as for :func:`bpr`."""
    return (log_shares.exp() * ((negative - target).sigmoid() + negative.square().sigmoid())).sum(dim=1)


def bpr_max(target: Targets, negative: Scores, log_shares: Scores) -> Losses:
    """The highest negatives are to score below the target, and near zero; arguments as for :func:`bpr`."""
    log_weights = (log_shares + negative).log_softmax(dim=1)
    below = (log_weights + functional.logsigmoid(target - negative)).logsumexp(dim=1)
    return (log_weights.exp() * negative.square()).sum(dim=1) - below


RANKING_LOSSES: dict[RankingLoss, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bpr": bpr,
    "top1": top1,
    "bpr-max": bpr_max,
}


def in_batch_negatives(targets: Int[Tensor, " predictions"]) -> Negatives:
    """The targets of a batch as negatives of each other: an item is drawn as often as it is popular."""
    items, times = targets.unique(return_counts=True)
    return Negatives(items, times.log())


class RankedNextItem(NextItem):
    """A :class:`NextItem` whose ``log_prob`` is minus a ranking loss, for training.

    Args:
        plain: the likelihood that evaluation uses.
        negatives: items that stand beside every prediction; it leaves out its own target and what it has seen.
        loss: which one.
    """

    def __init__(self, plain: NextItem, negatives: Negatives, loss: RankingLoss) -> None:
        super().__init__(plain.features, plain.item_embeddings, plain.scored, plain.seen)
        self.negatives = negatives
        self.loss: RankingLoss = loss

    def expand(self, batch_shape: Any, _instance: Any = None) -> RankedNextItem:
        """The same with further sample dimensions on the left."""
        plain = NextItem(self.features, self.item_embeddings, self.scored, self.seen)
        return RankedNextItem(plain.expand(batch_shape), self.negatives, self.loss)

    def _target_log_probs(self, features: Tensor, targets: Tensor, seen: SeenItems | None) -> Tensor:
        return -ranking_losses(features, self.item_embeddings, targets, self.negatives, self.loss, seen)


def ranking_losses(
    features: Float[Tensor, "predictions embedding"],
    item_embeddings: Float[Tensor, "columns embedding"],
    targets: Int[Tensor, " predictions"],
    negatives: Negatives,
    loss: RankingLoss,
    seen: SeenItems | None = None,
) -> Float[Tensor, " predictions"]:
    """The loss of each prediction; zero where no negative is left for it.

    Args:
        features: what the model says at each prediction.
        item_embeddings: (V + 1, E), row 0 for padding.
        targets: item indices 1..V.
        negatives: the drawn items, the same for all predictions.
        loss: which one.
        seen: items that are no negatives of a prediction; ``None`` for none.
    """
    log_weights = negatives.log_weights.to(features.dtype).repeat(len(features), 1)  # (N, U)
    leave_out_(log_weights, negatives.items, targets.unsqueeze(1))
    if seen is not None:
        for part, items in seen.parts():
            leave_out_(log_weights[part], negatives.items, items)
    # One look-up: each has a gradient of the size of the whole catalogue.
    chosen = functional.embedding(torch.cat([targets, negatives.items]), item_embeddings)
    of_targets, of_negatives = chosen.split([len(targets), len(negatives.items)])
    target_scores, scores = torch.linalg.vecdot(features, of_targets), features @ of_negatives.T
    some = (log_weights > -torch.inf).any(dim=1)  # predictions that have a negative
    losses = RANKING_LOSSES[loss](target_scores[some].unsqueeze(1), scores[some], log_weights[some].log_softmax(dim=1))
    return torch.zeros_like(target_scores).masked_scatter(some, losses)
