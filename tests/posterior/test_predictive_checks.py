"""Statistics of sequences by hand, and a check of sequences against their own process and another one."""

import numpy as np
import pytest

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import SyntheticProcess
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.predictive_checks import Statistics, gini, predictive_checks

TRAIN = Sequences.from_lists([[1, 2, 3], [3, 1, 2]])
CONTEXTS = np.array([0, 0, 1, 1])  # of items 1..4


def test_statistics_by_hand():
    found = Statistics.of(TRAIN, CONTEXTS)(Sequences.from_lists([[1, 2, 1, 3], [4], [3, 4, 4, 1]]))
    expected = {
        "repeated_share": 2 / 9,
        "distinct_items": (3 + 1 + 3) / 3,
        # 1 and 2 and 3 come twice in training, 4 never
        "log_popularity": 6 / 9 * np.log(3),
        # counts 3, 1, 2, 3: of all 16 ordered pairs |difference| adds up to 2 (2 + 1 + 0 + 1 + 2 + 1) = 14
        "item_gini": 14 / 16 / (2 * 9 / 4),
        "context_switches": 2 / 6,  # 1 -> 3 and 4 -> 1
        "context_run": (3 + 1 + 1 + 3 + 1) / 5,
        "longest_run": (3 + 1 + 3) / 3,
        "known_neighbours": 1 / 6,  # 1, 2; not 2, 1, nor 2, 3 or 3, 1, which do not occur
    }
    assert found == pytest.approx(expected)


def test_gini_of_extremes():
    assert gini(np.array([2, 2, 2])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)


def test_neighbours_end_with_the_sequence():
    with pytest.raises(UserError, match="no sequence has two"):
        Statistics.of(TRAIN, CONTEXTS)(Sequences.from_lists([[1], [2], [3]]))


def test_intervals_and_tails_by_hand():
    """Of four replications, three repeat nothing and one repeats a half, as the real sequence does."""
    statistics = Statistics.of(TRAIN, CONTEXTS)
    simulated = [Sequences.from_lists([sequence]) for sequence in ([1, 2], [2, 1], [1, 3], [1, 1])]
    table = predictive_checks(Sequences.from_lists([[2, 2]]), simulated, statistics).set_index("statistic")
    row = table.loc["repeated_share"]
    assert row["real"] == 0.5
    assert row["mean"] == 0.125
    assert row["low"] == 0.0
    assert row["high"] == pytest.approx(0.5 * (3 * 0.975 - 2))
    assert row["tail_probability"] == pytest.approx(2 * (1 + 1) / (1 + 4))
    assert table.loc["context_switches", "tail_probability"] == 1.0
    with pytest.raises(UserError, match="one simulated replication"):
        predictive_checks(TRAIN, [], statistics)


def test_data_agree_with_their_own_process_and_not_with_one_that_drifts_more():
    """Eight statistics of one fixed seed; the least tail that 19 replications can give is 1 / 10."""
    drift, calm = SyntheticProcess(users=200, drift_probability=0.4), SyntheticProcess(users=200)
    data = calm.draw(seed=0)
    statistics = Statistics.of(data.train, data.truth.context_of_item[1:])
    theirs = _redrawn(drift, data, 19)
    table = predictive_checks(data.test, theirs, statistics).set_index("statistic")
    for name in ("context_switches", "context_run", "longest_run"):
        assert table.loc[name, "tail_probability"] == pytest.approx(1 / 10)
    own = predictive_checks(data.test, _redrawn(calm, data, 19), statistics).set_index("statistic")
    assert (own["tail_probability"] > 0.1).sum() >= 7


def _redrawn(process, data, replications):
    """New sequences from the same contexts of items, as the process draws them."""
    random = np.random.default_rng(1)
    truth, lengths = data.truth, data.test.lengths
    for _ in range(replications):
        thetas = random.permuted(truth.theta["test"], axis=1)
        drawn = [
            process._sequence(random, theta, int(length), truth.emissions)[0].tolist()
            for theta, length in zip(thetas, lengths, strict=True)
        ]
        yield Sequences.from_lists(drawn)
