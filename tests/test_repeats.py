"""Distinct items against a set that is filled item by item."""

import pytest
import torch

from hcrnn_pyro.kernels.repeats import each_once, sorted_once

FORMS = pytest.mark.parametrize("once", [each_once, sorted_once], ids=["compiled", "sorted"])


def by_a_set(row):
    shown = set()
    return [0 if item in shown or shown.add(item) else item for item in row]


@FORMS
@pytest.mark.parametrize(("rows", "time", "items"), [(7, 40, 9), (5, 1, 3), (3, 30, 100_000), (4, 0, 5), (0, 6, 5)])
def test_an_item_stays_where_its_row_shows_it_first(once, rows, time, items):
    inputs = torch.randint(0, items + 1, (rows, time))
    before = inputs.clone()
    assert once(inputs).tolist() == [by_a_set(row) for row in inputs.tolist()]
    assert torch.equal(inputs, before)


@FORMS
def test_items_of_other_rows_and_padding_do_not_count(once):
    inputs = torch.tensor([[4, 2, 4, 0, 0], [2, 4, 2, 2, 1]])
    assert once(inputs).tolist() == [[4, 2, 0, 0, 0], [2, 4, 0, 0, 1]]
    assert once(inputs.T).tolist() == [[4, 2], [2, 4], [4, 2], [0, 2], [0, 1]], "in whatever order it lies in memory"
