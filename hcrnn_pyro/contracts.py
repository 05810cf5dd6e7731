"""The seams at which a researcher swaps a part: what a prior, a guide and a model owe each other.

Axes: B rows, T time, E embedding, K contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from hcrnn_pyro.data.batches import Batch

Prior = Callable[[Batch], Tensor]
"""Called inside the model's plate over sequences: issues its latent site, returns theta on the simplex, (B, K), or
(B, T, K) for a batch of the filtering scope (:func:`hcrnn_pyro.sites.over_steps` makes either shape)."""

MakePrior = Callable[[int], Prior]
"""K -> prior. A prior with parameters is a ``torch.nn.Module``; the model takes it in."""

Guide = Callable[[Batch], Any]
"""A ``torch.nn.Module`` that issues the same latent sites inside a plate ``sequences`` of its own. It may read all of
``batch.inputs``, but in the filtering scope, at step t, x_1..x_t alone."""


@runtime_checkable
class ContextModel(Protocol):
    """What a guide may use of the model it is made for, ``make_guide(model) -> guide``."""

    contexts: int
    """Number of contexts K."""
    embedding_size: int
    """Size of an item embedding E."""
    input_dropout: float
    """Dropout on embedded inputs, a share."""

    def embed(self, items: Tensor) -> Tensor:
        """Item indices of any shape -> their embeddings, with E as a further last axis; padding embeds to zero."""
        ...
