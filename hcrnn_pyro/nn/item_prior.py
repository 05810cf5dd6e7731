"""The prior on item embeddings, and where they start.

Axes: V items, E embedding.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from pyro import distributions as dist
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import prior_on_parameter
from hcrnn_pyro.spectral import ItemEmbeddings, spectral_embeddings

SMALLEST_SCALE = 1e-6  # below, squares of differences leave single precision


def check_scale(scale: float | None) -> None:
    """Refuse what is no standard deviation of item embeddings.

    Raises:
        UserError: it is not.
    """
    require(
        scale is None or SMALLEST_SCALE <= scale < math.inf,
        f"--item-scale is a standard deviation of at least {SMALLEST_SCALE:g}, or None for no prior; got {scale}.",
    )


class ItemPrior(nn.Module):
    """p(e_v) = Normal(location_v, scale^2 I) for the embedding e_v of every item.

    Training finds the maximum a posteriori. The location is the item's spectral embedding, which makes it an
    empirical-Bayes prior, or 0. So items that training hardly shows stay at what stands near them, and the others move
    as far as their data carry them.

    Args:
        items: V.
        size: E.
        start: ``spectral``: embeddings start at the spectral ones, and the prior lies around them. ``flat``: they start
            at noise, and the prior lies around 0.
        scale: standard deviation, see :func:`check_scale`; ``None`` for no prior.
    """

    location: Tensor

    def __init__(self, items: int, size: int, start: ItemEmbeddings, scale: float | None = None) -> None:
        super().__init__()
        self.start, self.scale, self.predictions = start, scale, 0
        # Training alone reads it, and training prepares its model first: it need not be kept with the weights.
        self.register_buffer("location", torch.zeros(items + 1, size), persistent=False)

    def prepare(self, train: Sequences) -> None:
        """Read location and size of the training part."""
        items, size = self.location.shape[0] - 1, self.location.shape[1]
        self.predictions = train.predictions
        if self.start == "spectral":
            self.location.copy_(spectral_embeddings(train, items, size))

    @torch.no_grad()
    def start_(self, table: Float[Tensor, "columns embedding"]) -> None:
        """Put embeddings where they start; flat ones stay at the noise that they have."""
        if self.start == "spectral":
            table.copy_(self.location)

    def observe(self, name: str, table: Float[Tensor, "columns embedding"], batch: Batch) -> None:
        """Issue the embeddings as a site, in training: it adds the batch's share of log p(embeddings) to the ELBO.

        Args:
            name: of the site.
            table: (V + 1, E) parameter, or part of one; row 0 is padding.
            batch: whose share of the training part's predictions is its share of the prior.
        """
        if self.training and self.scale is not None:
            require(self.predictions > 0, "The prior on item embeddings needs prepare(train) before training.")
            prior = dist.Normal(self.location[1:], self.scale).to_event(2)
            prior_on_parameter(name, prior, table[1:], batch.scored.sum() / self.predictions)
