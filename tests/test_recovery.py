"""The planted theta: the true model's likelihood by enumeration, and the measures of recovery by hand."""

from itertools import product

import numpy as np
import pytest
import torch
from pyro import poutine

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.synthetic import SyntheticProcess
from hcrnn_pyro.posterior.recovery import TrueModel, recovery, true_posterior, whole_sequences


@pytest.fixture
def data():
    return SyntheticProcess(users=20, items=8, contexts=2, shortest=3, longest=5).draw()


def by_enumeration(truth, items, theta):
    """The sum over all paths of contexts, step by step from the definition of the process."""
    total = 0.0
    for path in product(range(len(theta)), repeat=len(items)):
        probability, seen = 1.0, np.ones(truth.emissions.shape[1])
        for t, (item, z) in enumerate(zip(items, path, strict=True)):
            stay = 0.0 if t == 0 else (1 - truth.drift_probability) * (path[t - 1] == z)
            redraw = theta[z] * (1.0 if t == 0 else truth.drift_probability)
            law = truth.emissions[z] * seen
            probability *= (stay + redraw) * law[item] / law.sum()
            seen[item] = 0.0
        total += probability
    return np.log(total)


def test_the_likelihood_sums_over_all_paths(data):
    sequences, truth = data.train, data.truth
    rows = np.arange(4)
    batch = make_batch(sequences, rows, sequences.lengths[rows] - 1, "sequence")
    items = whole_sequences(batch)
    for row in rows:
        assert items[row][items[row] > 0].tolist() == sequences[int(row)].tolist()
    theta = torch.tensor([[0.3, 0.7], [0.5, 0.5], [0.9, 0.1], [0.01, 0.99]], dtype=torch.float64)
    found = truth.log_likelihood(truth.emission_of(items), theta)
    expected = [by_enumeration(truth, sequences[int(row)], theta[row].numpy()) for row in rows]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_the_true_model_scores_theta_by_prior_and_likelihood(data):
    batch = make_batch(data.test, np.arange(3), data.test.lengths[:3] - 1, "sequence")
    eta = torch.tensor([[0.5, -0.5], [0.0, 1.0], [2.0, 0.0]])
    trace = poutine.trace(poutine.condition(TrueModel(data.truth, batch), {"eta": eta})).get_trace(batch)
    trace.compute_log_prob()
    scale = data.truth.proportion_scale
    prior = (-0.5 * (eta / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)
    torch.testing.assert_close(trace.nodes["eta"]["log_prob"], prior)
    exact = [by_enumeration(data.truth, data.test[row], eta[row].softmax(-1).double().numpy()) for row in range(3)]
    np.testing.assert_allclose(trace.nodes["items"]["log_prob"].numpy(), exact, rtol=1e-4)


def test_recovery_by_hand():
    draws = np.linspace(0.0, 1.0, 101)[:, None, None] * np.array([1.0, 0.0]) + np.array([0.0, 0.5])  # (101, 1, 2)
    found = recovery(draws, np.array([[0.98, 0.5]]))
    # means 0.5 and 0.5; the first interval is 0.05 to 0.95 and misses 0.98, the second is the point 0.5
    assert found.total_variation == pytest.approx(0.24)
    assert found.coverage == pytest.approx(0.5)
    assert found.width == pytest.approx(0.45)
    assert found.sequences == 1


def test_nuts_under_the_true_model_agrees_with_importance_sampling(data):
    """A second way to the same posterior: prior draws weighed by their likelihood, exact as their number grows."""
    batch = make_batch(data.test, np.arange(3), data.test.lengths[:3] - 1, "sequence")
    found = true_posterior(data.truth, batch, draws=100, warmup=60).theta.double().mean(dim=0)
    emission = data.truth.emission_of(whole_sequences(batch))
    theta = (data.truth.proportion_scale * torch.randn(20_000, 1, 2, dtype=torch.float64)).softmax(-1)
    weights = data.truth.log_likelihood(emission, theta.expand(-1, 3, -1)).softmax(dim=0)
    expected = (weights.unsqueeze(-1) * theta).sum(dim=0)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.0)  # the error of 200 draws is about 0.02
