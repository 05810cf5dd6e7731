"""Latent sites: which they are, and their shape (one value per row, or one per step in the filtering scope)."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.util import site_is_subsample

from hcrnn_pyro.data.batches import Batch


def is_latent(site: Any) -> bool:
    """Whether a Pyro message or trace node is an unobserved random variable (and not a plate's index)."""
    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)


def over_steps(distribution: TorchDistributionMixin, batch: Batch) -> TorchDistributionMixin:
    """Give a per-row distribution its time axis where the batch's scope wants one.

    Args:
        distribution: event shape (K,); batch shape broadcastable to (B,), or to (B, T) in the filtering scope.
        batch: its scope decides.

    Returns:
        Batch shape (B,) and event shape (K,), or in the filtering scope event shape (T, K) in which padded steps
        contribute nothing to the log-probability.
    """
    if batch.scope != "filtering":
        return distribution.expand(torch.Size([batch.size]))
    return distribution.expand(batch.inputs.shape).mask(batch.valid).to_event(1)
