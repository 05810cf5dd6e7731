"""NUTS on the latents of some rows with the weights frozen: the posterior itself, to hold the guide against.

Axes: S draws over all chains, B rows, K contexts, D reals that a row's latents have together.

Given the weights the rows are independent, so one chain moves all of them at once, in one pass of the model a step; the
diagonal mass matrix has an entry for each row's each coordinate, so that every row is adapted for itself.

Source: Hoffman and Gelman, "The No-U-Turn Sampler", JMLR 2014, as Pyro has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pyro.infer.mcmc import MCMC, NUTS
from torch import Tensor

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.draws import POSITIONS, Draws, draw
from hcrnn_pyro.posterior.joint import Joint, frozen, seeded
from hcrnn_pyro.posterior.weights import array_stats

DEEPEST = 7  # doublings of a trajectory, at most: the posteriors are near their prior, which needs three or four


@dataclass(frozen=True, eq=False)
class NutsDraws:
    """Posterior draws of every row, chain by chain.

    Attributes:
        latents: site -> (S, B, ...) values.
        theta: (S, B, K) context proportions.
        chains: how many the draws are of, S / chains of each.
        r_hat: (B,) rank-normalised split R-hat, the worst of a row's coordinates; below 1.01 is good.
        effective_size: (B,) bulk effective sample size, the smallest of a row's coordinates.
        divergences: trajectories that left the floating-point numbers behind, all chains together.
    """

    latents: Mapping[str, Tensor]
    theta: Float[Tensor, "draws rows contexts"]
    chains: int
    r_hat: Float[np.ndarray, " rows"]
    effective_size: Float[np.ndarray, " rows"]
    divergences: int


def run_nuts(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    draws: int = 500,
    warmup: int = 300,
    seed: int = 0,
    chains: int = 2,
) -> NutsDraws:
    """Draw from the posterior of every row of a batch.

    Args:
        model: the Pyro model; its weights are as they were when this returns.
        guide: each chain starts from a draw of it.
        batch: B rows; some tens are enough to judge a guide, and cost grows with them.
        draws: of each chain.
        warmup: steps of each chain that adapt its step size and masses, and are not kept.
        seed: of all draws.
        chains: one after the other.

    Raises:
        UserError: ArviZ is missing, there are too few draws, or as for :meth:`hcrnn_pyro.posterior.joint.Joint.of`.
    """
    enough = draws >= 4 and chains >= 2
    require(enough, f"R-hat compares two chains or more, of 4 draws or more; got {draws} draws of {chains}.")
    stats = array_stats()
    with frozen(model, guide), seeded(seed):
        joint = Joint.of(model, batch)
        start = joint.free(draw(model, guide, batch, chains).latents)  # (chains, B, D)
        runs = [_chain(joint, first, draws, warmup) for first in start]
        u = torch.cat([drawn for drawn, _ in runs])  # (S, B, D)
        size = max(1, POSITIONS // batch.inputs.numel())
        theta = torch.cat([joint.theta(some) for some in u.split(size)])
    by_chain = u.unflatten(0, (chains, draws)).permute(2, 3, 0, 1).cpu().double().numpy()  # (B, D, chains, draws)
    return NutsDraws(
        latents=joint.latents(u),
        theta=theta,
        chains=chains,
        r_hat=stats.rhat(by_chain, chain_axis=-2, draw_axis=-1).max(axis=1),
        effective_size=stats.ess(by_chain, chain_axis=-2, draw_axis=-1).min(axis=1),
        divergences=sum(divergences for _, divergences in runs),
    )


def compare_with_guide(posterior: NutsDraws, draws: Draws) -> pd.DataFrame:
    """Hold a guide's draws against those of NUTS, row by row.

    Args:
        posterior: of :func:`run_nuts`.
        draws: of the guide, for the same rows in the same order.

    Returns:
        One line a row: ``mean_difference`` (the mean over contexts of |difference of E[theta_k]|), ``variance_ratio``
        (the guide's variance of theta, summed over contexts, over that of NUTS; below 1 the guide is too sure),
        ``total_variation`` (half the sum of those differences, 0 to 1), ``error`` (the total variation to expect from
        Monte-Carlo error alone, were both the same), ``r_hat`` and ``effective_size`` (of NUTS).

    Raises:
        UserError: the rows or contexts differ.
    """
    same = posterior.theta.shape[1:] == draws.theta.shape[1:]
    require(same, "Expected draws of the same rows and contexts from NUTS and from the guide.")
    exact, guided = posterior.theta.cpu().double(), draws.theta.cpu().double()
    difference = (exact.mean(dim=0) - guided.mean(dim=0)).abs().numpy()  # (B, K)
    variance, guided_variance = exact.var(dim=0).numpy(), guided.var(dim=0).numpy()
    by_chain = exact.unflatten(0, (posterior.chains, -1)).permute(2, 3, 0, 1).numpy()  # (B, K, chains, draws)
    size = array_stats().ess(by_chain, chain_axis=-2, draw_axis=-1, method="mean")
    standard_error = np.sqrt(variance / size + guided_variance / len(guided))
    return pd.DataFrame(
        {
            "mean_difference": difference.mean(axis=1),
            "variance_ratio": guided_variance.sum(axis=1) / variance.sum(axis=1),
            "total_variation": 0.5 * difference.sum(axis=1),
            "error": 0.5 * math.sqrt(2 / math.pi) * standard_error.sum(axis=1),  # E|N(0, s^2)| = s sqrt(2 / pi)
            "r_hat": posterior.r_hat,
            "effective_size": posterior.effective_size,
        }
    )


def _chain(joint: Joint, start: Tensor, draws: int, warmup: int) -> tuple[Tensor, int]:
    """(draws, B, D) of one chain, and its divergences after the warm-up."""

    def potential(at: dict[str, Tensor]) -> Tensor:
        return -joint.log_density(at["u"].unsqueeze(0)).sum()

    kernel = NUTS(potential_fn=potential, max_tree_depth=DEEPEST)
    run = MCMC(kernel, draws, warmup_steps=warmup, initial_params={"u": start}, disable_progbar=True)
    run.run()
    drawn: Tensor = run.get_samples()["u"]
    divergences = run.diagnostics()["divergences"]
    return drawn, sum(len(of_chain) for of_chain in divergences.values())
