"""Whether one recommender is better than another, or was only luckier.

The predictions of one sequence share its user, its length and its repeats: they are no independent draws. So the
bootstrap draws whole sequences.

Axes: N predictions, S sequences, D draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hcrnn_pyro.errors import require

BLOCK = 2**20  # sequences drawn at a time, over several draws


class Interval(NamedTuple):
    """A difference of two means, its 95 % interval and the two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float


def sequence_bootstrap(
    first: np.ndarray, second: np.ndarray, sequences: np.ndarray, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Paired bootstrap of mean(first) - mean(second) that draws whole sequences with replacement.

    A draw keeps the mean over predictions: the sum of the drawn sequences' differences over the number of their
    predictions. The interval has the 2.5th and 97.5th percentile of the draws. The p-value is twice the share of draws
    on the rarer side of zero, counted as (1 + count) / (1 + D): never zero, and in keeping with the interval.

    Args:
        first: (N,) contributions of the predictions, as of :func:`hcrnn_pyro.metrics.contributions`.
        second: (N,) another recommender's, of the same predictions in the same order.
        sequences: (N,) the sequence of each prediction, by name or number.
        draws: D, how many times S sequences are drawn.
        seed: of the draws.

    Raises:
        UserError: the arrays do not fit or hold no numbers, or fewer than two sequences or one draw are asked for.
    """
    shapes = [np.shape(array) for array in (first, second, sequences)]
    shown = " and ".join(map(str, shapes))
    require(shapes == [(len(first),)] * 3, f"Expected three arrays of one length, a value a prediction; got {shown}.")
    differences = np.asarray(first, dtype=np.float64) - second
    require(bool(np.isfinite(differences).all()), "Expected finite contributions; got some that are no finite numbers.")
    codes, names = pd.factorize(sequences, use_na_sentinel=False)
    require(len(names) >= 2, f"Expected predictions of at least two sequences to draw from; got {len(names)}.")
    require(draws >= 1, f"Expected at least one draw; got {draws}.")
    sums, counts = np.bincount(codes, differences), np.bincount(codes)
    drawn = _drawn_means(sums, counts, draws, np.random.default_rng(seed))
    low, high = np.quantile(drawn, [0.025, 0.975])
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2 * (1 + rarer) / (1 + draws))
    return Interval(float(differences.mean()), float(low), float(high), p_value)


def _drawn_means(sums: np.ndarray, counts: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """(D,) the mean over the predictions of S drawn sequences, from the (S,) sums and counts of each."""
    means = np.empty(draws)
    size = max(1, BLOCK // len(sums))
    for start in range(0, draws, size):
        some = slice(start, min(start + size, draws))
        rows = random.integers(len(sums), size=(some.stop - start, len(sums)))
        means[some] = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    return means


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of a family of tests, in the order given: those below 0.05 hold together at 5 %.

    The i-th smallest of m is multiplied by m - i + 1, and is no smaller than the one before it and no larger than 1.

    Raises:
        UserError: a value is no probability.
    """
    require(bool(np.all((p_values >= 0) & (p_values <= 1))), f"Expected p-values from 0 to 1; got {p_values.tolist()}.")
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def seeds_t_test(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p-value of Welch's t-test on a metric over seeds, as the paper tests its results.

    It tells whether training again would give the same order; the test sequences are taken as they are. Samples
    that do not vary at all give 1 where they are equal, and else 0, the limit.

    Args:
        first: a value for each seed, two or more.
        second: the same of another recommender, not necessarily for as many seeds.

    Raises:
        UserError: a sample has fewer than two seeds.
    """
    fewest = min(len(first), len(second))
    require(fewest >= 2, f"Expected the values of at least two seeds on each side; got {len(first)} and {len(second)}.")
    if np.ptp(first) == np.ptp(second) == 0:
        return float(first[0] == second[0])
    moments = [(np.mean(sample), np.std(sample, ddof=1), len(sample)) for sample in (first, second)]
    return float(stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue)
