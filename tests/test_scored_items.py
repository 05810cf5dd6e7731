"""The distribution made of scores: by hand, and that it keeps their order and their ties."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.scored_items import ScoredItems
from hcrnn_pyro.seen import SeenItems

SCORED = torch.tensor([[True, True], [True, False]])


def of(rows, seen=None):
    return ScoredItems(torch.tensor(rows, dtype=torch.float64), SCORED, seen)


def test_by_hand():
    likelihood = of([[9, 1, 3, 0], [9, 0, 0, 0], [9, 0.5, 0, 0]])
    expected = torch.tensor([[4, 10, 1], [5, 5, 5], [12, 1.5, 1.5]], dtype=torch.float64) / 15
    expected[2] = torch.tensor([4, 1, 1], dtype=torch.float64) / 6
    torch.testing.assert_close(likelihood.log_probs()[:, 1:].exp(), expected)
    assert likelihood.log_probs()[:, 0].eq(-torch.inf).all()
    observed = likelihood.log_prob(torch.tensor([[2, 3], [1, 0]]))
    torch.testing.assert_close(observed, torch.log(torch.tensor([10 / 15 * 5 / 15, 4 / 6], dtype=torch.float64)))


def test_seen_items_have_probability_0():
    seen = SeenItems(torch.tensor([[1, 2], [3, 0]]), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
    got = of([[0, 1, 3, 0], [0, 0, 0, 0], [0, 1, 1, 7]], seen).log_probs().exp()
    expected = torch.tensor([[0, 0, 10 / 11, 1 / 11], [0, 0, 0, 1], [0, 0.5, 0.5, 0]], dtype=torch.float64)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("items", [1, 2, 7, 8, 15, 930])
def test_order_and_ties_are_kept_exactly(items):
    random = np.random.default_rng(items)
    scores = np.exp(random.uniform(-70, 70, (3, items + 1)))
    scores[0] = scores[0, 0]  # all equal, in every lane of a vectorised loop
    scores[1, items // 2 :] = scores[1, items // 2] * (1 + 1e-11 * np.arange(items + 1 - items // 2))  # very close
    scores[2, ::3] = 0.0
    got = of(scores.tolist()).log_probs()[:, 1:].numpy()
    for given, made in zip(scores[:, 1:], got, strict=True):
        assert np.array_equal(np.unique(given, return_inverse=True)[1], np.unique(made, return_inverse=True)[1])


def test_sums_in_another_order_tie():
    forward, backward = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert forward != backward
    row = [0.0, forward, backward, 0.5]
    log_probs = of([row, row, row]).log_probs()
    assert torch.equal(log_probs[:, 1], log_probs[:, 2])
    assert (log_probs[:, 3] < log_probs[:, 2]).all()


def test_scores_are_left_as_they_were_and_float32_is_refused():
    scores = torch.tensor([[0.0, 0.3, 0.7]] * 3, dtype=torch.float64)
    before = scores.clone()
    ScoredItems(scores, SCORED).log_probs()
    assert torch.equal(scores, before)
    with pytest.raises(ValueError, match="float64"):
        ScoredItems(scores.float(), SCORED)


def test_draws_and_further_dimensions():
    likelihood = of([[0, 0, 3, 0], [0, 1, 1, 1], [0, 0, 0, 5]])
    drawn = likelihood.sample((4000,))
    assert drawn.shape == (4000, 2, 2)
    assert drawn[:, 1, 1].eq(0).all()
    share = (drawn[:, 0, 0] == 2).double().mean()  # 4/6: four standard errors are 0.03
    assert share.item() == pytest.approx(4 / 6, abs=0.03)
    wider = likelihood.expand(torch.Size([5, 2]))
    value = drawn[:5]
    torch.testing.assert_close(wider.log_prob(value), torch.stack([likelihood.log_prob(one) for one in value]))
