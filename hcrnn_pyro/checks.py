"""What a prior, a guide and a model must agree on, checked where they meet and told in a sentence.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pyro import poutine, validation_enabled
from pyro.distributions import is_validation_enabled
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.sites import is_latent


def require_proportions(theta: Any, batch: Batch, contexts: int) -> Tensor:
    """The context proportions that a prior returned, if they are some.

    Args:
        theta: what the prior returned.
        batch: what it was called with.
        contexts: K.

    Raises:
        UserError: the shape is not (..., B, K), or (..., B, T, K) in the filtering scope; and, where Pyro validates, an
            entry is below 0 or a row does not sum to 1.
    """
    expected = (*(batch.inputs.shape if batch.scope == "filtering" else [batch.size]), contexts)
    got = f"shape {tuple(theta.shape)}" if isinstance(theta, Tensor) else f"a {type(theta).__name__}"
    if not isinstance(theta, Tensor) or tuple(theta.shape[-len(expected) :]) != expected:
        raise UserError(
            f"The prior should return theta of shape {expected} for a batch of the {batch.scope} scope, {contexts} "
            f"context proportions last; it returned {got}."
        )
    if is_validation_enabled() and theta.isfinite().all():
        values = theta.detach()
        off = float((values.sum(-1) - 1.0).abs().max())
        lowest = float(values.min())
        require(
            lowest >= 0.0 and off < 1e-3,
            f"The prior should return proportions, at least 0 and with sum 1; it returned some as low as {lowest:.3g}, "
            f"and sums that are off by up to {off:.3g}.",
        )
    return theta


@torch.no_grad()
def require_same_latents(model: Callable[[Batch], Any], guide: Callable[[Batch], Any], batch: Batch) -> None:
    """Refuse a guide that infers other latents than the model has; draws no random number that anyone else would get.

    Raises:
        UserError: the names of the latent sites differ.
    """
    with torch.random.fork_rng(), validation_enabled(False):  # values are judged in training, with their batch named
        inferred = poutine.trace(guide).get_trace(batch)
        drawn = poutine.trace(poutine.replay(model, inferred)).get_trace(batch)
    require_same_names(drawn, inferred)


def require_same_names(drawn: poutine.Trace, inferred: poutine.Trace) -> None:
    """Refuse a guide whose latents have other names than the model's.

    Args:
        drawn: trace of the model, which replays the guide's.
        inferred: trace of the guide.

    Raises:
        UserError: the names differ.
    """
    ours, theirs = ({name for name, site in trace.nodes.items() if is_latent(site)} for trace in (drawn, inferred))
    require(
        ours == theirs,
        f"The guide should infer the latents that the model's prior draws, by the same names: the model has "
        f"{_listed(ours)}, the guide {_listed(theirs)}.",
    )


def require_scopes(model: nn.Module, guide: nn.Module, sequences: Sequences, scopes: Iterable[Scope]) -> None:
    """Try the pair on one short row of every scope that a run will need, before the run costs anything.

    Raises:
        UserError: model and guide differ in their latents; or a part's own sentence, where it cannot serve a scope.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = model.training, guide.training
    model.eval(), guide.eval()
    for scope in dict.fromkeys(scopes):
        require_same_latents(model, guide, next(batches_by_length(sequences, scope, positions=1)).to(device))
    model.train(training[0]), guide.train(training[1])


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
