"""Intervals of the context proportions, sequence by sequence, read from draws of the guide.

Axes: S draws, B rows, K contexts.

It takes a pass of guide and prior and none of the likelihood, so that a whole part costs seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.plates import sequences_plate

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
POSITIONS = 2_000  # rows times time of a batch: a row may be of one step, and has S times K numbers


@dataclass(frozen=True, eq=False)
class ThetaSummary:
    """Theta of every row, in the order of the part (prefixes of a sequence: short ones first).

    Attributes:
        table: one line a row and context: ``sequence`` (its name), ``events_read`` (by the guide), ``context`` (from
            0), ``mean``, ``sd`` and the quantiles ``q05``, ``q50`` and ``q95``.
        row_mean: (S, K) mean over the rows of each draw.
    """

    table: pd.DataFrame
    row_mean: np.ndarray

    @property
    def contexts(self) -> int:
        """Number of contexts K."""
        return self.row_mean.shape[1]

    @property
    def means(self) -> np.ndarray:
        """(B, K) posterior means."""
        return self.table["mean"].to_numpy().reshape(-1, self.contexts)


@torch.no_grad()
def theta_summary(
    model: Any,
    guide: Callable[[Batch], Any],
    sequences: Sequences,
    samples: int,
    scope: Scope = "sequence",
    device: torch.device | str = "cpu",
) -> ThetaSummary:
    """Summarise the draws of a guide for a part, batch by batch, so that no part is too large.

    Args:
        model: a :class:`hcrnn_pyro.contracts.ContextModel`, in evaluation mode.
        guide: its guide, in evaluation mode.
        sequences: each of two events or more.
        samples: S.
        scope: ``sequence``: a row is a sequence; ``prefix``: a row is a prefix.
        device: where the pair is.

    Raises:
        UserError: a sequence is too short, or the filtering scope is asked for.
    """
    require(scope != "filtering", "Theta is summarised row by row: take the sequence or the prefix scope.")
    require(bool((sequences.lengths >= 2).all()), "A sequence of one event predicts nothing; leave it out.")
    parts, order = [], []
    total: Any = 0.0
    for batch in batches_by_length(sequences, scope, POSITIONS):
        theta = draw_theta(model, guide, batch.to(device), samples).cpu().numpy()
        parts.append(summarise_theta(theta, sequences.ids[batch.rows.numpy()], batch.lengths.numpy()))
        order.append((batch.rows * 2**32 + batch.lengths).numpy())
        total = total + theta.sum(axis=1, dtype=float)
    rows = np.concatenate(order)
    contexts = total.shape[1]
    lines = np.argsort(rows)[:, None] * contexts + np.arange(contexts)
    table = pd.concat(parts, ignore_index=True).iloc[lines.ravel()].reset_index(drop=True)
    return ThetaSummary(table, total / len(rows))


@torch.no_grad()
def draw_theta(
    model: Any, guide: Callable[[Batch], Any], batch: Batch, samples: int
) -> Float[Tensor, "draws rows contexts"]:
    """Theta as the model's prior makes it of the guide's draws.

    Args:
        model: a :class:`hcrnn_pyro.contracts.ContextModel`.
        guide: its guide.
        batch: rows of the sequence or the prefix scope.
        samples: S.
    """

    def program(batch: Batch) -> Any:
        with sequences_plate(batch):
            return model.prior(batch)

    plate: Any = pyro.plate("draws", samples, dim=-2)
    inferred = poutine.trace(plate(guide)).get_trace(batch)
    theta: Tensor = plate(poutine.replay(program, inferred))(batch)
    return theta.expand(samples, batch.size, theta.shape[-1])


def summarise_theta(theta: np.ndarray, ids: np.ndarray, events_read: np.ndarray) -> pd.DataFrame:
    """Mean, standard deviation and quantiles over draws; see :class:`ThetaSummary` for the columns.

    Args:
        theta: (S, B, K) draws.
        ids: (B,) names of the rows' sequences.
        events_read: (B,) events that each posterior has read.
    """
    _, rows, contexts = theta.shape
    quantiles = np.quantile(theta, list(QUANTILES.values()), axis=0)  # (3, B, K)
    numbers = {"mean": theta.mean(axis=0), "sd": theta.std(axis=0), **dict(zip(QUANTILES, quantiles, strict=True))}
    return pd.DataFrame(
        {
            "sequence": np.repeat(ids, contexts),
            "events_read": np.repeat(events_read, contexts),
            "context": np.tile(np.arange(contexts), rows),
            **{name: values.astype(np.float32).ravel() for name, values in numbers.items()},
        }
    )
