"""The next item where items may repeat: either one of those that the sequence has shown, or one that it has not.

Ren et al., "RepeatNet: a repeat aware neural recommendation machine for session-based recommendation", AAAI 2019, whose
two modes are here two softmaxes over disjoint sets.

Axes: ``*batch`` (Pyro's sample dimensions) and N scored predictions of all rows, V items, E embedding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from hcrnn_pyro.distributions import ItemsAtPositions
from hcrnn_pyro.kernels.next_item import target_log_probs
from hcrnn_pyro.seen import SeenItems


class RepeatOrExplore(ItemsAtPositions):
    """p(y) = r softmax over the seen items of g . w_y  for a seen y, else  (1 - r) softmax over the others of f . w_y.

    Where every item was seen, r = 1.

    Args:
        features: (*batch, N, 2 E + 1) f, g and the logit of r after each scored position, side by side.
        item_embeddings: (V + 1, E) w, row 0 for padding.
        scored: (B, Q) which positions are scored; N of them.
        seen: the items of each prefix.
    """

    def __init__(
        self,
        features: Float[Tensor, "*batch predictions feature"],
        item_embeddings: Float[Tensor, "columns embedding"],
        scored: Bool[Tensor, "rows queries"],
        seen: SeenItems,
    ) -> None:
        self.item_embeddings, self.shown = item_embeddings, seen
        super().__init__(features, len(item_embeddings), scored, seen=None)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities, normalised already."""
        explore, repeat, gate = self._parts(self.features)
        new = torch.zeros(*gate.shape[:-1], self.columns, device=gate.device)
        self.exclude_(new)
        self.shown.exclude_(new)
        is_new = new == 0
        is_old = ~is_new
        is_old[..., 0] = False  # padding is neither
        gate = gate.masked_fill(~is_new.any(dim=-1, keepdim=True), math.inf)
        exploring = _softmax_over(is_new, explore @ self.item_embeddings.T) + logsigmoid(-gate)
        repeating = _softmax_over(is_old, repeat @ self.item_embeddings.T) + logsigmoid(gate)
        return torch.where(is_old, repeating, exploring)

    def log_probs(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities of every item at every scored position."""
        return self.logits()

    def target_log_probs(self, targets: Int[Tensor, "*batch predictions"]) -> Float[Tensor, "*batch predictions"]:
        """Log-probability of one item at each scored position, without the logits of all items in memory at once."""
        copies = targets.shape[:-1].numel()
        seen, flat = self.shown.repeat(copies), targets.flatten()
        explore, repeat, gate = self._parts(self.features.flatten(0, -2))
        old = seen.contain(flat)
        is_new = logsigmoid(-gate.squeeze(-1)) + target_log_probs(explore, self.item_embeddings, flat, seen)
        repeated = old.nonzero()[:, 0]
        is_old = self._of_repeated(repeat[repeated], gate[repeated], flat[repeated], repeated, seen)
        return is_new.index_put((repeated,), is_old).view(targets.shape)

    def _of_repeated(
        self, repeat: Tensor, gate: Tensor, targets: Tensor, predictions: Tensor, seen: SeenItems
    ) -> Tensor:
        """Log-probability of targets that were seen, of some predictions."""
        among = SeenItems(seen.items, seen.rows[predictions], seen.positions[predictions])
        found = []
        for part, items in among.parts():
            scores = (repeat[part].unsqueeze(1) * self.item_embeddings[items]).sum(dim=-1)
            normaliser = scores.masked_fill(items == 0, -math.inf).logsumexp(dim=-1)
            score = torch.linalg.vecdot(repeat[part], self.item_embeddings[targets[part]])
            all_seen = (items > 0).sum(dim=-1) == self.columns - 1
            found.append(score - normaliser + logsigmoid(gate[part, 0].masked_fill(all_seen, math.inf)))
        return torch.cat(found) if found else repeat.new_zeros(0)

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.item_embeddings.shape[1]
        explore, repeat, gate = features.split([size, size, 1], dim=-1)
        return explore, repeat, gate

    def _fixed(self) -> tuple[Any, ...]:
        return self.item_embeddings, self.scored, self.shown


class RepeatHead(nn.Module):
    """What a prediction says about repeating: f -> (f, g, logit of r), g and the logit by one linear map.

    Args:
        size: E.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size + 1)

    def forward(self, features: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch feature"]:
        """The features of :class:`RepeatOrExplore`."""
        return torch.cat([features, self.linear(features)], dim=-1)


def _softmax_over(chosen: Tensor, logits: Tensor) -> Tensor:
    """Log-softmax over the chosen items, minus infinity for the others; of none, all are minus infinity."""
    among = logits.masked_fill(~chosen, -math.inf)
    return torch.where(chosen.any(dim=-1, keepdim=True), among, 0.0).log_softmax(dim=-1).masked_fill(~chosen, -math.inf)
