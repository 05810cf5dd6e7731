"""Simulation-based calibration: on data that the model itself has made, is the guide as sure as it may be?

Axes: N simulations, L draws of the guide, K contexts.

If theta is drawn from the prior, a sequence from theta, and L draws from the posterior of the sequence, then the rank
of theta_k among the draws is uniform on 0..L, whatever the model. A guide that stands in for the posterior shows its
fault in the ranks' histogram: its ends are full where the draws are too narrow, its middle where they are too wide, and
one end where they are shifted.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian Inference Algorithms with Simulation-Based
Calibration", 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.draws import draws_of
from hcrnn_pyro.posterior.joint import frozen, seeded
from hcrnn_pyro.posterior.simulate import simulate
from hcrnn_pyro.significance import holm

Verdict = Literal["calibrated", "biased", "under-dispersed", "over-dispersed"]
SENTENCES: dict[Verdict, str] = {
    "calibrated": "calibrated: no departure of the ranks from uniform is larger than chance makes it",
    "biased": "biased: the guide's proportions are too high for some contexts or too low",
    "under-dispersed": "under-dispersed: the guide is too sure, the truth lies outside of its draws too often",
    "over-dispersed": "over-dispersed: the guide is not sure enough, the truth lies amid its draws too often",
}
LEVEL = 0.05  # family-wise rate of false alarms of a calibration
BINS = 10
EXPECTED = 5  # fewest simulations a bin should expect, for the chi-square approximation
TERCILES = ("short", "middle", "long")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks, and what they say.

    Attributes:
        ranks: (N, K) rank of the true theta_k among the draws, 0..L.
        draws: L.
        groups: (N,) the name of each simulation's group, e.g. its tercile of length.
        tests: one line a group and context: ``group``, ``context``, ``simulations``, ``p_value`` (chi-square over the
            rank histogram), ``adjusted`` (by Holm over all lines), ``bias`` and ``dispersion`` (standard Normal if
            calibrated; above 0 the truth lies above the draws, and the draws are too narrow).
        verdict: over all groups, at a family-wise 5 %.
        verdicts: group -> verdict on it, at the same 5 % over all groups.
    """

    ranks: Int[np.ndarray, "simulations contexts"]
    draws: int
    groups: np.ndarray
    tests: pd.DataFrame
    verdict: Verdict
    verdicts: dict[str, Verdict]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        smallest = self.tests["adjusted"].min()
        return f"{SENTENCES[self.verdict]} (smallest adjusted p-value {smallest:.2g})."


def calibrate(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    sequences: Sequences,
    simulations: int = 500,
    draws: int = 99,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Calibration:
    """Calibrate a guide in the sequence scope, on sequences with the lengths and first items of real ones.

    Args:
        model: the Pyro model.
        guide: its guide.
        sequences: real ones; N of them are drawn with replacement, of those with two events or more.
        simulations: N.
        draws: L; L + 1 is a multiple of 10, the number of bins of a histogram.
        seed: of all draws.
        device: where the pair is.

    Raises:
        UserError: there are too few simulations, or L + 1 is no multiple of 10.
    """
    _require_sizes(simulations // len(TERCILES), draws)
    usable = np.flatnonzero(sequences.lengths >= 2)
    require(len(usable) > 0, "Calibration takes lengths and first items from sequences of two events or more.")
    chosen = np.random.default_rng(seed).choice(usable, simulations)
    simulated = simulate(model, sequences.take(chosen), seed, device)
    with frozen(model, guide), seeded(seed + 1):
        inferred = draws_of(model, guide, simulated.sequences, draws, "sequence", device).theta
    return calibration_of(ranks_among(simulated.theta, inferred), draws, _terciles(sequences.lengths[chosen]))


def ranks_among(
    truth: Float[Tensor, "simulations contexts"], drawn: Float[Tensor, "draws simulations contexts"]
) -> Int[np.ndarray, "simulations contexts"]:
    """How many of the draws lie below the truth."""
    ranks: np.ndarray = (drawn < truth).sum(dim=0).cpu().numpy()
    return ranks


def calibration_of(
    ranks: Int[np.ndarray, "simulations contexts"], draws: int, groups: np.ndarray | None = None
) -> Calibration:
    """Test ranks for uniformity, context by context in every group, and name the shape of the departure.

    Args:
        ranks: 0..L.
        draws: L; L + 1 is a multiple of 10.
        groups: (N,) names; ``None`` for one group, ``all``.

    Raises:
        UserError: a group has too few simulations, or L + 1 is no multiple of 10.
    """
    groups = np.full(len(ranks), "all") if groups is None else groups
    names = list(dict.fromkeys(groups.tolist()))
    _require_sizes(min(int((groups == name).sum()) for name in names), draws)
    lines = []
    for name in names:
        own = ranks[groups == name]
        counts = np.stack([np.bincount(r * BINS // (draws + 1), minlength=BINS) for r in own.T])  # (K, bins)
        bias, dispersion = _shape(own, draws)
        lines.append(
            pd.DataFrame(
                {
                    "group": name,
                    "context": np.arange(own.shape[1]),
                    "simulations": len(own),
                    "p_value": stats.chisquare(counts, axis=1).pvalue,
                    "bias": bias,
                    "dispersion": dispersion,
                }
            )
        )
    tests = pd.concat(lines, ignore_index=True)
    tests.insert(4, "adjusted", holm(tests["p_value"].to_numpy()))
    verdicts = {name: _verdict(tests[tests["group"] == name]) for name in names}
    return Calibration(ranks, draws, groups, tests, _verdict(tests), verdicts)


def _shape(ranks: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Slope and curvature of each context's histogram: the first two components of Neyman's smooth test, (K,) each."""
    x = 2.0 * (ranks + 0.5) / (draws + 1) - 1.0
    slope, curvature = np.sqrt(3.0) * x, np.sqrt(5.0) * (3.0 * x**2 - 1.0) / 2.0  # Legendre, of variance 1
    return np.sqrt(len(x)) * slope.mean(axis=0), np.sqrt(len(x)) * curvature.mean(axis=0)


def _verdict(tests: pd.DataFrame) -> Verdict:
    if tests["adjusted"].min() >= LEVEL:
        return "calibrated"
    # The contexts' dispersions share a sign where the draws are too narrow or wide; their biases need not.
    bias, dispersion = tests["bias"].pow(2).mean(), tests["dispersion"].mean()
    if bias >= tests["dispersion"].pow(2).mean():
        return "biased"
    return "under-dispersed" if dispersion > 0 else "over-dispersed"


def _require_sizes(simulations: int, draws: int) -> None:
    fewest = BINS * EXPECTED
    require(
        draws > 0 and (draws + 1) % BINS == 0, f"L + 1 draws should fill {BINS} bins evenly, as 99 do; got {draws}."
    )
    require(simulations >= fewest, f"A group of simulations needs at least {fewest}; the smallest has {simulations}.")


def _terciles(lengths: np.ndarray) -> np.ndarray:
    """(N,) names, by rank of length, so that the groups are of equal size."""
    order = np.argsort(np.argsort(lengths, kind="stable"), kind="stable")
    return np.array(TERCILES)[order * len(TERCILES) // len(lengths)]
