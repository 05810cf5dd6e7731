"""How well a score tells two kinds of events apart, when the events of a sequence are no independent draws.

Axes: N events, S sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hcrnn_pyro.errors import require

NORMAL_95 = float(stats.norm.ppf(0.975))


class AUC(NamedTuple):
    """The chance that an event of the one kind scores higher than one of the other, a tie counting half; 95 % interval.

    0.5: the score tells nothing. The interval is cut off at 0 and 1, and NaN where a single sequence has all of a kind.
    """

    value: float
    low: float
    high: float


def clustered_auc(scores: np.ndarray, is_one: np.ndarray, sequences: np.ndarray) -> AUC:
    """The area under the receiver operating characteristic, with an interval over sequences.

    Source: Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997. Each event of the one
    kind is placed among all of the other, and these placements are summed up sequence by sequence.

    Args:
        scores: (N,) numbers, infinite ones too.
        is_one: (N,) bool, which events are of the kind that should score high.
        sequences: (N,) the sequence of each event, by name or number.

    Raises:
        UserError: the arrays do not fit, a score is no number, or all events are of one kind.
    """
    shapes = [np.shape(array) for array in (scores, is_one, sequences)]
    require(shapes == [(len(scores),)] * 3, f"Expected three arrays of one length; got {', '.join(map(str, shapes))}.")
    require(not np.isnan(scores).any(), "Expected a score for every event; got some that are no numbers.")
    is_one = np.asarray(is_one, dtype=bool)
    ones, others = int(is_one.sum()), int((~is_one).sum())
    require(ones > 0 and others > 0, f"Expected events of both kinds; got {ones} of the one and {others} of the other.")
    within = np.empty(len(scores))  # the midrank of each event among its own kind
    for kind in (is_one, ~is_one):
        within[kind] = stats.rankdata(scores[kind])
    lower = stats.rankdata(scores) - within  # how many of the other kind score lower, ties counting half
    placement = np.where(is_one, lower / others, 1.0 - lower / ones)
    value = float(placement[is_one].mean())
    codes, names = pd.factorize(sequences)
    of_ones, of_others = (
        np.bincount(codes[kind], (placement - value)[kind] / count, len(names))
        for kind, count in ((is_one, ones), (~is_one, others))
    )
    variance = (
        _corrected(of_ones**2, len(np.unique(codes[is_one])))
        + _corrected(of_others**2, len(np.unique(codes[~is_one])))
        + 2.0 * _corrected(of_ones * of_others, len(names))
    )
    error = np.sqrt(np.maximum(variance, 0.0))
    low, high = np.clip([value - NORMAL_95 * error, value + NORMAL_95 * error], 0.0, 1.0)
    return AUC(value, float(low), float(high))


def _corrected(terms: np.ndarray, sequences: int) -> float:
    """The sum of a (co)variance's terms, a sequence each; NaN where there are no two sequences to tell it from."""
    return float(terms.sum() * sequences / (sequences - 1)) if sequences > 1 else float("nan")
