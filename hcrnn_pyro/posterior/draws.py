"""Draws of the latents from a guide, with the densities that say how good they are.

Axes: S draws, B rows, K contexts.

The per-row log weights (S, B) are the one object from which k-hat, effective sample size, importance-weighted bounds
and the inference gap are derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.sites import is_data, is_deterministic, is_latent

POSITIONS = 20_000  # draws times rows times time that one pass of the model holds


@dataclass(frozen=True, eq=False)
class Draws:
    """S draws for each of B rows.

    Attributes:
        latents: site -> (S, B, ...) values.
        deterministic: site -> (S, B, ...) what the model makes of them, theta (S, B, K) among them.
        log_guide: (S, B) log q(z | x), in nats.
        log_prior: (S, B) log p(z).
        log_likelihood: (S, B) log p(y | z, x), summed over the row's predictions.
    """

    latents: Mapping[str, Tensor]
    deterministic: Mapping[str, Tensor]
    log_guide: Float[Tensor, "draws rows"]
    log_prior: Float[Tensor, "draws rows"]
    log_likelihood: Float[Tensor, "draws rows"]

    @property
    def theta(self) -> Float[Tensor, "draws rows contexts"]:
        """The context proportions."""
        return self.deterministic["theta"]

    @property
    def log_weights(self) -> Float[Tensor, "draws rows"]:
        """Log p(y, z | x) - log q(z | x): its mean over draws is the ELBO of a row."""
        return self.log_prior + self.log_likelihood - self.log_guide


@torch.no_grad()
def draw(model: Callable[[Batch], Any], guide: Callable[[Batch], Any], batch: Batch, samples: int) -> Draws:
    """Draw from the guide and score every draw by guide and model, all in one pass of each.

    Args:
        model: any Pyro model whose observed sites and latents have one value a row, inside a plate of dimension -1.
        guide: its guide.
        batch: rows, with targets.
        samples: S.
    """
    plate = pyro.plate("draws", samples, dim=-2)
    inferred = poutine.trace(plate(guide)).get_trace(batch)
    drawn = poutine.trace(plate(poutine.replay(model, inferred))).get_trace(batch)
    for trace in (inferred, drawn):
        trace.compute_log_prob()
    shape = (samples, batch.size)
    latents: dict[str, Any] = {name: site["value"] for name, site in inferred.nodes.items() if is_latent(site)}
    values: dict[str, Any] = {name: site["value"] for name, site in drawn.nodes.items() if is_deterministic(site)}
    return Draws(
        latents={name: _whole(value, shape) for name, value in latents.items()},
        deterministic={name: _whole(value, shape) for name, value in values.items()},
        log_guide=_total(inferred, shape, latents.__contains__),
        log_prior=_total(drawn, shape, latents.__contains__),
        log_likelihood=_total(drawn, shape, lambda name: is_data(drawn.nodes[name])),
    )


def draws_of(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    sequences: Sequences,
    samples: int,
    scope: Scope = "sequence",
    device: torch.device | str = "cpu",
) -> Draws:
    """Draws for the rows of a part, in its order (for the prefix scope: sequence by sequence, short prefixes first).

    Args:
        model: as for :func:`draw`.
        guide: its guide.
        sequences: each of two events or more.
        samples: S.
        scope: ``sequence``: one posterior a sequence; ``prefix``: one for every prefix.
        device: where the pair is.

    Raises:
        UserError: a sequence is too short, or the filtering scope is asked for, whose rows have no common shape.
    """
    require(scope != "filtering", "Draws of a part have one theta a row: take the sequence or the prefix scope.")
    require(bool((sequences.lengths >= 2).all()), "A sequence of one event predicts nothing; leave it out.")
    parts, orders = [], []
    for batch in batches_by_length(sequences, scope, max(1, POSITIONS // samples)):
        parts.append(draw(model, guide, batch.to(device), samples))
        orders.append(batch.rows * 2**32 + batch.lengths)
    order = torch.cat(orders).argsort()
    return _joined(parts, order.to(device))


def _joined(parts: list[Draws], order: Tensor) -> Draws:
    def join(tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, dim=1)[:, order]

    return Draws(
        latents={name: join([part.latents[name] for part in parts]) for name in parts[0].latents},
        deterministic={name: join([part.deterministic[name] for part in parts]) for name in parts[0].deterministic},
        log_guide=join([part.log_guide for part in parts]),
        log_prior=join([part.log_prior for part in parts]),
        log_likelihood=join([part.log_likelihood for part in parts]),
    )


def _whole(value: Tensor, shape: tuple[int, int]) -> Tensor:
    """With all of its draws and rows, where a value is the same for all draws."""
    return value.expand(*shape, *value.shape[2:]) if value.shape[:2] != shape else value


def _total(trace: poutine.Trace, shape: tuple[int, int], chosen: Callable[[str], bool]) -> Tensor:
    densities = [site["log_prob"] for name, site in trace.nodes.items() if site["type"] == "sample" and chosen(name)]
    return torch.stack([torch.as_tensor(density).expand(shape) for density in densities]).sum(dim=0)
