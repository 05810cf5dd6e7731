"""The embedded data set and its Bayes-optimal predictor, against brute force and the law of large numbers."""

import itertools

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import SyntheticProcess, synthetic
from hcrnn_pyro.evaluation import evaluate, summarise


def test_the_same_seed_gives_the_same_data():
    one, two, other = synthetic(seed=3), synthetic(seed=3), synthetic(seed=4)
    for part in ("train", "valid", "test"):
        np.testing.assert_array_equal(one.part(part).items, two.part(part).items)
    assert not np.array_equal(one.train.items[:50], other.train.items[:50])


def test_repeats_only_where_asked_for():
    assert not synthetic().has_repeats
    assert synthetic(repeats=True).has_repeats


def test_drift_points_are_the_changes_of_the_planted_context():
    data = SyntheticProcess(users=200).draw()
    truth, train = data.truth, data.train
    drifts = truth.drift_points("train", train.offsets)
    for row in range(5):
        events = slice(train.offsets[row], train.offsets[row + 1])
        contexts = truth.contexts["train"][events]
        expected = [False] + [contexts[t] != contexts[t - 1] for t in range(1, len(contexts))]
        assert drifts[events].tolist() == expected
    # P(change) = d (1 - sum_k theta_k^2), averaged over users and weighted by their transitions
    theta = truth.theta["train"]
    transitions = train.lengths - 1
    expected_rate = np.average(0.1 * (1 - (theta**2).sum(axis=1)), weights=transitions)
    assert drifts.sum() / transitions.sum() == pytest.approx(expected_rate, abs=0.015)  # four standard errors


def test_items_come_from_their_planted_context():
    data = SyntheticProcess(users=200).draw()
    own = data.truth.context_of_item[data.train.items] == data.truth.contexts["train"]
    assert 0.90 < own.mean() < 0.99  # 95 % plus the noise that hits the context by chance, minus what ran out


@pytest.mark.parametrize("repeat_probability", [0.0, 0.3])
def test_optimal_predictions_equal_brute_force_over_every_path(repeat_probability):
    """Sum over all context paths and a fine grid of theta (K = 2, so theta is one number), from the story alone."""
    process = SyntheticProcess(
        users=10,
        items=6,
        contexts=2,
        shortest=4,
        longest=4,
        drift_probability=0.3,
        repeat_probability=repeat_probability,
    )
    truth = process.draw(seed=1).truth
    sequence = [2, 5, 1] if repeat_probability == 0 else [2, 5, 2]
    batch = make_batch(Sequences.from_lists([[*sequence, 3]]), np.array([0]), np.array([3]), "filtering")
    got = truth(batch).exp()[-1].numpy()

    def emit(context, item, seen):
        fresh = 0.0 if item in seen else truth.emissions[context, item]
        fresh /= sum(truth.emissions[context, other] for other in range(1, 7) if other not in seen)
        repeat = repeat_probability if seen else 0.0
        return repeat * (item in seen) / max(len(seen), 1) + (1 - repeat) * fresh

    grid = np.linspace(-8, 8, 1601)  # eta_1 - eta_2 ~ Normal(0, 2 s^2)
    weights = np.exp(-0.5 * grid**2 / (2 * process.proportion_scale**2))
    expected = np.zeros(7)
    for difference, weight in zip(grid, weights, strict=True):
        theta = np.array([1 / (1 + np.exp(-difference)), 1 / (1 + np.exp(difference))])
        for path in itertools.product(range(2), repeat=4):
            probability = weight * theta[path[0]]
            for before, after in itertools.pairwise(path):
                probability *= 0.7 * (before == after) + 0.3 * theta[after]
            seen = set()
            for context, item in zip(path[:3], sequence, strict=True):
                probability *= emit(context, item, seen)
                seen.add(item)
            expected[1:] += [probability * emit(path[3], item, seen) for item in range(1, 7)]
    np.testing.assert_allclose(got, expected / expected.sum(), atol=2e-3)


def test_nothing_known_beats_the_optimal_predictor():
    """Its likelihood is above popularity's and above that of a predictor told the wrong drift probability."""
    data = SyntheticProcess(users=300).draw()
    best = summarise(evaluate(data.truth, data.test, "one-pass"))["nll"]
    counts = np.bincount(data.train.items, minlength=data.catalogue_size + 1) + 0.5
    popularity = torch.from_numpy(np.log(counts / counts[1:].sum()))
    popular = evaluate(lambda batch: popularity.expand(int(batch.scored.sum()), -1), data.test, "one-pass")
    assert best < summarise(popular)["nll"] - 0.5


def test_both_readings_of_the_prefixes_give_the_same_optimum():
    data = SyntheticProcess(users=20).draw()
    exact, one_pass = (evaluate(data.truth, data.test, method) for method in ("exact", "one-pass"))
    np.testing.assert_allclose(exact["log_prob"], one_pass["log_prob"], rtol=1e-9)
