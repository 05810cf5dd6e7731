"""Batches: every row once, the right inputs and targets, seeded order, little padding."""

from collections import Counter

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import SCOPES, Batches, batches_by_length, make_batch
from hcrnn_pyro.data.dataset import Sequences

SEQUENCES = Sequences.from_lists([[1, 2, 3], [4], [5, 6], [7, 8, 9, 1, 2]])


def pairs(batch):
    """(sequence, items read, item to predict) of every scored position."""
    found = []
    for row, query in batch.scored.nonzero().tolist():
        read = batch.inputs[row, : int(batch.queries[row, query]) + 1].tolist()
        found.append((int(batch.rows[row]), tuple(read), int(batch.targets[row, query])))
    return found


EXPECTED = [
    (0, (1,), 2),
    (0, (1, 2), 3),
    (2, (5,), 6),
    (3, (7,), 8),
    (3, (7, 8), 9),
    (3, (7, 8, 9), 1),
    (3, (7, 8, 9, 1), 2),
]


@pytest.mark.parametrize("scope", SCOPES)
def test_every_prediction_occurs_once(scope):
    for batches in (Batches(SEQUENCES, scope, 2, seed=0), batches_by_length(SEQUENCES, scope, 5)):
        assert sorted(pair for batch in batches for pair in pairs(batch)) == EXPECTED


@pytest.mark.parametrize("scope", SCOPES)
def test_only_the_held_out_targets_are_scored(scope):
    last = Sequences(SEQUENCES.items, SEQUENCES.offsets, SEQUENCES.ids, first_target=np.array([2, 1, 1, 3]))
    kept = [pair for pair in EXPECTED if len(pair[1]) >= {0: 2, 2: 1, 3: 3}[pair[0]]]
    assert sorted(pair for batch in batches_by_length(last, scope, 5) for pair in pairs(batch)) == kept


def test_padding_is_zero_and_never_scored():
    batch = make_batch(SEQUENCES, np.array([0, 3]), np.array([2, 4]), "sequence")
    assert batch.inputs.tolist() == [[1, 2, 0, 0], [7, 8, 9, 1]]
    assert batch.targets.tolist() == [[2, 3, 0, 0], [8, 9, 1, 2]]
    assert batch.scored.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.valid.tolist() == batch.scored.tolist()


@pytest.mark.parametrize("scope", SCOPES)
def test_the_number_of_batches_is_told_and_the_order_seeded(scope):
    random = np.random.default_rng(0)
    sequences = Sequences.from_lists([[1] * int(n) for n in random.integers(2, 30, 700)])
    batches = Batches(sequences, scope, 8, seed=1)
    made = list(batches)
    assert len(made) == len(batches)
    again, other = list(Batches(sequences, scope, 8, seed=1)), list(Batches(sequences, scope, 8, seed=2))
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(made, again, strict=True))
    assert not all(torch.equal(a.rows, b.rows) for a, b in zip(made, other, strict=False))
    padding = 1 - sum(int(b.lengths.sum()) for b in made) / sum(b.inputs.numel() for b in made)
    assert padding < 0.1


def test_evaluation_batches_stay_within_their_positions():
    random = np.random.default_rng(0)
    lengths = random.integers(2, 60, 300)
    sequences = Sequences.from_lists([[1] * int(n) for n in lengths])
    batches = list(batches_by_length(sequences, "filtering", 200))
    assert all(batch.inputs.numel() <= 200 for batch in batches)
    assert Counter(int(row) for batch in batches for row in batch.rows) == Counter(range(300))
    (alone,) = batches_by_length(sequences.take(np.array([0])), "filtering", 1)
    assert alone.size == 1, "a row longer than that comes alone"
