"""What the posterior of a trained pair is worth on sequences that it has not seen, in one record.

Axes: S draws, B held-out sequences, K contexts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.parameters import unannounced
from hcrnn_pyro.posterior.activity import posterior_activity
from hcrnn_pyro.posterior.coherence import coherence
from hcrnn_pyro.posterior.contexts import context_items, top_items
from hcrnn_pyro.posterior.draws import POSITIONS, draw
from hcrnn_pyro.posterior.undisturbed import undisturbed
from hcrnn_pyro.posterior.weights import GuideQuality, array_stats, guide_quality, require_spread
from hcrnn_pyro.runs import Run

TOP = 10  # items of a context, by custom


@dataclass(frozen=True)
class Assessment:
    """How good the posterior is, over the sequences of the test part.

    Attributes:
        sequences: B.
        predictions: of all of them.
        draws: S, of each sequence.
        seed: of the draws.
        elbo: mean over sequences, in nats a sequence; ``None`` for a guide without a density.
        iwae: importance-weighted bound of S draws, likewise.
        reliable_share: share of sequences whose k-hat is below 0.7, 0 to 1, likewise.
        kl: mean over sequences of KL(q || p), nats, likewise.
        active: number of contexts that follow the sequences.
        contexts: K.
        coherence: mean NPMI of the ten leading items of each context; ``None`` where nothing is known of any.
        notes: why a number is missing, a sentence each.
    """

    sequences: int
    predictions: int
    draws: int
    seed: int
    elbo: float | None
    iwae: float | None
    reliable_share: float | None
    kl: float | None
    active: int
    contexts: int
    coherence: float | None
    notes: tuple[str, ...]

    @property
    def elbo_per_prediction(self) -> float | None:
        """In nats a prediction; minus it bounds the test part's nll with theta integrated out from above."""
        return None if self.elbo is None else self.elbo * self.sequences / self.predictions


def assess(run: Run, data: DataSet, draws: int, seed: int, device: torch.device | str = "cpu") -> Assessment:
    """Read the posterior of the test sequences of two events or more, each of them whole.

    A run that was trained in the filtering scope is read in it, any other in the sequence scope: one theta a sequence.

    Args:
        run: a trained pair with a latent.
        data: the data it was trained on.
        draws: S, 25 or more.
        seed: of the draws.
        device: where they are made; the pair is moved there.

    Raises:
        UserError: ArviZ is missing, or there are too few draws or sequences.
    """
    array_stats()
    model, guide = run.model.to(device), run.guide.to(device)
    held_out = data.test.rows(data.test.lengths >= 2)
    scope: Scope = "filtering" if run.config["training"]["scope"] == "filtering" else "sequence"
    alive = posterior_activity(model, guide, held_out, draws, scope, seed, device)
    notes: list[str] = []

    def known(measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except UserError as error:
            notes.append(str(error))
            return None

    with undisturbed(model, guide, seed=seed, device=device), unannounced():
        quality: GuideQuality | None = known(
            lambda: guide_quality(_log_weights(model, guide, held_out, draws, scope, device))
        )
    return Assessment(
        sequences=len(held_out),
        predictions=held_out.predictions,
        draws=draws,
        seed=seed,
        elbo=quality.elbo if quality else None,
        iwae=quality.iwae if quality else None,
        reliable_share=quality.reliable_share if quality else None,
        kl=alive.kl if math.isfinite(alive.kl) else None,
        active=int(alive.active.sum()),
        contexts=alive.contexts,
        coherence=known(lambda: _coherence(model, held_out)),
        notes=tuple(notes),
    )


def _log_weights(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    sequences: Sequences,
    samples: int,
    scope: Scope,
    device: torch.device | str,
) -> Tensor:
    """(S, B), short sequences first; only the weights of a batch are kept, as its thetas are many."""
    parts = []
    for batch in batches_by_length(sequences, scope, max(1, POSITIONS // samples)):
        drawn = draw(model, guide, batch.to(device), samples)
        require_spread(drawn)
        parts.append(drawn.log_weights)
    return torch.cat(parts, dim=1)


def _coherence(model: Any, held_out: Sequences) -> float | None:
    values = coherence(top_items(context_items(model), min(TOP, model.items)), held_out)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
