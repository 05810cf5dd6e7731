"""The seams at which a researcher swaps a part: what a prior, a guide and a model owe each other.

Axes: B rows, T time, E embedding, K contexts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences

Prior = Callable[[Batch], Tensor]
"""Called inside the model's plate over sequences: issues its latent site, returns theta on the simplex, (B, K), or
(B, T, K) for a batch of the filtering scope (:func:`hcrnn_pyro.sites.over_steps` makes either shape)."""

MakePrior = Callable[[int], Prior]
"""K -> prior. A prior with parameters is a ``torch.nn.Module``; the model takes it in."""


class MakeModel(Protocol):
    """A model's class or factory, ``make_model(items=V, **settings) -> torch.nn.Module``.

    One whose model has context proportions takes ``make_prior`` as well (see :func:`has_latent`), and may name in a
    dict ``defaults`` the ``prior`` and the ``guide`` that it has when none is asked for.
    """

    @property
    def config(self) -> type:
        """The frozen dataclass of its settings, with a default for each; on the command line they are flags."""
        ...

    def __call__(self, *, items: int, **settings: Any) -> nn.Module:
        """Build the model for V items."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """A model that counts something in the training part before it is trained, or instead."""

    def prepare(self, train: Sequences) -> None:
        """Read the training part; called once, before the first epoch. It depends on nothing random."""
        ...


def has_latent(make_model: Callable[..., Any]) -> bool:
    """Whether a model has a latent, and so a prior and a guide: whether its factory takes ``make_prior``."""
    return "make_prior" in inspect.signature(make_model).parameters


def has_parameters(*parts: nn.Module) -> bool:
    """Whether a pair is trained. One without parameters is counted instead, by :class:`Prepared`."""
    return any(parameter.requires_grad for part in parts for parameter in part.parameters())


Guide = Callable[[Batch], Any]
"""A ``torch.nn.Module`` that issues the same latent sites inside a plate ``sequences`` of its own. It may read all of
``batch.inputs``, but in the filtering scope, at step t, x_1..x_t alone."""


@runtime_checkable
class ContextModel(Protocol):
    """What a guide may use of the model it is made for, ``make_guide(model) -> guide``."""

    if TYPE_CHECKING:  # isinstance, from Python 3.12 on, does not find what nn.Module keeps in tables: submodules
        prior: Prior
        """The prior on the context proportions; :func:`hcrnn_pyro.sites.latent_sites` reads from it what to infer."""
    contexts: int
    """Number of contexts K."""
    embedding_size: int
    """Size of an item embedding E."""
    input_dropout: float
    """Dropout on embedded inputs, a share."""

    def context_vectors(self) -> Tensor:
        """M_global, (K, E): a vector for each context, in the space of the item embeddings."""
        ...

    def embed(self, items: Tensor) -> Tensor:
        """Item indices of any shape -> their embeddings, with E as a further last axis; padding embeds to zero."""
        ...
