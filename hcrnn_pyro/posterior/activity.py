"""Is theta alive? What the guide's posterior says of the context proportions that the prior does not.

Axes: S draws, B sequences, K contexts. It takes a pass of guide and prior, none of the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.parameters import unannounced
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.posterior.divergence import context_divergence, divergence
from hcrnn_pyro.posterior.undisturbed import undisturbed

ACTIVE_SHARE = 0.01  # Burda et al. 2016, whose latents have variance 1: theirs is a share of the prior's variance too
ACTIVE_KL = 0.05  # nats a sequence
COLLAPSED_KL = 0.5  # nats a sequence
REMEDY = "In --model hcrnn-switching the data must use theta, the more so the higher --missing."
SAMPLES = 100  # the share of an idle context is then off by a thousandth, for a few hundred sequences
POSITIONS = 200_000  # draws times rows times time of a batch


@dataclass(frozen=True, eq=False)
class Activity:
    """How far theta follows the sequences.

    Attributes:
        variance_share: (K,) variance over sequences of E_q[theta_k], over the prior's variance of theta_k. It is 1 for
            a posterior that knows each sequence's theta, 0 for one that says the same of all; being estimated, it may
            fall a little below 0.
        context_kl: (K,) mean over sequences of KL(q(z_k) || p(z_k)), nats, where guide and prior draw one latent of
            shape (K,) from independent Normals; else ``None``.
        kl: mean over sequences of KL(q || p), nats, estimated from the draws; infinite where q is a point.
        largest: mean over sequences of the largest E_q[theta_k]; 1 / K where the posterior says nothing.
        sequences: how many were read.
    """

    variance_share: np.ndarray
    context_kl: np.ndarray | None
    kl: float
    largest: float
    sequences: int

    @property
    def contexts(self) -> int:
        """Number of contexts K."""
        return len(self.variance_share)

    @property
    def active(self) -> np.ndarray:
        """(K,) bool, whether a context's proportion follows the sequences: a variance share of 0.01 or more."""
        return self.variance_share >= ACTIVE_SHARE

    @property
    def informed(self) -> np.ndarray | None:
        """(K,) bool, whether a context's own latent learns 0.05 nats or more of a sequence, where that is known."""
        return None if self.context_kl is None else self.context_kl >= ACTIVE_KL

    @property
    def collapsed(self) -> bool:
        """Whether the posterior is the prior, for all that it matters: no context active, KL below 0.5 nats."""
        return not self.active.any() and self.kl < COLLAPSED_KL

    def verdict(self) -> str:
        """What this means, in a sentence, and what to do if theta is dead."""
        active, uniform = int(self.active.sum()), 1 / self.contexts
        facts = (
            f"{active} of {self.contexts} contexts are active, KL {self.kl:.2f} nats a sequence, "
            f"largest proportion {self.largest:.3f} on average (uniform: {uniform:.3f})"
        )
        if self.collapsed:
            return f"theta has collapsed to its prior: {facts}. {REMEDY}"
        if active == 0:
            return f"theta differs from its prior, but in the same way for all sequences: {facts}. {REMEDY}"
        if self.kl < COLLAPSED_KL:
            return f"theta follows the sequences, but faintly: {facts}."
        return f"theta follows the sequences: {facts}."


class _Rows(NamedTuple):
    """What one batch says."""

    mean: Tensor  # (B, K) E_q[theta]
    within: Tensor  # (B, K) variance of theta under q
    kl: Tensor  # (B,)
    context_kl: Tensor | None  # (B, K)
    prior_moments: Tensor  # (2, K) sums over draws and rows of the prior's theta and of its square


@torch.no_grad()
def posterior_activity(
    model: Any,
    guide: Callable[[Batch], Any],
    sequences: Sequences,
    samples: int = SAMPLES,
    scope: Scope = "sequence",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Activity:
    """Read the guide's posterior of whole sequences; cheap enough for the end of every epoch.

    The pair is put in evaluation mode meanwhile, and the random state is left as it was, so that a training goes on
    as if nothing had been asked.

    Args:
        model: a :class:`hcrnn_pyro.contracts.ContextModel`.
        guide: its guide.
        sequences: a part with two sequences or more of two events or more.
        samples: S, draws from guide and prior for each sequence, at least 2; take fewer for ``filtering``, where
            each costs as much as T of the others.
        scope: in which the pair is trained. ``filtering`` looks at theta after the last input, and at the KL of all
            steps; ``prefix`` looks at the longest one, which is what ``sequence`` does.
        seed: of the draws.
        device: where the pair is.
    """
    require(samples >= 2, f"A variance needs 2 draws or more; got {samples}.")
    with undisturbed(model, guide, seed=seed, device=device), unannounced():
        whole: Scope = "filtering" if scope == "filtering" else "sequence"
        batches = batches_by_length(sequences, whole, max(1, POSITIONS // samples))
        rows = [_read(model.prior, guide, batch.to(device), samples) for batch in batches]
    mean, within, kl = (torch.cat([getattr(part, name) for part in rows]) for name in ("mean", "within", "kl"))
    require(len(mean) >= 2, f"How theta differs between sequences needs two or more; got {len(mean)}.")
    by_context = [part.context_kl for part in rows if part.context_kl is not None]
    first, second = torch.stack([part.prior_moments for part in rows]).sum(dim=0) / (samples * len(mean))
    # Means of S draws vary by within / S where E_q[theta] does not vary at all.
    between = mean.var(dim=0) - within.mean(dim=0) / samples
    return Activity(
        variance_share=(between / (second - first**2)).cpu().numpy(),
        context_kl=torch.cat(by_context).mean(dim=0).cpu().numpy() if by_context else None,
        kl=float(kl.mean()),
        largest=float(mean.max(dim=1).values.mean()),
        sequences=len(mean),
    )


def _read(prior: Callable[[Batch], Any], guide: Callable[[Batch], Any], batch: Batch, samples: int) -> _Rows:
    def program(batch: Batch) -> Any:
        with sequences_plate(batch):
            return prior(batch)

    plate = pyro.plate("draws", samples, dim=-2)
    inferred = poutine.trace(plate(guide)).get_trace(batch)
    replayed = poutine.trace(plate(poutine.replay(program, inferred))).get_trace(batch)
    for trace in (inferred, replayed):
        trace.compute_log_prob()
    anew = poutine.trace(plate(program)).get_trace(batch)
    theta, fresh = (_last_theta(trace, batch) for trace in (replayed, anew))
    shape = (samples, batch.size, theta.shape[-1])
    theta, fresh = theta.expand(shape), fresh.expand(shape)
    return _Rows(
        mean=theta.mean(dim=0),
        within=theta.var(dim=0),
        kl=divergence(inferred, replayed, shape[:2]).mean(dim=0),
        context_kl=context_divergence(inferred, replayed, shape),
        prior_moments=torch.stack([fresh.sum(dim=(0, 1)), fresh.square().sum(dim=(0, 1))]),
    )


def _last_theta(trace: poutine.Trace, batch: Batch) -> Tensor:
    """(S, B, K), or (B, K) where all draws share it; where theta moves, it is that after the last input."""
    theta: Any = trace.nodes["_RETURN"]["value"]
    if batch.scope == "filtering":
        theta = theta[..., torch.arange(batch.size, device=theta.device), batch.lengths - 1, :]
    return theta.double()
