"""The tests of a difference against enumeration, closed forms and hand computation."""

from itertools import product
from math import atan, erfc, pi, sqrt

import numpy as np
import pytest

from hcrnn_pyro import significance
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.significance import holm, seeds_t_test, sequence_bootstrap


def correlated(random, sequences, predictions, shift=0.0):
    """Differences that share a normal effect in each sequence as large as their own noise, and their sequences."""
    rows = np.repeat(np.arange(sequences), predictions)
    return shift + random.normal(size=sequences)[rows] + random.normal(size=len(rows)), rows


def test_bootstrap_is_that_of_all_draws_one_by_one():
    """Four sequences can be drawn in 4^4 equally likely ways; a loop over all of them needs no random numbers."""
    differences = [[3.0, -1.0, 4.0], [-2.5], [2.0, 0.5], [-1.0, 0.2, 0.4, 3.1, 0.3]]
    means = []
    for drawn in product(differences, repeat=4):
        together = [value for sequence in drawn for value in sequence]
        means.append(sum(together) / len(together))
    first = np.array([value for sequence in differences for value in sequence]) + 7.0
    sequences = np.array(list("aaabccddddd"), dtype=object)
    interval = sequence_bootstrap(first, np.full(11, 7.0), sequences, draws=200_000)
    assert interval.difference == pytest.approx(sum(map(sum, differences)) / 11)
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    # The share has a standard error of at most 0.0012; the seed is fixed.
    assert interval.p_value == pytest.approx(2 * np.mean(np.array(means) <= 0), abs=0.005)


def test_rows_of_a_sequence_need_not_stand_together():
    random = np.random.default_rng(0)
    differences, rows = correlated(random, 30, 4)
    shuffled = random.permutation(len(rows))
    names = np.array([f"user {row}" for row in rows], dtype=object)[shuffled]
    one = sequence_bootstrap(differences, np.zeros(120), rows)
    other = sequence_bootstrap(differences[shuffled], np.zeros(120), names)
    assert other == pytest.approx(one, abs=0.03)  # other draws; the interval is about 0.8 wide


def test_bootstrap_agrees_with_the_normal_interval_of_a_ratio():
    """With many sequences of uneven length, the linearised standard error of a ratio of sums is right."""
    random = np.random.default_rng(1)
    differences, rows = correlated(random, 600, random.integers(1, 15, size=600), shift=0.07)
    interval = sequence_bootstrap(differences, np.zeros(len(rows)), rows)
    mean = differences.mean()
    residuals = [np.sum(differences[rows == row] - mean) for row in range(600)]
    error = sqrt(sum(residual**2 for residual in residuals)) / len(rows)
    assert interval.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert interval.p_value == pytest.approx(erfc(mean / error / sqrt(2)), abs=0.02)
    assert 0.02 < interval.p_value < 0.9, "a case that tells something"


def test_only_drawing_sequences_keeps_its_level():
    """Without a difference 5 % should be found; 400 trials have a standard error of 1.1 points."""
    random = np.random.default_rng(2)
    found, found_by_predictions = [], []
    for _ in range(400):
        differences, rows = correlated(random, 60, 10)
        none = np.zeros(len(rows))
        found.append(sequence_bootstrap(differences, none, rows, draws=300).p_value < 0.05)
        naive = sequence_bootstrap(differences, none, np.arange(len(rows)), draws=100)
        found_by_predictions.append(naive.p_value < 0.05)
    assert 0.02 < np.mean(found) < 0.09
    assert np.mean(found_by_predictions) > 0.3  # 0.40 by the normal approximation: the error is 2.3 times too small


def test_blocks_change_nothing_and_seeds_do(monkeypatch):
    differences, rows = correlated(np.random.default_rng(3), 11, 3)
    none = np.zeros(len(rows))
    whole = sequence_bootstrap(differences, none, rows, draws=500)
    assert sequence_bootstrap(differences, none, rows, draws=500, seed=1) != whole
    monkeypatch.setattr(significance, "BLOCK", 50)
    assert sequence_bootstrap(differences, none, rows, draws=500) == whole


def test_equal_recommenders_and_certain_differences():
    scores, rows = np.array([100.0, 0.0, 50.0]), np.array([0, 0, 1])
    assert sequence_bootstrap(scores, scores, rows) == (0.0, 0.0, 0.0, 1.0)
    assert sequence_bootstrap(scores + 1, scores, rows, draws=999) == (1.0, 1.0, 1.0, 2 / 1000)


def test_what_cannot_be_drawn_is_told():
    two, rows = np.zeros(2), np.array([0, 1])
    for first, second, sequences, draws, sentence in [
        (two, np.zeros(3), rows, 10, "three arrays of one length"),
        (np.zeros((2, 2)), np.zeros((2, 2)), rows, 10, "three arrays of one length"),
        (np.array([0.0, np.nan]), two, rows, 10, "finite"),
        (two, two, np.zeros(2), 10, "at least two sequences to draw from; got 1"),
        (two, two, rows, 0, "at least one draw; got 0"),
    ]:
        with pytest.raises(UserError, match=sentence):
            sequence_bootstrap(first, second, sequences, draws)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 by 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, of which the last is raised to 0.06.
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6, 0.001])) == pytest.approx([1.0, 1.0, 0.003])
    assert holm(np.array([0.2])) == pytest.approx([0.2])
    assert len(holm(np.array([]))) == 0
    with pytest.raises(UserError, match="from 0 to 1"):
        holm(np.array([0.5, np.nan]))


def test_welch_by_hand():
    # Means 2 and 4, variances 1, three seeds each: t = 2 / sqrt(2/3) on 4 degrees of freedom, which have a closed form.
    t = 2 / sqrt(2 / 3)
    ratio = 1 + t**2 / 4
    inside = 3 / 4 * t / sqrt(ratio) * (1 - t**2 / (12 * ratio))
    assert seeds_t_test(np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])) == pytest.approx(1 - inside)
    # All of the variance in two seeds: t = 3 on their one degree of freedom, a Cauchy; pooling would give it four.
    p_value = seeds_t_test(np.array([1.0, 3.0]), np.array([5.0, 5.0, 5.0, 5.0]))
    assert p_value == pytest.approx(1 - 2 / pi * atan(3))
    assert seeds_t_test(np.array([5.0, 5.0, 5.0, 5.0]), np.array([1.0, 3.0])) == pytest.approx(p_value)


def test_seeds_that_do_not_vary():
    constant = np.full(3, 0.1)  # whose computed standard deviation is not exactly 0
    assert seeds_t_test(constant, np.full(2, 0.1)) == 1.0
    assert seeds_t_test(constant, np.full(2, 0.2)) == 0.0


def test_one_seed_is_too_few():
    with pytest.raises(UserError, match="at least two seeds on each side; got 1 and 3"):
        seeds_t_test(np.array([1.0]), np.array([1.0, 2.0, 3.0]))
