"""The guide of a model without a latent variable: there is no posterior, so it issues nothing."""

from __future__ import annotations

from torch import nn

from hcrnn_pyro.data.batches import Batch


class NoLatent(nn.Module):
    """Issues no site; with it the ELBO is the log-likelihood.

    Args:
        model: the model, of which nothing is used.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()

    def forward(self, batch: Batch) -> None:
        """Nothing to issue."""
