"""Dropout by 16 random bits an entry, against the binomial distribution and its own definition."""

import math

import numpy as np
import pytest
import torch

from hcrnn_pyro.errors import UserError
from hcrnn_pyro.nn.dropout import SHARES, Dropout, random_word


@pytest.mark.parametrize("p", [0.05, 0.4, 0.5, 0.75])
def test_share_of_zeros_in_every_quarter_of_a_word(p):
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(4, 100_000).T.contiguous()) == 0.0  # a row is one word of 64 bits
    deviation = math.sqrt(p * (1 - p) / len(dropped))
    assert (dropped.double().mean(0) - p).abs().max() < 4 * deviation
    assert torch.corrcoef(dropped.T.double()).fill_diagonal_(0.0).abs().max() < 4 / math.sqrt(len(dropped))


def test_what_stays_is_scaled_to_the_same_expectation():
    torch.manual_seed(0)
    values = torch.randn(1_000, 3, dtype=torch.float64)
    dropped = Dropout(0.4)(values)
    kept = dropped != 0.0
    torch.testing.assert_close(dropped[kept], values[kept] / (1 - round(0.4 * SHARES) / SHARES), rtol=1e-12, atol=0.0)


def test_gradient_is_that_of_what_stays():
    torch.manual_seed(0)
    values = torch.randn(50, 7, requires_grad=True)
    dropped = Dropout(0.5)(values)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, torch.where(dropped == 0.0, 0.0, 2.0))


def test_second_derivatives_and_any_layout():
    values = torch.randn(6, 5, dtype=torch.float64).T.requires_grad_()

    def dropped(values):
        torch.manual_seed(0)  # finite differences need the same mask
        return Dropout(0.5)(values).square()

    assert torch.autograd.gradcheck(dropped, values)
    assert torch.autograd.gradgradcheck(dropped, values)


def test_random_words_are_those_of_the_published_generator():
    """First outputs of SplitMix64 in C, as Vigna's reference gives them, for the seeds 0 and 1234567."""
    first = [random_word(np.uint64(seed), np.uint64(0)) for seed in (0, 1234567)]
    assert [int(word) for word in first] == [0xE220A8397B1DCDAF, 6457827717110365317]
    assert int(random_word(np.uint64(1234567), np.uint64(4))) == 16408922859458223821


def test_what_is_no_number_stays_none():
    assert Dropout(0.5)(torch.full((100,), math.nan)).isnan().all()


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (5, 1), (2, 3, 7)])
def test_any_shape(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_the_ends_of_the_range():
    assert torch.equal(Dropout(1e-9)(torch.ones(100_000)), torch.ones(100_000))
    assert Dropout(1.0 - 1e-9)(torch.ones(100)).isfinite().all()


def test_nothing_happens_in_evaluation_or_at_zero():
    values = torch.randn(100)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_no_share(p):
    with pytest.raises(UserError, match=r"a share in \[0, 1\)"):
        Dropout(p)


def test_a_seed_repeats_it():
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(Dropout(0.5)(torch.ones(1_000)))
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], Dropout(0.5)(torch.ones(1_000)))
