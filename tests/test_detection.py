"""The area under the ROC curve: by hand, against all pairs, and its interval against redrawn sequences."""

import math

import numpy as np
import pytest

from hcrnn_pyro.detection import clustered_auc
from hcrnn_pyro.errors import UserError


def pairs(scores, is_one):
    one, other = scores[is_one][:, None], scores[~is_one]
    return float(np.mean((one > other) + 0.5 * (one == other)))


def clustered(seed, sequences=150):
    """Events whose scores share a part by sequence, some of a kind that scores higher."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(sequences), random.integers(1, 15, sequences))
    is_one = random.random(len(names)) < random.beta(2, 4, sequences)[names]
    scores = random.normal(size=len(names)) + random.normal(size=sequences)[names] + 0.7 * is_one
    return np.round(scores, 1), is_one, names


def test_by_hand():
    scores, is_one = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    # of the four pairs 3 > 2 and 3 > 1 are right, 1 < 2 is wrong, and 1 = 1 counts half
    assert clustered_auc(scores, is_one, np.arange(4)).value == 2.5 / 4


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_share_of_right_pairs(seed):
    scores, is_one, names = clustered(seed)
    assert clustered_auc(scores, is_one, names).value == pytest.approx(pairs(scores, is_one), abs=1e-12)


def test_turning_the_score_round_turns_the_area_round():
    scores, is_one, names = clustered(0)
    there, back = clustered_auc(scores, is_one, names), clustered_auc(-scores, is_one, names)
    assert (1 - there.value, 1 - there.high, 1 - there.low) == pytest.approx(back)


def test_the_interval_is_as_wide_as_that_of_sequences_drawn_anew():
    scores, is_one, names = clustered(1)
    random, rows = np.random.default_rng(0), [np.flatnonzero(names == name) for name in np.unique(names)]
    drawn = []
    for _ in range(1500):
        some = np.concatenate([rows[i] for i in random.integers(len(rows), size=len(rows))])
        drawn.append(pairs(scores[some], is_one[some]))
    found = clustered_auc(scores, is_one, names)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.1)
    alone = clustered_auc(scores, is_one, np.arange(len(names)))
    assert found.high - found.low > 1.2 * (alone.high - alone.low), "events of a sequence are no independent draws"


def test_events_by_themselves_have_delongs_variance():
    """DeLong, DeLong and Clarke-Pearson 1988: the variances of the two kinds' placements over their numbers."""
    scores, is_one, names = clustered(2)
    one, other = scores[is_one], scores[~is_one]
    right = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    expected = right.mean(axis=1).var(ddof=1) / len(one) + right.mean(axis=0).var(ddof=1) / len(other)
    found = clustered_auc(scores, is_one, np.arange(len(names)))
    assert ((found.high - found.value) / 1.959964) ** 2 == pytest.approx(expected, rel=1e-6)


def test_a_single_sequence_has_no_interval():
    found = clustered_auc(np.array([1.0, 2.0]), np.array([False, True]), np.zeros(2))
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(
    ("scores", "is_one", "sentence"),
    [
        ([1.0, 2.0], [True, True], "both kinds; got 2 of the one and 0 of the other"),
        ([1.0, np.nan], [True, False], "a score for every event"),
        ([1.0], [True, False], "three arrays of one length"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores, is_one, sentence):
    with pytest.raises(UserError, match=sentence):
        clustered_auc(np.array(scores), np.array(is_one), np.arange(2))
