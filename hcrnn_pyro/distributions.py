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
from torch import Tensor, nn

Likelihood = Literal["categorical", "without-replacement"]


class NextItem(TorchDistribution):
    """p(y | features) = product over the scored positions of Categorical(y_t; softmax(features_t . item embeddings)).

    Batch shape ``(*batch, B)``, event shape ``(Q,)``: time is inside the event, and a row that scores fewer than Q
    positions leaves the others out, so padding adds nothing.

    Args:
        features: (*batch, N, E) what the model says after each scored position, rows first, then positions.
        item_embeddings: (V + 1, E), row 0 for padding.
        scored: (B, Q) which positions are scored; N of them.
        excluded: (N, V + 1) items of probability 0 at a prediction, besides padding; ``None`` for none.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self,
        features: Float[Tensor, "*batch predictions embedding"],
        item_embeddings: Float[Tensor, "columns embedding"],
        scored: Bool[Tensor, "rows queries"],
        excluded: Bool[Tensor, "predictions columns"] | None = None,
    ) -> None:
        self.features = features
        self.item_embeddings = item_embeddings
        self.scored = scored
        self.excluded = excluded
        super().__init__(torch.Size((*features.shape[:-2], len(scored))), scored.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Item indices; the entries at positions that are not scored are not read."""
        return constraints.independent(constraints.integer_interval(0, len(self.item_embeddings) - 1), 1)

    def logits(self) -> Float[Tensor, "*batch predictions columns"]:
        """Unnormalised log-probabilities of every item at every scored position."""
        logits = self.features @ self.item_embeddings.T
        logits[..., 0] = -math.inf
        if self.excluded is not None:
            logits = logits.masked_fill(self.excluded, -math.inf)
        return logits

    def log_probs(self) -> Float[Tensor, "*batch predictions columns"]:
        """Log-probabilities of every item at every scored position."""
        return self.logits().log_softmax(dim=-1)

    def log_prob(self, value: Int[Tensor, "*#batch rows queries"]) -> Float[Tensor, "*batch rows"]:
        """Log-probability of each row's scored items, summed over the row."""
        targets = value[..., self.scored].expand(self.features.shape[:-1])  # (*batch, N)
        logits = self.features @ self.item_embeddings[1:].T
        if self.excluded is not None:
            logits = logits.masked_fill(self.excluded[..., 1:], -math.inf)
        losses = nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten() - 1, reduction="none")
        log_probability = -losses.view(targets.shape)
        rows = self.scored.nonzero()[:, 0]
        return log_probability.new_zeros(self.batch_shape).index_add(-1, rows, log_probability)

    def sample(self, sample_shape: Sequence[int] = ()) -> Int[Tensor, "*shape"]:
        """Draw every scored item given the observed prefix before it; 0 at the positions that are not scored."""
        probabilities = self.log_probs().exp().expand(*sample_shape, *self.features.shape[:-1], -1)
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        drawn = torch.multinomial(flat, 1).reshape(probabilities.shape[:-1])
        items = drawn.new_zeros(*drawn.shape[:-1], *self.scored.shape)
        items[..., self.scored] = drawn
        return items

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> NextItem:
        """The same distribution with further sample dimensions on the left."""
        extra = torch.Size(batch_shape)[:-1]
        return NextItem(self.features.expand(*extra, *self.features.shape[-2:]), *self._fixed())

    def _fixed(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.item_embeddings, self.scored, self.excluded


def seen_items(
    inputs: Int[Tensor, "rows time"],
    queries: Int[Tensor, "rows queries"],
    scored: Bool[Tensor, "rows queries"],
    items: int,
) -> Bool[Tensor, "predictions columns"]:
    """Which items a row has shown up to and including each scored position.

    Args:
        inputs: item indices, 0 for padding.
        queries: positions 0..T-1.
        scored: which queries count; N of them.
        items: V.

    Returns:
        (N, V + 1); column 0 (padding) is False or True and means nothing.
    """
    time = inputs.shape[1]
    positions = torch.arange(time, device=inputs.device, dtype=torch.int32).expand_as(inputs)
    first = inputs.new_full((len(inputs), items + 1), time, dtype=torch.int32)
    first = first.scatter_reduce(1, inputs, positions, reduce="amin")  # (B, V + 1) first position of each item
    rows = scored.nonzero()[:, 0]
    return first[rows] <= queries[scored].unsqueeze(-1)
