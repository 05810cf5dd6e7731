"""Seen items against sets that are filled event by event."""

import numpy as np
import pytest
import torch

from hcrnn_pyro import seen as seen_module
from hcrnn_pyro.data.batches import SCOPES, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.seen import seen_items

SEQUENCES = Sequences.from_lists([[2, 1, 2, 4, 1, 3], [3, 3, 1], [4, 2]])


def batch_of(scope):
    rows = np.repeat(np.arange(3), SEQUENCES.lengths - 1) if scope == "prefix" else np.arange(3)
    lengths = np.concatenate([np.arange(1, n) for n in SEQUENCES.lengths])
    return make_batch(SEQUENCES, rows, lengths if scope == "prefix" else SEQUENCES.lengths - 1, scope)


def of_batch(batch):
    return seen_items(batch.inputs, batch.queries, batch.scored)


# after each event but the last: first sequence 2, 1, 2, 4, 1; second 3, 3; third 4
EXPECTED = [{2}, {1, 2}, {1, 2}, {1, 2, 4}, {1, 2, 4}, {3}, {3}, {4}]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("entries", [1, 2**20])
def test_every_prediction_has_seen_the_items_before_it_each_once(scope, entries, monkeypatch):
    monkeypatch.setattr(seen_module, "ENTRIES", entries)
    seen = of_batch(batch_of(scope))
    listed = [[item for item in row if item] for _, items in seen.parts() for row in items.tolist()]
    assert [set(row) for row in listed] == EXPECTED
    assert [len(row) for row in listed] == [len(items) for items in EXPECTED], "a repeated item is named once"
    assert len(seen) == 8


def test_scores_of_seen_items_and_of_padding_are_excluded():
    scores = torch.zeros(2, 8, 5)
    of_batch(batch_of("sequence")).exclude_(scores)
    for of_draw in scores:
        assert [set(row.isneginf().nonzero().flatten().tolist()) - {0} for row in of_draw] == EXPECTED
        assert set(of_draw.flatten().tolist()) == {0.0, -torch.inf}


def test_containment_is_asked_for_one_item_a_prediction():
    items = torch.tensor([2, 3, 1, 4, 3, 3, 1, 2])
    assert of_batch(batch_of("sequence")).contain(items).tolist() == [
        item in expected for item, expected in zip(items.tolist(), EXPECTED, strict=True)
    ]


def test_repeated_predictions_stand_one_set_after_the_other():
    seen = of_batch(batch_of("sequence"))
    once = seen.at(slice(0, 8))
    assert torch.equal(seen.repeat(2).at(slice(0, 16)), torch.cat([once, once]))
