"""Is theta alive? What the guide's posterior says of the context proportions that the prior does not.

Axes: S draws, B sequences, K contexts. It takes a pass of guide and prior, none of the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import kl_divergence

from hcrnn_pyro.data.batches import Batch, batches_by_length
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.parameters import unannounced
from hcrnn_pyro.sites import is_latent

ACTIVE_SHARE = 0.01  # Burda et al. 2016, whose latents have variance 1: theirs is a share of the prior's variance too
ACTIVE_KL = 0.05  # nats a sequence
COLLAPSED_KL = 0.5  # nats a sequence
REMEDY = "Try --guide context-counts with --model hcrnn3-topics."
SAMPLES = 200  # the share of an idle context is then off by a thousandth, for some hundred sequences
POSITIONS = 10_000  # rows times time of a batch


@dataclass(frozen=True, eq=False)
class Activity:
    """How far theta follows the sequences.

    Attributes:
        variance_share: (K,) variance over sequences of E_q[theta_k], over the prior's variance of theta_k. It is 1 for
            a posterior that knows each sequence's theta, 0 for one that says the same of all; being estimated, it may
            fall a little below 0.
        context_kl: (K,) mean over sequences of KL(q(z_k) || p(z_k)), nats, where guide and prior draw one latent of
            shape (K,) from independent Normals; else ``None``.
        kl: mean over sequences of KL(q || p), nats, estimated from the draws.
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
        samples: S, draws from guide and prior for each sequence, at least 2.
        seed: of the draws.
        device: where the pair is.
    """
    require(samples >= 2, f"A variance needs 2 draws or more; got {samples}.")
    with _at_rest(model, guide), _own_randomness(seed, device), unannounced():
        batches = batches_by_length(sequences, "sequence", POSITIONS)
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
        with pyro.plate("sequences", batch.size, dim=-1):
            return prior(batch)

    plate = pyro.plate("draws", samples, dim=-2)
    inferred = poutine.trace(plate(guide)).get_trace(batch)
    replayed = poutine.trace(plate(poutine.replay(program, inferred))).get_trace(batch)
    for trace in (inferred, replayed):
        trace.compute_log_prob()
    theta, anew = (_returned(trace) for trace in (replayed, poutine.trace(plate(program)).get_trace(batch)))
    shape = (samples, batch.size, theta.shape[-1])
    theta, anew = theta.expand(shape), anew.expand(shape)
    return _Rows(
        mean=theta.mean(dim=0),
        within=theta.var(dim=0),
        kl=(_log_density(inferred, shape) - _log_density(replayed, shape)).mean(dim=0),
        context_kl=_context_kl(inferred, replayed, shape),
        prior_moments=torch.stack([anew.sum(dim=(0, 1)), anew.square().sum(dim=(0, 1))]),
    )


def _returned(trace: poutine.Trace) -> Tensor:
    value: Any = trace.nodes["_RETURN"]["value"]
    return value.double()


def _log_density(trace: poutine.Trace, shape: tuple[int, int, int]) -> Tensor:
    """(S, B) of all latents together."""
    densities = [site["log_prob"].double().expand(shape[:2]) for site in trace.nodes.values() if is_latent(site)]
    return torch.stack(densities).sum(dim=0)


def _context_kl(inferred: poutine.Trace, replayed: poutine.Trace, shape: tuple[int, int, int]) -> Tensor | None:
    """(B, K) where there is one latent, whose K values are independent Normals on both sides."""
    names = [name for name, site in inferred.nodes.items() if is_latent(site)]
    if len(names) != 1:
        return None
    ours, prior = (_independent_normals(trace.nodes[names[0]]["fn"]) for trace in (inferred, replayed))
    if ours is None or prior is None or ours.batch_shape[-1:] != shape[-1:]:
        return None
    return kl_divergence(ours, prior).expand(shape).mean(dim=0)


def _independent_normals(distribution: Any) -> Any:
    """The Normal of batch shape (..., K) inside a law of vectors, if it is one."""
    while isinstance(distribution, dist.Independent | dist.MaskedDistribution):
        distribution = distribution.base_dist
    return distribution if isinstance(distribution, torch.distributions.Normal) else None


@contextmanager
def _at_rest(*parts: Any) -> Iterator[None]:
    """Without dropout."""
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _own_randomness(seed: int, device: torch.device | str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        torch.manual_seed(seed)
        yield
