"""What the log weights of a guide's draws say of it: k-hat, effective sample size, ELBO and importance-weighted bound.

Axes: S draws, B rows. Weights are per row: w = p(y, z | x) / q(z | x) of one row's latents. Those of a whole batch are
products over rows, whose variance grows with the batch however good the guide is, so nothing here is joint over rows.

Sources: Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling", JMLR 2024; Yao, Vehtari,
Simpson and Gelman, "Yes, but Did It Work?", ICML 2018; Burda, Grosse and Salakhutdinov, "Importance Weighted
Autoencoders", ICLR 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.posterior.draws import Draws

RELIABLE_K = 0.7  # below it, importance sampling from the guide works with a practical number of draws
FEWEST_DRAWS = 25  # a fifth of the draws is the tail, and its fit wants five
FLAT = 1e-3  # nats over which log weights may range and still count as equal: nothing can be learned from rounding


@dataclass(frozen=True)
class GuideQuality:
    """How good a guide is, over rows; all bounds in nats per row.

    Attributes:
        rows: B.
        draws: S.
        reliable_share: share of rows whose k-hat is below 0.7, 0 to 1.
        median_k: the median k-hat, -inf where most rows' weights are constant.
        effective_share: effective sample size over S, mean over rows, 0 to 1.
        elbo: mean over rows.
        iwae: importance-weighted bound of S draws, mean over rows; at least the ELBO.
        gap: iwae - elbo, what of KL(q || posterior) S draws can see.
    """

    rows: int
    draws: int
    reliable_share: float
    median_k: float
    effective_share: float
    elbo: float
    iwae: float
    gap: float


def guide_quality(log_weights: Float[Tensor, "draws rows"]) -> GuideQuality:
    """Summarise the draws of all rows.

    Args:
        log_weights: of 25 draws or more, see :attr:`hcrnn_pyro.posterior.draws.Draws.log_weights`. Those of a point
            guide look like those of a perfect one; :func:`require_spread` tells them apart.

    Raises:
        UserError: ArviZ is missing, there are too few draws, or a weight is no finite number.
    """
    draws, rows = log_weights.shape
    smoothed, k = smooth(log_weights)
    lower, tighter = float(elbo(log_weights).mean()), float(iwae_bound(log_weights).mean())
    return GuideQuality(
        rows=rows,
        draws=draws,
        reliable_share=float((k < RELIABLE_K).mean()),
        median_k=float(np.quantile(k, 0.5, method="inverted_cdf")),  # a mean of two neighbours knows no -inf
        effective_share=float(_kish(smoothed).mean()) / draws,
        elbo=lower,
        iwae=tighter,
        gap=tighter - lower,
    )


def smooth(
    log_weights: Float[Tensor, "draws rows"],
) -> tuple[Float[np.ndarray, "draws rows"], Float[np.ndarray, " rows"]]:
    """Pareto-smoothed log weights that sum to 1 over each row's draws, and each row's k-hat.

    A row whose log weights range over less than 0.001 nats has k-hat -inf: its weights are bounded for all purposes.
    One whose largest weight leaves nothing of the others in double precision has k-hat inf, and is not smoothed.

    Args:
        log_weights: of independent draws (ArviZ's ``r_eff`` is 1), 25 or more.

    Raises:
        UserError: ArviZ is missing, there are too few draws, or a weight is no finite number.
    """
    weights = log_weights.detach().cpu().double().numpy().T  # (B, S)
    fewest = f"k-hat is fitted to the tail of {FEWEST_DRAWS} draws or more; got {weights.shape[1]}."
    require(weights.shape[1] >= FEWEST_DRAWS, fewest)
    require(bool(np.isfinite(weights).all()), "Expected finite log weights; got some that are no finite numbers.")
    smoothed = weights - np.logaddexp.reduce(weights, axis=1, keepdims=True)
    k = np.full(len(weights), -math.inf)
    varied = np.ptp(weights, axis=1) > FLAT
    if varied.any():
        # ArviZ is made for leave-one-out, where weights are 1 / p(y_i | z): it takes the negative of a log weight.
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted, shape = array_stats().psislw(-weights[varied], r_eff=1.0, axis=-1)
        # Where the tail lies so far below the largest weight that it underflows, ArviZ fits zeros and says a low k-hat.
        lost = np.isnan(fitted).any(axis=1)
        smoothed[varied] = np.where(lost[:, None], smoothed[varied], fitted)
        k[varied] = np.where(lost, math.inf, shape)
    return smoothed.T, k


def pareto_k(log_weights: Float[Tensor, "draws rows"]) -> Float[np.ndarray, " rows"]:
    """k-hat of every row: the shape of the Pareto tail of its weights, which have 1 / k finite moments.

    Below 0.7 importance sampling can mend what the guide has wrong, above 1 not even a mean exists. It sees where a
    guide is too narrow; too wide a guide has bounded weights and a low k-hat.

    Args:
        log_weights: as for :func:`smooth`, which also says when k-hat is -inf.
    """
    return smooth(log_weights)[1]


def effective_sample_size(log_weights: Float[Tensor, "draws rows"]) -> Float[np.ndarray, " rows"]:
    """Kish's (sum w)^2 / sum w^2 of each row's smoothed weights, 1 to S."""
    return _kish(smooth(log_weights)[0])


def elbo(log_weights: Float[Tensor, "draws rows"]) -> Float[np.ndarray, " rows"]:
    """The mean log weight of every row, in nats."""
    means: np.ndarray = log_weights.detach().cpu().double().mean(dim=0).numpy()
    return means


def iwae_bound(log_weights: Float[Tensor, "draws rows"], samples: int | None = None) -> Float[np.ndarray, " rows"]:
    """E[log 1/M sum_m w_m] of every row: between the ELBO (M = 1) and the log evidence (M to infinity), in nats.

    Args:
        log_weights: S of each row.
        samples: M, at most S; the bound is averaged over the S // M groups of neighbouring draws, which leaves it
            without bias. ``None``: all S, in one group.

    Raises:
        UserError: M is not between 1 and S.
    """
    draws, rows = log_weights.shape
    size = draws if samples is None else samples
    require(1 <= size <= draws, f"A bound of M samples needs as many draws: expected 1 to {draws}; got {size}.")
    groups = log_weights.detach().cpu().double()[: draws // size * size].reshape(-1, size, rows)
    bounds: np.ndarray = (groups.logsumexp(dim=1) - math.log(size)).mean(dim=0).numpy()
    return bounds


def require_spread(draws: Draws) -> None:
    """Refuse a point guide, whose weights are those of a density that is none.

    Raises:
        UserError: the draws of some row are all the same.
    """
    sentence = "The guide puts a row at a single point: it has no density to compare with the posterior's."
    values = torch.cat([value.flatten(2) for value in draws.latents.values()], dim=-1)
    require(bool((values != values[0]).any(dim=-1).any(dim=0).all()), sentence)


def array_stats() -> Any:
    """ArviZ's statistics of arrays.

    Raises:
        UserError: it is not installed.
    """
    try:
        from arviz_stats.base import array_stats as stats  # the same in ArviZ 0.x's parts and in ArviZ 1
    except ImportError as error:
        raise UserError("This diagnostic needs ArviZ: pip install hcrnn_pyro[analysis]") from error
    return stats


def _kish(smoothed: Float[np.ndarray, "draws rows"]) -> Float[np.ndarray, " rows"]:
    """Of log weights that sum to 1."""
    sizes: np.ndarray = 1.0 / np.exp(2.0 * smoothed).sum(axis=0)
    return sizes
