"""Power-scaling: how far a row's theta moves when its prior or its likelihood is raised to a power near 1.

Axes: S draws, B rows, K contexts.

Nothing is trained or drawn again: draws of the guide, weighted to the posterior by p(y, z | x) / q(z | x), are weighted
once more by prior^(a - 1) or likelihood^(a - 1), with Pareto smoothing.

Source: Kallioinen, Paananen, Bürkner and Vehtari, "Detecting and diagnosing prior and likelihood sensitivity with
power-scaling", Statistics and Computing 2024, whose distance and threshold these are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.posterior.draws import Draws
from hcrnn_pyro.posterior.weights import require_spread, smooth

POWER = 1.25  # and its inverse, 0.8
THRESHOLD = 0.05  # of psi: a Normal's mean that moves by about 0.3 standard deviations as the power doubles


class _Scaled(NamedTuple):
    psi: np.ndarray  # (B,)
    moved: np.ndarray  # (B,)
    k: np.ndarray  # (B,)


def power_scaling(draws: Draws) -> pd.DataFrame:
    """Sensitivity of every row's context proportions to prior and likelihood.

    Args:
        draws: of the guide, 25 or more.

    Returns:
        One line a row: ``prior`` and ``likelihood`` (psi: the cumulative Jensen-Shannon distance that theta_k's law
        moves per doubling of the power, the largest over contexts), ``prior_moves`` and ``likelihood_moves`` (total
        variation of E[theta] per doubling), ``k`` (the largest k-hat of the weights used: above 0.7 the line is not
        to be trusted) and ``diagnosis``: ``prior-data conflict`` (both psi are at least 0.05), ``weak likelihood``
        (the prior's alone is) or ``none``.

    Raises:
        UserError: ArviZ is missing, there are too few draws, or the guide has no spread.
    """
    require_spread(draws)
    base, k = smooth(draws.log_weights)
    theta = draws.theta.cpu().double().numpy()
    prior, likelihood = (
        _scaled(theta, base, draws.log_weights, component) for component in (draws.log_prior, draws.log_likelihood)
    )
    strong_prior, strong_likelihood = prior.psi >= THRESHOLD, likelihood.psi >= THRESHOLD
    diagnosis = np.where(strong_likelihood, "prior-data conflict", "weak likelihood")
    return pd.DataFrame(
        {
            "prior": prior.psi,
            "likelihood": likelihood.psi,
            "prior_moves": prior.moved,
            "likelihood_moves": likelihood.moved,
            "k": np.max([k, prior.k, likelihood.k], axis=0),
            "diagnosis": np.where(strong_prior, diagnosis, "none"),
        }
    )


def _scaled(theta: np.ndarray, base: np.ndarray, log_weights: Tensor, component: Tensor) -> _Scaled:
    """Both powers of one component, averaged."""
    psi, moved, ks = [], [], []
    for power in (1.0 / POWER, POWER):
        scaled, k = smooth(log_weights + (power - 1.0) * component)
        doublings = abs(math.log2(power))
        psi.append(_distance(theta, base, scaled).max(axis=1) / doublings)
        shift = np.einsum("sb,sbk->bk", np.exp(scaled) - np.exp(base), theta)
        moved.append(0.5 * np.abs(shift).sum(axis=1) / doublings)
        ks.append(k)
    return _Scaled(np.mean(psi, axis=0), np.mean(moved, axis=0), np.max(ks, axis=0))


def _distance(
    theta: Float[np.ndarray, "draws rows contexts"],
    first: Float[np.ndarray, "draws rows"],
    second: Float[np.ndarray, "draws rows"],
) -> Float[np.ndarray, "rows contexts"]:
    """Cumulative Jensen-Shannon distance, 0 to 1, between two weightings of the same draws.

    With P and Q the distribution functions, it is the root of the integral of P log2 P/M + Q log2 Q/M, M = (P + Q) / 2,
    over that of P + Q: the terms linear in P - Q cancel in the sum of both directions. As the functions of -theta would
    give another number, the larger one counts.
    """
    order = np.argsort(theta, axis=0)
    steps = np.diff(np.take_along_axis(theta, order, axis=0), axis=0)  # (S - 1, B, K)
    p, q = (
        np.clip(np.take_along_axis(np.exp(w)[:, :, None], order, axis=0).cumsum(axis=0)[:-1], 0.0, 1.0)
        for w in (first, second)
    )
    from_below, from_above = _divergence(p, q, steps), _divergence(1.0 - p, 1.0 - q, steps)
    distance: np.ndarray = np.sqrt(np.maximum(from_below, from_above))
    return distance


def _divergence(p: np.ndarray, q: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(B, K), of step functions (S - 1, B, K) at least 0."""
    middle = 0.5 * (p + q)
    parts = sum(x * np.log2(np.where(x > 0, x, 1.0) / np.where(x > 0, middle, 1.0)) for x in (p, q))
    divergence: np.ndarray = np.maximum((parts * steps).sum(axis=0), 0.0) / ((p + q) * steps).sum(axis=0)
    return divergence
