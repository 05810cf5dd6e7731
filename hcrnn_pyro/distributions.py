"""Next-item likelihoods as Pyro distributions.

Axes: ``*batch`` (Pyro's sample dimensions) and B rows, Q predictions of a row, N scored predictions of all rows, V
items, E embedding. Item 0 is padding: it has a column, and probability 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from hcrnn_pyro.kernels.next_item import BLOCK, target_log_probs
from hcrnn_pyro.kernels.sampled_softmax import Negatives, sampled_log_probs
from hcrnn_pyro.seen import SeenItems

Likelihood = Literal["categorical", "without-replacement"]
LikelihoodOfHCRNN = Literal[Likelihood, "repeat-explore"]
SMALLEST = 1e-30  # of probabilities in single precision


class ItemsAtPositions(TorchDistribution):
    """p(y) = product over the scored positions of Categorical(y_t; softmax(logits_t)); a subclass says the logits.

    Batch shape ``(*batch, B)``, event shape ``(Q,)``: time is inside the event, and a row that scores fewer than Q
    positions leaves the others out, so padding adds nothing.

    Args:
        features: (*batch, N, F) what the logits of each scored position are made of, rows first, then positions.
        columns: V + 1.
        scored: (B, Q) which positions are scored; N of them.
        seen: the items of probability 0 at each prediction, besides padding; ``None`` for none.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self,
        features: Float[Tensor, "*batch predictions feature"],
        columns: int,
        scored: Bool[Tensor, "rows queries"],
        seen: SeenItems | None,
    ) -> None:
        self.features = features
        self.columns = columns
        self.scored = scored
        self.seen = seen
        super().__init__(torch.Size((*features.shape[:-2], len(scored))), scored.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Item indices; the entries at positions that are not scored are not read."""
        return constraints.independent(constraints.integer_interval(0, self.columns - 1), 1)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Unnormalised log-probabilities of every item at every scored position."""
        raise NotImplementedError

    def exclude_(
        self, logits: Float[Tensor, "*batch predictions columns"]
    ) -> Float[Tensor, "*batch predictions columns"]:
        """The same logits with minus infinity for padding and seen items."""
        logits[..., 0] = -math.inf
        if self.seen is not None:
            self.seen.exclude_(logits)
        return logits

    def log_probs(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities of every item at every scored position."""
        logits = self.logits()
        if logits.requires_grad:
            return logits.log_softmax(dim=-1)
        # In place, some at a time: a second table of this size would cost more than its sums.
        rows = logits.flatten(0, -2)
        for some in rows.split(max(1, BLOCK // rows.shape[1])):
            some.copy_(some.log_softmax(dim=-1))
        return logits

    def log_prob(self, value: Int[Tensor, "*#batch rows queries"]) -> Float[Tensor, "*batch rows"]:
        """Log-probability of each row's scored items, summed over the row."""
        places = self.scored.flatten().nonzero().squeeze(1)
        targets = value.flatten(-2).index_select(-1, places).expand(self.features.shape[:-1])  # (*batch, N)
        rows = places // self.scored.shape[1]
        log_probability = self.target_log_probs(targets)
        return log_probability.new_zeros(self.batch_shape).index_add(-1, rows, log_probability)

    def target_log_probs(self, targets: Int[Tensor, "*batch predictions"]) -> Float[Tensor, "*batch predictions"]:
        """Log-probability of one item at each scored position."""
        return self.log_probs().gather(-1, targets.unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Int[Tensor, "*shape"]:
        """Draw every scored item given the observed prefix before it; 0 at the positions that are not scored."""
        probabilities = self.log_probs().exp().expand(*sample_shape, *self.features.shape[:-1], -1)
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        drawn = torch.multinomial(flat, 1).reshape(probabilities.shape[:-1])
        items = drawn.new_zeros(*drawn.shape[:-1], *self.scored.shape)
        items[..., self.scored] = drawn
        return items

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ItemsAtPositions:
        """The same distribution with further sample dimensions on the left."""
        extra = torch.Size(batch_shape)[:-1]
        return type(self)(self.features.expand(*extra, *self.features.shape[-2:]), *self._fixed())

    def _fixed(self) -> tuple[Any, ...]:
        """The arguments after the features."""
        raise NotImplementedError


class NextItem(ItemsAtPositions):
    """p(y | features): the logits of a scored position are features_t . item embeddings.

    Where embeddings are uncertain, w_v ~ Normal(item embedding v, diag(variance v)), an item's odds are their mean over
    the embeddings: E exp(f . w_v) = exp(f . mean_v + sum_d f_d^2 variance_vd / 2).

    Args:
        features: (*batch, N, E) what the model says after each scored position, rows first, then positions.
        item_embeddings: (V + 1, E), row 0 for padding.
        scored: (B, Q) which positions are scored; N of them.
        seen: the items of probability 0 at each prediction, besides padding; ``None`` for none.
        variance: (V + 1, E) of the item embeddings; ``None`` where they are known.
    """

    def __init__(
        self,
        features: Float[Tensor, "*batch predictions embedding"],
        item_embeddings: Float[Tensor, "columns embedding"],
        scored: Bool[Tensor, "rows queries"],
        seen: SeenItems | None = None,
        variance: Float[Tensor, "columns embedding"] | None = None,
    ) -> None:
        if variance is not None:
            features = torch.cat([features, 0.5 * features.square()], dim=-1)
            item_embeddings = torch.cat([item_embeddings, variance], dim=-1)
        self.item_embeddings = item_embeddings
        super().__init__(features, len(item_embeddings), scored, seen)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Inner products with the embeddings of all items."""
        return self.exclude_(self.features @ self.item_embeddings.T)

    def target_log_probs(self, targets: Int[Tensor, "*batch predictions"]) -> Float[Tensor, "*batch predictions"]:
        """Log-probability of one item at each scored position, without the logits of all items in memory at once."""
        copies = targets.shape[:-1].numel()
        seen = None if self.seen is None else self.seen.repeat(copies)
        return self._target_log_probs(self.features.flatten(0, -2), targets.flatten(), seen).view(targets.shape)

    def _target_log_probs(self, features: Tensor, targets: Tensor, seen: SeenItems | None) -> Tensor:
        return target_log_probs(features, self.item_embeddings, targets, seen)

    def _fixed(self) -> tuple[Any, ...]:
        return self.item_embeddings, self.scored, self.seen


class ContextMixture(ItemsAtPositions):
    """p(y) = sum_k w_k p_k(y),  p_k(y) proportional to exp(l(y)) b_k(y): a context is drawn, then an item of it.

    Args:
        weights: (*batch, N, K) w, probabilities of the contexts at each scored position.
        local_logits: (N, V + 1) l, what the sequence says whatever its context, less the highest of each row (see
            :func:`below_highest`); minus infinity where y cannot be.
        contexts: (K, V + 1) b, item probabilities of each context; 0 for padding.
        normalisers: (N, K) sum_y exp(l(y)) b_k(y), see :func:`context_normalisers`.
        scored: (B, Q) which positions are scored; N of them.
    """

    def __init__(
        self,
        weights: Float[Tensor, "*batch predictions contexts"],
        local_logits: Float[Tensor, "predictions columns"],
        contexts: Float[Tensor, "contexts columns"],
        normalisers: Float[Tensor, "predictions contexts"],
        scored: Bool[Tensor, "rows queries"],
    ) -> None:
        self.local_logits, self.contexts, self.normalisers = local_logits, contexts, normalisers
        super().__init__(weights, contexts.shape[1], scored, seen=None)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities, normalised already."""
        mixed = (self.features / self.normalisers) @ self.contexts
        return mixed.clamp(min=SMALLEST).log() + self.local_logits

    def log_probs(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities of every item at every scored position."""
        return self.logits()

    def target_log_probs(self, targets: Int[Tensor, "*batch predictions"]) -> Float[Tensor, "*batch predictions"]:
        """Log-probability of one item at each scored position."""
        of_contexts = self.contexts.T[targets]  # (*batch, N, K)
        mixed = (self.features / self.normalisers * of_contexts).sum(dim=-1)
        local = self.local_logits.expand(*targets.shape, -1)
        return mixed.clamp(min=SMALLEST).log() + local.gather(-1, targets.unsqueeze(-1)).squeeze(-1)

    def _fixed(self) -> tuple[Any, ...]:
        return self.local_logits, self.contexts, self.normalisers, self.scored


class ContextMixtureWithGaps(ContextMixture):
    """A :class:`ContextMixture` whose local logits are missing at a share r of the predictions.

    Which ones is summed out: log_prob is (1 - r) log p(y) + r log p_0(y), the expected log-probability, where p_0 knows
    the contexts alone. Predictions and samples are those where nothing is missing.

    Args:
        weights: as for :class:`ContextMixture`.
        local_logits: as for :class:`ContextMixture`.
        contexts: as for :class:`ContextMixture`.
        normalisers: as for :class:`ContextMixture`.
        scored: as for :class:`ContextMixture`.
        gap_logits: (N, V + 1) the local logits where they are missing: 0, or minus infinity where y cannot be.
        gap_normalisers: (N, K) the normalisers that go with them.
        share: r, in [0, 1).
    """

    def __init__(
        self,
        weights: Float[Tensor, "*batch predictions contexts"],
        local_logits: Float[Tensor, "predictions columns"],
        contexts: Float[Tensor, "contexts columns"],
        normalisers: Float[Tensor, "predictions contexts"],
        scored: Bool[Tensor, "rows queries"],
        gap_logits: Float[Tensor, "predictions columns"],
        gap_normalisers: Float[Tensor, "predictions contexts"],
        share: float,
    ) -> None:
        super().__init__(weights, local_logits, contexts, normalisers, scored)
        self.gap_logits, self.gap_normalisers, self.share = gap_logits, gap_normalisers, share

    def target_log_probs(self, targets: Int[Tensor, "*batch predictions"]) -> Float[Tensor, "*batch predictions"]:
        """Expected log-probability of one item at each scored position."""
        gaps = ContextMixture(self.features, self.gap_logits, self.contexts, self.gap_normalisers, self.scored)
        whole = super().target_log_probs(targets)
        return torch.lerp(whole, gaps.target_log_probs(targets), self.share)

    def _fixed(self) -> tuple[Any, ...]:
        return *super()._fixed(), self.gap_logits, self.gap_normalisers, self.share


def context_normalisers(
    local_logits: Float[Tensor, "predictions columns"], contexts: Float[Tensor, "contexts columns"]
) -> Float[Tensor, "predictions contexts"]:
    """sum_y exp(l(y)) b_k(y), of each position and context; the highest l of a row is 0."""
    return (local_logits.exp() @ contexts.T).clamp(min=SMALLEST)


def below_highest(logits: Float[Tensor, "*rows columns"]) -> Float[Tensor, "*rows columns"]:
    """The same logits less their row's highest."""
    return logits - logits.detach().max(dim=-1, keepdim=True).values


class SampledNextItem(NextItem):
    """A :class:`NextItem` whose ``log_prob`` estimates the softmax's normaliser from drawn items, for training.

    Args:
        features: as for :class:`NextItem`.
        item_embeddings: as for :class:`NextItem`.
        scored: as for :class:`NextItem`.
        seen: as for :class:`NextItem`.
        negatives: the drawn items and what each stands for.
    """

    def __init__(
        self,
        features: Float[Tensor, "*batch predictions embedding"],
        item_embeddings: Float[Tensor, "columns embedding"],
        scored: Bool[Tensor, "rows queries"],
        seen: SeenItems | None,
        negatives: Negatives,
    ) -> None:
        super().__init__(features, item_embeddings, scored, seen)
        self.negatives = negatives

    def _target_log_probs(self, features: Tensor, targets: Tensor, seen: SeenItems | None) -> Tensor:
        return sampled_log_probs(features, self.item_embeddings, targets, self.negatives, seen)

    def _fixed(self) -> tuple[Any, ...]:
        return *super()._fixed(), self.negatives
