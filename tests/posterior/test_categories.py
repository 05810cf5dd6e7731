"""Contexts against categories: by hand, and where contexts are the categories or have nothing to do with them."""

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import NAMES, synthetic
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.categories import (
    category_memberships,
    category_profile,
    genre_information,
    sequence_memberships,
)
from hcrnn_pyro.posterior.contexts import top_items

ITEMS = pd.DataFrame({"item_id": list("abcd"), "categories": ["war|drama", "drama", None, "war"]})


def test_memberships_share_an_item_among_its_categories():
    table = category_memberships(ITEMS)
    assert table.columns.tolist() == ["drama", "war"]
    assert table.to_numpy().tolist() == [[0.5, 0.5], [1, 0], [0, 0], [0, 1]]
    sequences = Sequences.from_lists([[1, 2], [4, 4, 3, 1]])
    assert sequence_memberships(sequences, table).to_numpy().tolist() == [[0.75, 0.25], [0.125, 0.625]]
    with pytest.raises(UserError, match="no categories"):
        category_memberships(ITEMS[["item_id"]])


def test_a_profile_by_hand():
    """Half of the catalogue is drama, half is war."""
    profile = category_profile(np.array([[1, 2], [3, 4]]), ITEMS)
    assert profile.to_numpy().tolist() == [
        [0, "drama", 1.0, 2.0],
        [0, "war", 0.5, 1.0],
        [1, "drama", 0.0, 0.0],
        [1, "war", 0.5, 1.0],
    ]


def test_planted_contexts_have_pure_profiles():
    data = synthetic()
    planted = (data.truth.context_of_item[1:] == np.arange(6)[:, None]).astype(float)
    profile = category_profile(top_items(planted, 10), data.items)
    shares = profile.pivot(index="context", columns="category", values="share")[list(NAMES[:6])]
    np.testing.assert_array_equal(shares, np.eye(6))
    assert profile.loc[profile["share"] == 1, "lift"].to_numpy() == pytest.approx(6.0)
    memberships = category_memberships(data.items)
    information = genre_information(data.truth.context_of_item[1:], memberships, permutations=99)
    assert information.nmi == pytest.approx(1.0)
    assert information.p_value == 1 / 100
    assert information.chance_95 < 0.1
    assert information.things == 240


def test_information_with_shared_items_by_hand():
    """Context 0: a (half drama, half war) and b (drama); context 1: d (war); c has no category.

    p(0, drama) = 1.5 / 3, p(0, war) = 0.5 / 3, p(1, war) = 1 / 3.
    """
    found = genre_information(np.array([0, 0, 1, 1]), category_memberships(ITEMS), permutations=9)
    joint = 1 / 2 * np.log((1 / 2) / (2 / 3 * 1 / 2)) + 1 / 6 * np.log((1 / 6) / (2 / 3 * 1 / 2))
    joint += 1 / 3 * np.log((1 / 3) / (1 / 3 * 1 / 2))
    entropies = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) + np.log(2)
    assert found.nmi == pytest.approx(2 * joint / entropies)
    assert found.things == 3


def test_unrelated_contexts_are_as_good_as_chance():
    random = np.random.default_rng(0)
    memberships = pd.DataFrame(np.eye(4)[random.integers(4, size=200)])
    found = genre_information(random.integers(5, size=200), memberships, permutations=200, seed=1)
    assert found.p_value > 0.05
    assert 0 < found.chance_mean < found.chance_95
    again = genre_information(random.integers(1, size=200), memberships, permutations=9)  # one context
    assert again.nmi == pytest.approx(0.0)
    assert again.p_value == 1.0


def test_one_context_and_one_category_tell_nothing():
    assert genre_information(np.zeros(3, int), pd.DataFrame(np.ones((3, 1))), permutations=3).nmi == 0.0


def test_what_cannot_be_compared_is_named():
    with pytest.raises(UserError, match="context for each of 4 rows; got 3"):
        genre_information(np.zeros(3, int), category_memberships(ITEMS))
    with pytest.raises(UserError, match="No item has a known category"):
        genre_information(np.zeros(1, int), category_memberships(ITEMS)[2:3])
