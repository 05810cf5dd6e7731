"""NPMI and diversity, worked out by hand."""

import numpy as np
import pytest

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.posterior.coherence import coherence, diversity

# Item 1 in 2 of 4 sequences, 2 in 2, both in 1 of them; 3 always with 1; 4 never with 3; 5 in all.
HELD_OUT = Sequences.from_lists([[1, 2, 3, 5, 1], [5, 3, 1], [2, 5, 4, 4], [4, 5]])


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ([1, 2], 0.0),  # p = 1/4 = 1/2 1/2
        ([1, 3], 1.0),  # log(2) / log(2)
        ([2, 4], 0.0),
        ([1, 5], 0.0),  # log(1) / log(2)
        ([3, 4], np.log(1e-12 / 0.25) / -np.log(1e-12)),  # -0.95: never together
    ],
)
def test_pairs_by_hand(pair, expected):
    np.testing.assert_allclose(coherence(np.array([pair]), HELD_OUT), [expected], atol=1e-10)


def test_a_context_is_the_mean_of_its_pairs():
    never = np.log(1e-12 / 0.25) / -np.log(1e-12)
    np.testing.assert_allclose(coherence(np.array([[1, 3, 4]]), HELD_OUT), [(1 + 2 * never) / 3])
    np.testing.assert_allclose(coherence(np.array([[1, 2, 3], [4, 2, 5]]), HELD_OUT), [1 / 3, 0], atol=1e-10)


def test_items_that_are_never_held_out_say_nothing():
    found = coherence(np.array([[1, 3, 9], [1, 8, 9]]), HELD_OUT)
    np.testing.assert_allclose(found, [1.0, np.nan])


def test_always_together_is_one():
    np.testing.assert_allclose(coherence(np.array([[1, 2]]), Sequences.from_lists([[1, 2], [2, 1]])), [1.0])


def test_diversity_by_hand():
    assert diversity(np.array([[1, 2], [3, 4]])) == 1.0
    assert diversity(np.array([[1, 2], [2, 1]])) == 0.5
    assert diversity(np.array([[1, 2], [2, 3], [3, 4]])) == pytest.approx(4 / 6)
