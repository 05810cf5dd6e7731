"""From a trained pair and a batch to the probabilities of the next items.

The posterior of theta is read through the guide, and the likelihood through the model: no second formula for either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.sites import centre, is_latent

Scorer = Callable[[Batch], Float[Tensor, "predictions columns"]]
"""Batch -> (N, V + 1) log-probabilities (or scores) of every item at each scored position; column 0 is padding."""


@dataclass(frozen=True, eq=False)
class PosteriorPredictive:
    """p(y_t | x_1..x_{t-1}) under the guide's posterior of the context proportions.

    Attributes:
        model: the Pyro model.
        guide: its guide.
        samples: 0 to put theta at the posterior mean of its latent, as the authors do; S >= 1 to average the
            probabilities over S posterior draws.
    """

    model: nn.Module
    guide: nn.Module
    samples: int = 0

    def to(self, device: torch.device | str) -> PosteriorPredictive:
        """The same pair, moved to a device."""
        return PosteriorPredictive(self.model.to(device), self.guide.to(device), self.samples)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "predictions columns"]:
        """Log-probabilities at each scored position.

        The guide reads the whole row, so in a batch of the sequence scope it would see what is to be predicted: pass
        batches of the prefix scope (exact) or the filtering scope (one pass).
        """
        if batch.scope == "sequence":
            raise ValueError(
                "A row of the sequence scope shows the guide the items to predict; use prefix or filtering."
            )
        if self.samples == 0:
            return self._log_probs(batch, posterior_means(self.guide, batch))
        draws = (self._log_probs(batch, posterior_draw(self.guide, batch)) for _ in range(self.samples))
        total = next(draws)
        for draw in draws:
            torch.logaddexp(total, draw, out=total)
        return total.sub_(math.log(self.samples))

    def _log_probs(self, batch: Batch, latents: dict[str, Tensor]) -> Tensor:
        conditioned = poutine.condition(self.model, data=latents)
        likelihood: Any = poutine.trace(conditioned).get_trace(batch).nodes["next_item"]["fn"]
        log_probs: Tensor = likelihood.log_probs()
        return log_probs


def posterior_means(guide: Callable[[Batch], Any], batch: Batch) -> dict[str, Tensor]:
    """The mean of every latent site of the guide, by name; see :func:`hcrnn_pyro.sites.centre`."""
    return {name: centre(site["fn"]) for name, site in _latent_sites(guide, batch)}


def posterior_draw(guide: Callable[[Batch], Any], batch: Batch) -> dict[str, Tensor]:
    """One draw of every latent site of the guide, by name."""
    return {name: site["value"] for name, site in _latent_sites(guide, batch)}


def _latent_sites(guide: Callable[[Batch], Any], batch: Batch) -> list[tuple[str, Any]]:
    nodes = poutine.trace(guide).get_trace(batch).nodes
    return [(name, site) for name, site in nodes.items() if is_latent(site)]
