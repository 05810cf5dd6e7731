"""Calibration: by hand, of the law that drew the data, and of one too sure of itself."""

import math

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import synthetic
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.reliability import reliability, top_curve


def constant(probabilities):
    """A scorer that gives every prediction the same probabilities of items 1..V."""
    log_probs = torch.tensor([0.0, *probabilities]).log()
    return lambda batch: log_probs.expand(int(batch.scored.sum()), -1)


# The targets: 1 in two of five, 2 in two, 3 in one.
SEQUENCES = Sequences.from_lists([[3, 1, 2, 1], [1, 3, 2]])


def test_a_curve_of_equal_masses_by_hand():
    confidence = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7])
    correct = np.array([False, True, False, True, True, True])
    curve = top_curve(confidence, correct, bins=3)
    np.testing.assert_allclose(curve.predicted, [0.15, 0.5, 0.85])
    np.testing.assert_allclose(curve.observed, [0, 1, 1])
    assert curve.count.tolist() == [2, 2, 2]
    alike = top_curve(np.full(6, 0.5), correct, bins=3)
    assert (alike.predicted.tolist(), alike.count.tolist()) == ([0.5], [6])
    np.testing.assert_allclose(alike.observed, [4 / 6])


def test_constant_probabilities_by_hand():
    """0.7, 0.2 and 0.1 for items that come in 2/5, 2/5 and 1/5 of the cases, in three bins of their own."""
    found = reliability(constant([0.7, 0.2, 0.1]), SEQUENCES)
    assert found.predictions == 5
    assert found.ece == pytest.approx(0.3)
    assert found.misplaced == pytest.approx((0.3 + 0.2 + 0.1) / 2)
    assert found.nll == pytest.approx(-(2 * math.log(0.7) + 2 * math.log(0.2) + math.log(0.1)) / 5)
    np.testing.assert_allclose(found.items.predicted, [0.1, 0.2, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.items.observed, [0.2, 0.4, 0.4])
    assert found.items.count.tolist() == [5, 5, 5]


def test_frequencies_as_probabilities_are_calibrated():
    found = reliability(constant([0.4, 0.4, 0.2]), SEQUENCES)
    assert found.misplaced == pytest.approx(0, abs=1e-7)
    assert found.ece == pytest.approx(0, abs=1e-7)


def test_the_law_that_drew_the_data_is_calibrated_and_a_sharper_one_is_not():
    """Chance leaves about 0.8 sqrt(15 / 4 / N) = 0.03 of ECE at N = 3,000."""
    random = np.random.default_rng(0)
    laws = random.dirichlet(np.full(8, 0.5), size=3000)
    targets = np.array([random.choice(8, p=law) for law in laws]) + 1
    sequences = Sequences.from_lists([[1, int(target)] for target in targets])
    log_laws = torch.from_numpy(np.log(np.concatenate([np.zeros((3000, 1)) + 1e-300, laws + 1e-30], axis=1)))

    honest = reliability(lambda batch: log_laws[batch.rows], sequences)
    assert honest.ece < 0.04
    assert honest.misplaced < 0.04
    sure = reliability(lambda batch: (3 * log_laws[batch.rows]).log_softmax(dim=1), sequences)
    sharp = (3 * log_laws).softmax(dim=1).numpy()[:, 1:]
    expected = np.mean(sharp.max(axis=1) - laws[np.arange(3000), sharp.argmax(axis=1)])  # what it promises too much
    assert expected > 0.15
    assert sure.ece == pytest.approx(expected, abs=0.03)
    assert sure.misplaced > 0.1
    assert sure.nll > honest.nll


def test_the_best_prediction_of_the_synthetic_data_is_calibrated():
    data = synthetic()
    part = data.test.take(np.arange(30))
    found = reliability(data.truth, part, "one-pass", items=data.catalogue_size)
    assert found.predictions == part.predictions
    assert found.ece < 0.8 * math.sqrt(15 * 0.25 / found.predictions) + 0.03
    assert found.misplaced < 0.05


def test_scores_that_are_no_probabilities_are_named():
    with pytest.raises(UserError, match="sum to 1 only within"):
        reliability(constant([0.7, 0.7, 0.1]), SEQUENCES)
