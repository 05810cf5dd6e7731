"""Sequences that a trained model would write: latents from the prior, then item after item from its own predictions.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.draws import POSITIONS
from hcrnn_pyro.posterior.joint import frozen, seeded
from hcrnn_pyro.sites import is_latent


@dataclass(frozen=True, eq=False)
class Simulation:
    """Sequences and what they were made from.

    Attributes:
        sequences: as long as the given ones, with their names, times and first items.
        latents: site -> (B, ...) the prior's draws, one a sequence.
        theta: (B, K) the context proportions that the model makes of them.
    """

    sequences: Sequences
    latents: Mapping[str, Tensor]
    theta: Float[Tensor, "rows contexts"]


def simulate(
    model: Callable[[Batch], Any], sequences: Sequences, seed: int = 0, device: torch.device | str = "cpu"
) -> Simulation:
    """Write sequences step by step, each under one theta for all of it, the scope of the paper's model.

    Args:
        model: a Pyro model that observes ``next_item``.
        sequences: where lengths, times and first items are taken from, each of two events or more.
        seed: of all draws.
        device: where the model is.

    Raises:
        UserError: a sequence is too short, or the model has no latent.
    """
    lengths = sequences.lengths
    require(bool((lengths >= 2).all()), "A sequence of one event predicts nothing; leave it out.")
    rows = len(sequences)
    items = torch.zeros(rows, int(lengths.max(initial=2)), dtype=torch.long, device=device)
    items[:, 0] = torch.as_tensor(sequences.items[sequences.offsets[:-1]].astype(np.int64))
    given = make_batch(sequences, np.arange(rows), lengths - 1, "sequence").to(device)
    with torch.no_grad(), frozen(model), seeded(seed):
        nodes: Any = poutine.trace(model).get_trace(_prefixes(given, items[:, :1])).nodes
        latents = {name: site["value"] for name, site in nodes.items() if is_latent(site)}
        require(bool(latents), "The model has no latent variable, so there is no prior to draw from.")
        for t in range(1, items.shape[1]):
            unfinished = np.flatnonzero(lengths > t)
            for some in torch.as_tensor(unfinished, device=device).split(max(1, POSITIONS // t)):
                drawn = {name: value[some] for name, value in latents.items()}
                items[some, t] = _next_items(model, _prefixes(given.take(some), items[some, :t]), drawn)
    written = items.cpu().numpy()[np.arange(items.shape[1]) < lengths[:, None]].astype(sequences.items.dtype)
    return Simulation(replace(sequences, items=written), latents, nodes["theta"]["value"])


def _prefixes(given: Batch, items: Tensor) -> Batch:
    """Rows (B, t) without padding, at the given times, whose next items are wanted and not known."""
    unknown = torch.zeros_like(items[:, :1])
    lengths = torch.full_like(given.lengths, items.shape[1])
    elapsed = None if given.elapsed is None else given.elapsed[:, : items.shape[1]]
    return Batch(items, lengths, unknown, unknown == 0, given.rows, "prefix", elapsed)


def _next_items(model: Callable[[Batch], Any], batch: Batch, latents: dict[str, Tensor]) -> Tensor:
    """(B,) one draw for each row from the model's own prediction."""
    nodes: Any = poutine.trace(poutine.condition(model, data=latents)).get_trace(batch).nodes
    drawn: Tensor = nodes["next_item"]["fn"].sample()
    return drawn.squeeze(-1)
