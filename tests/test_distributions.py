"""The next-item likelihood against probabilities worked out by hand."""

import math

import pytest
import torch

from hcrnn_pyro.distributions import NextItem, seen_items

# Two rows of two queries, of which three are scored; V = 3 items, E = 2.
EMBEDDINGS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
SCORED = torch.tensor([[True, True], [True, False]])
FEATURES = torch.tensor([[0.0, 0.0], [math.log(2.0), 0.0], [0.0, math.log(3.0)]])
# logits of items 1..3: (0, 0, 0); (log 2, 0, log 2); (0, log 3, log 3)
PROBABILITIES = torch.tensor([[0.0, 1 / 3, 1 / 3, 1 / 3], [0.0, 2 / 5, 1 / 5, 2 / 5], [0.0, 1 / 7, 3 / 7, 3 / 7]])


def test_probabilities_of_every_item():
    torch.testing.assert_close(NextItem(FEATURES, EMBEDDINGS, SCORED).log_probs().exp(), PROBABILITIES)


def test_log_prob_sums_over_the_scored_positions_of_each_row():
    log_prob = NextItem(FEATURES, EMBEDDINGS, SCORED).log_prob(torch.tensor([[1, 2], [3, 1]]))
    torch.testing.assert_close(log_prob, torch.tensor([math.log(1 / 3 * 1 / 5), math.log(3 / 7)]))


def test_excluded_items_have_probability_zero_and_the_rest_share():
    excluded = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    likelihood = NextItem(FEATURES, EMBEDDINGS, SCORED, excluded)
    expected = torch.tensor([[0, 0, 1 / 2, 1 / 2], [0, 2 / 3, 1 / 3, 0], [0, 1 / 7, 3 / 7, 3 / 7]])
    torch.testing.assert_close(likelihood.log_probs().exp(), expected)
    assert likelihood.log_prob(torch.tensor([[1, 1], [1, 0]]))[0] == -math.inf


def test_sample_dimensions_stand_on_the_left():
    features = torch.stack([FEATURES, torch.zeros_like(FEATURES)])
    likelihood = NextItem(features, EMBEDDINGS, SCORED)
    assert likelihood.batch_shape == (2, 2)
    assert likelihood.event_shape == (2,)
    log_prob = likelihood.log_prob(torch.tensor([[1, 2], [3, 1]]))
    expected = torch.tensor([[math.log(1 / 15), math.log(3 / 7)], [math.log(1 / 9), math.log(1 / 3)]])
    torch.testing.assert_close(log_prob, expected)
    expanded = NextItem(FEATURES, EMBEDDINGS, SCORED).expand((5, 2))
    assert expanded.log_prob(torch.tensor([[1, 2], [3, 1]])).shape == (5, 2)


def test_samples_follow_the_probabilities():
    draws = NextItem(FEATURES, EMBEDDINGS, SCORED).sample((20_000,))
    assert draws.shape == (20_000, 2, 2)
    assert (draws[:, 1, 1] == 0).all(), "nothing is drawn where nothing is scored"
    for (row, query), probabilities in zip([(0, 0), (0, 1), (1, 0)], PROBABILITIES, strict=True):
        shares = torch.bincount(draws[:, row, query], minlength=4) / len(draws)
        # standard error at most 0.0036; five of them
        torch.testing.assert_close(shares, probabilities, atol=0.018, rtol=0.0)


def test_gradients_with_excluded_items_are_finite():
    features = FEATURES.clone().requires_grad_()
    excluded = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    NextItem(features, EMBEDDINGS, SCORED, excluded).log_prob(torch.tensor([[2, 1], [1, 0]])).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        # first row shows 2, then 1, then 2 again; second row shows 3 and ends
        ([[2, 1, 2], [3, 0, 0]], [{2}, {1, 2}, {1, 2}, {3}]),
    ],
)
def test_seen_items_grow_along_a_row(inputs, expected):
    inputs = torch.tensor(inputs)
    queries = torch.arange(3).expand(2, 3)
    seen = seen_items(inputs, queries, inputs > 0, items=4)
    assert [set(row[1:].nonzero().flatten().add(1).tolist()) for row in seen] == expected
