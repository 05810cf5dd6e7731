"""The next-item likelihood against probabilities worked out by hand."""

import math

import torch

from hcrnn_pyro import distributions
from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.seen import seen_items

# Two rows of two queries, of which three are scored; V = 3 items, E = 2.
EMBEDDINGS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
SCORED = torch.tensor([[True, True], [True, False]])
FEATURES = torch.tensor([[0.0, 0.0], [math.log(2.0), 0.0], [0.0, math.log(3.0)]])
# logits of items 1..3: (0, 0, 0); (log 2, 0, log 2); (0, log 3, log 3)
SEEN = seen_items(torch.tensor([[1, 2], [3, 0]]), torch.tensor([[0, 1], [0, 0]]), SCORED)  # 1; 1 and 2; 3
PROBABILITIES = torch.tensor([[0.0, 1 / 3, 1 / 3, 1 / 3], [0.0, 2 / 5, 1 / 5, 2 / 5], [0.0, 1 / 7, 3 / 7, 3 / 7]])


def test_probabilities_of_every_item():
    torch.testing.assert_close(NextItem(FEATURES, EMBEDDINGS, SCORED).log_probs().exp(), PROBABILITIES)


def test_log_prob_sums_over_the_scored_positions_of_each_row():
    log_prob = NextItem(FEATURES, EMBEDDINGS, SCORED).log_prob(torch.tensor([[1, 2], [3, 1]]))
    torch.testing.assert_close(log_prob, torch.tensor([math.log(1 / 3 * 1 / 5), math.log(3 / 7)]))


def test_seen_items_have_probability_zero_and_the_rest_share():
    likelihood = NextItem(FEATURES, EMBEDDINGS, SCORED, SEEN)
    expected = torch.tensor([[0, 0, 1 / 2, 1 / 2], [0, 0, 0, 1], [0, 1 / 4, 3 / 4, 0]])
    torch.testing.assert_close(likelihood.log_probs().exp(), expected)
    assert likelihood.log_prob(torch.tensor([[1, 1], [1, 0]]))[0] == -math.inf
    expected = torch.tensor([math.log(1 / 2 * 1), math.log(1 / 4)])
    torch.testing.assert_close(likelihood.log_prob(torch.tensor([[2, 3], [1, 0]])), expected)


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


def test_seen_items_leave_out_the_same_under_every_sample_dimension():
    features = torch.stack([FEATURES, torch.zeros_like(FEATURES)])
    log_prob = NextItem(features, EMBEDDINGS, SCORED, SEEN).log_prob(torch.tensor([[2, 3], [1, 0]]))
    torch.testing.assert_close(log_prob.exp(), torch.tensor([[1 / 2, 1 / 4], [1 / 2, 1 / 2]]))


def test_log_probabilities_are_those_that_carry_gradients(monkeypatch):
    """Without gradients they are normalised in place, here one row at a time."""
    monkeypatch.setattr(distributions, "BLOCK", 1)
    features = torch.stack([FEATURES, torch.zeros_like(FEATURES)])
    tracked = NextItem(features.requires_grad_(), EMBEDDINGS, SCORED).log_probs()
    with torch.no_grad():
        untracked = NextItem(features, EMBEDDINGS, SCORED).log_probs()
    assert tracked.requires_grad and not untracked.requires_grad
    torch.testing.assert_close(untracked, tracked.detach())


def test_an_uncertain_items_odds_are_their_mean_over_its_embedding():
    variance = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.3, 1.2], [0.5, 0.0]])
    draws = EMBEDDINGS + variance.sqrt() * torch.randn(400_000, *EMBEDDINGS.shape)
    odds = torch.einsum("ne,sve->snv", FEATURES, draws).exp().mean(dim=0)[:, 1:]
    likelihood = NextItem(FEATURES, EMBEDDINGS, SCORED, variance=variance)
    expected = odds / odds.sum(dim=1, keepdim=True)
    torch.testing.assert_close(likelihood.log_probs().exp()[:, 1:], expected, rtol=0.01, atol=0.0)
    expanded = likelihood.expand(torch.Size([3, 2]))
    torch.testing.assert_close(expanded.log_probs()[0], likelihood.log_probs())
    targets = torch.tensor([[2, 3], [3, 0]])
    torch.testing.assert_close(expanded.log_prob(targets)[1], likelihood.log_prob(targets))
