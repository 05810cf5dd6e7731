"""The structureless log: exact sizes, Zipf's law, and the seed."""

import numpy as np
import pytest

from hcrnn_pyro.data.dataset import PARTS
from hcrnn_pyro.data.zipf import zipf_data
from hcrnn_pyro.errors import UserError


def test_sizes_are_those_asked_for():
    data = zipf_data(events=10_007, items=30, mean_length=10)
    assert [len(data.part(part)) for part in PARTS] == [720, 80, 200]
    assert sum(data.part(part).events for part in PARTS) == 10_007
    assert min(data.part(part).lengths.min() for part in PARTS) >= 2
    assert data.catalogue_size == 30
    assert data.test.ids[0] == "800"


def test_popularity_follows_the_law():
    data = zipf_data(events=200_000, items=5, exponent=1.5)
    drawn = np.concatenate([data.part(part).items for part in PARTS])
    counts = np.sort(np.bincount(drawn, minlength=6)[1:])[::-1]
    expected = 1 / np.arange(1, 6) ** 1.5
    expected *= 200_000 / expected.sum()
    assert np.bincount(drawn).size == 6 and not np.any(drawn == 0)
    # chi-square with 4 degrees of freedom is above 18.5 once in 1,000 draws
    assert np.sum((counts - expected) ** 2 / expected) < 18.5


def test_the_seed_decides():
    one, two, other = (zipf_data(events=1_000, items=50, seed=seed).fingerprint for seed in (3, 3, 4))
    assert one == two != other


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"events": 499}, "ten sequences of 50, 500; got 499"),
        ({"events": 100, "items": 1}, "at least 2 items; got 1"),
        ({"events": 100, "mean_length": 1}, "mean length of at least 2; got 1"),
    ],
)
def test_sizes_that_cannot_be(sizes, sentence):
    with pytest.raises(UserError, match=sentence):
        zipf_data(**sizes)
