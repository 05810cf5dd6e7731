"""The regression by the evidence, against dense Gaussian algebra, a search of the evidence, and planted answers."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from hcrnn_pyro.evidence import EvidenceRegression

ROWS, FEATURES, COLUMNS = 60, 5, 3


def planted(rows=ROWS, columns=COLUMNS, noise=0.5, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, FEATURES))
    slopes = random.normal(size=(FEATURES, columns))
    return features, slopes, 2.0 + features @ slopes + noise * random.normal(size=(rows, columns))


def contrasts(rows):
    """(rows - 1, rows) orthonormal, each orthogonal to the mean, which so drops out of what they see."""
    return np.linalg.svd(np.ones((1, rows)))[2][1:]


def test_noise_and_prior_are_those_of_the_greatest_evidence():
    features, _, values = planted()
    fitted = EvidenceRegression.fit(features, values)
    see = contrasts(ROWS)
    for column in range(COLUMNS):

        def negative_evidence(logs, column=column):
            noise, prior = np.exp(logs)
            covariance = noise * np.eye(ROWS - 1) + prior * see @ features @ features.T @ see.T
            return -multivariate_normal(cov=covariance).logpdf(see @ values[:, column])

        best = minimize(negative_evidence, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
        assert (fitted.noise[column], fitted.prior[column]) == pytest.approx(tuple(np.exp(best.x)), rel=1e-3)


def test_a_new_row_has_the_posterior_of_the_whole_gaussian():
    features, _, values = planted()
    fitted = EvidenceRegression.fit(features, values)
    new = np.random.default_rng(1).normal(size=(4, FEATURES))
    mean, deviation = fitted.predict(new)
    broad = 1e3  # the mean's prior is flat
    design = np.hstack([features - features.mean(axis=0), np.ones((ROWS, 1))])
    asked = np.hstack([new - features.mean(axis=0), np.ones((4, 1))])
    for column in range(COLUMNS):
        prior = np.diag([fitted.prior[column]] * FEATURES + [broad])
        gain = prior @ design.T @ np.linalg.inv(design @ prior @ design.T + fitted.noise[column] * np.eye(ROWS))
        posterior = prior - gain @ design @ prior
        np.testing.assert_allclose(mean[:, column], asked @ gain @ values[:, column], rtol=1e-4, atol=1e-5)
        variance = np.einsum("ng,gh,nh->n", asked, posterior, asked) + fitted.noise[column]
        np.testing.assert_allclose(deviation[:, column], np.sqrt(variance), rtol=1e-4)


def test_planted_slopes_are_recovered_and_intervals_cover():
    features, slopes, values = planted(rows=3_000, columns=4)
    fitted = EvidenceRegression.fit(features[:2_000], values[:2_000])
    np.testing.assert_allclose(fitted.slopes, slopes, atol=0.06)
    assert fitted.noise == pytest.approx(np.full(4, 0.25), rel=0.1)
    mean, deviation = fitted.predict(features[2_000:])
    covered = np.abs(values[2_000:] - mean) < 1.96 * deviation
    assert covered.mean() == pytest.approx(0.95, abs=0.01)  # of 4,000: a standard error of 0.0034


def test_features_that_say_nothing_are_not_believed():
    random = np.random.default_rng(0)
    features, values = random.normal(size=(200, FEATURES)), random.normal(size=(200, 2))
    mean, deviation = EvidenceRegression.fit(features, values).predict(features)
    assert np.abs(mean - values.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(deviation, values.std(axis=0) * np.ones((200, 1)), rtol=0.1)


def test_a_row_that_lacks_a_group_gets_its_mean_and_the_uncertainty_of_what_it_might_have_told():
    features, slopes, values = planted(rows=4_000, columns=2)
    fitted = EvidenceRegression.fit(features, values, [slice(0, 2), slice(2, FEATURES)])
    lacking = features[:1].copy()
    lacking[:, :2] = np.nan
    mean, deviation = fitted.predict(lacking)
    np.testing.assert_allclose(
        mean, fitted.mean + (features[:1, 2:] - features[:, 2:].mean(axis=0)) @ fitted.slopes[2:]
    )
    np.testing.assert_allclose(deviation[0], np.sqrt(0.25 + np.square(slopes[:2]).sum(axis=0)), rtol=0.05)
    nothing, unsure = fitted.predict(np.full((1, FEATURES), np.nan))
    np.testing.assert_allclose(nothing[0], values.mean(axis=0))
    np.testing.assert_allclose(unsure[0], values.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("values", [np.zeros((6, 2)), np.ones((6, 1)), np.arange(6.0)[:, None]])
def test_columns_without_noise_or_without_anything_give_numbers(values):
    features = np.eye(6)[:, :3]
    mean, deviation = EvidenceRegression.fit(features, values).predict(features)
    assert np.isfinite(mean).all() and np.isfinite(deviation).all()
