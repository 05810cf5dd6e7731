r"""Linear regression whose prior and noise the data choose, by the evidence.

    y_v = m + A^T (f_v - mean f) + noise,     A_gd ~ Normal(0, tau_d^2),     noise_d ~ Normal(0, sigma_d^2)

Every column d of y has a tau and a sigma of its own, those of the greatest p(y | tau, sigma): MacKay, "Bayesian
Interpolation", 1992; Bishop 2006, section 3.5. What is then said of a new row is Normal, in closed form.

Axes: V rows, G features, D columns of y, n new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 500  # of the fixed point, which mostly takes some tens
CLOSE = 1e-8  # relative change of sigma^2 / tau^2 at which it is reached
TINY = 1e-12  # least variance of noise, and of what the features explain, over that of the column


@dataclass(frozen=True, eq=False)
class EvidenceRegression:
    """A fitted regression.

    Attributes:
        centre: (G,) mean of the features.
        spread: (G, G) their covariance.
        mean: (D,) m.
        slopes: (G, D) posterior mean of A.
        noise: (D,) sigma^2.
        prior: (D,) tau^2.
        directions: (G, r) principal directions of the features.
        strengths: (r,) sum of squares of the features along each.
        groups: columns of features that a row lacks together.
        rows: V.
    """

    centre: np.ndarray
    spread: np.ndarray
    mean: np.ndarray
    slopes: np.ndarray
    noise: np.ndarray
    prior: np.ndarray
    directions: np.ndarray
    strengths: np.ndarray
    groups: tuple[slice, ...]
    rows: int

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray, groups: Sequence[slice] = ()) -> EvidenceRegression:
        """Maximise the evidence.

        Args:
            features: (V, G); NaN where a row lacks a group, which then counts as the other rows' mean.
            values: (V, D).
            groups: columns of features that a row lacks together.
        """
        centre, centred = _centred(features)
        mean = values.mean(axis=0)
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        kept = sizes > 1e-10 * max(sizes.max(initial=0.0), 1e-300)
        strengths, directions = sizes[kept] ** 2, right[kept].T
        seen = left[:, kept].T @ (values - mean)  # (r, D)
        total = np.square(values - mean).sum(axis=0)
        noise, prior = _maximise(seen, strengths, total, len(values))
        shrunk = sizes[kept][:, None] * seen / (strengths[:, None] + noise / prior)
        spread = centred.T @ centred / len(centred)
        slopes = directions @ shrunk
        return cls(centre, spread, mean, slopes, noise, prior, directions, strengths, tuple(groups), len(values))

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, D) mean and standard deviation of new rows.

        A group that a row lacks stays at its mean, and what it might have told adds to the variance.

        Args:
            features: (n, G); NaN where a row lacks a group.
        """
        lacking = np.isnan(features)
        offset = np.where(lacking, 0.0, features - self.centre)
        along = offset @ self.directions  # (n, r)
        outside = np.square(offset).sum(axis=1) - np.square(along).sum(axis=1)  # where the data say nothing of A
        shrinkage = self.noise / (self.strengths[:, None] + self.noise / self.prior)  # (r, D) variance of A along each
        variance = self.noise * (1.0 + 1.0 / self.rows) + np.square(along) @ shrinkage
        variance += np.clip(outside, 0.0, None)[:, None] * self.prior
        for group in self.groups:
            untold = np.einsum("gd,gh,hd->d", self.slopes[group], self.spread[group, group], self.slopes[group])
            variance += lacking[:, group].any(axis=1)[:, None] * untold
        return self.mean + offset @ self.slopes, np.sqrt(variance)


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,) means over the rows that have a feature, and (V, G) what lies beyond them: 0 where it is lacking."""
    there = ~np.isnan(features)
    centre = np.where(there, features, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return centre, np.where(there, features - centre, 0.0)


def _maximise(seen: np.ndarray, strengths: np.ndarray, total: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(D,) sigma^2 and tau^2 of the greatest evidence, by MacKay's fixed point.

    Args:
        seen: (r, D) y along the principal directions of the rows.
        strengths: (r,) squares of the singular values of the features.
        total: (D,) sum of squares of y.
        rows: V; the mean took one degree of freedom.
    """
    least = TINY * total / rows + np.finfo(np.float64).tiny
    noise = prior = total / rows + least
    rest = total - np.square(seen).sum(axis=0)  # (D,) what no slopes explain
    for _ in range(ROUNDS):
        ratio = noise / prior
        share = strengths[:, None] / (strengths[:, None] + ratio)  # (r, D) how well each direction is determined
        slopes = np.square(share * seen) / strengths[:, None]
        residual = rest + np.square((1.0 - share) * seen).sum(axis=0)
        determined = share.sum(axis=0)
        noise = np.maximum(residual / np.maximum(rows - 1 - determined, 1.0), least)
        prior = np.maximum(slopes.sum(axis=0) / np.maximum(determined, TINY), least)
        if np.all(np.abs(noise / prior - ratio) <= CLOSE * ratio):
            break
    return noise, prior
