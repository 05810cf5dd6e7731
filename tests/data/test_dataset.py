import numpy as np
import pytest

from hcrnn_pyro.data import dataset
from hcrnn_pyro.data.dataset import Sequences, count_repeats, tail


def three() -> Sequences:
    return Sequences(
        items=np.array([1, 2, 3, 2, 2, 3, 1, 1, 1], dtype=np.int32),
        offsets=np.array([0, 3, 5, 9]),
        ids=np.array(["a", "b", "c"], dtype=object),
        times=np.arange(9.0),
        first_target=np.array([2, 1, 3]),
    )


def test_predictions_are_all_events_but_the_first():
    assert Sequences.from_lists([[1, 2, 3], [2, 2], [4]]).predictions == 2 + 1 + 0


def test_predictions_begin_at_the_first_target():
    assert three().predictions == 1 + 1 + 1


def test_take_follows_the_rows_asked_for():
    taken = three().take(np.array([2, 0]))
    assert [list(sequence) for sequence in taken] == [[3, 1, 1, 1], [1, 2, 3]]
    assert list(taken.ids) == ["c", "a"]
    assert list(taken.times) == [5, 6, 7, 8, 0, 1, 2]
    assert list(taken.first_target) == [3, 2]


def test_where_keeps_events_and_what_still_has_one():
    kept = three().where(np.array([1, 0, 1, 0, 0, 1, 1, 0, 1], dtype=bool))
    assert [list(sequence) for sequence in kept] == [[1, 3], [3, 1, 1]]
    assert list(kept.ids) == ["a", "c"]
    assert list(kept.times) == [0, 2, 5, 6, 8]
    assert list(kept.first_target) == [1, 2]  # one event of context is left before the target of a, two of c


def test_sequences_follow_others():
    whole = Sequences.from_lists([[7, 8], [9]], ["x", "y"])
    both = three().followed_by(whole)
    assert [list(row) for row in both] == [*(list(row) for row in three()), [7, 8], [9]]
    assert list(both.ids) == [*three().ids, "x", "y"]
    assert list(both.first_target) == [2, 1, 3, 1, 1]
    assert both.times is None, "times of which some are unknown"
    twice = three().followed_by(three())
    assert twice.predictions == 2 * three().predictions
    assert whole.followed_by(whole).first_target is None


def test_rows_are_whole_sequences():
    kept = three().rows(np.array([True, False, True]))
    assert [list(sequence) for sequence in kept] == [[1, 2, 3], [3, 1, 1, 1]]
    assert list(kept.first_target) == [2, 3]


def test_an_empty_sequence_is_left_out():
    kept = Sequences.from_lists([[], [1, 2], [], [3]]).where(np.ones(3, dtype=bool))
    assert [list(sequence) for sequence in kept] == [[1, 2], [3]]


def test_pieces_cover_every_sequence_once(monkeypatch):
    monkeypatch.setattr(dataset, "BLOCK", 4)
    sequences = Sequences.from_lists([[], [1, 2], [3], [4] * 9, [], [5, 6], [7]])
    pieces = list(sequences.pieces())
    assert [list(row) for piece in pieces for row in piece] == [list(row) for row in sequences]
    assert len(pieces) > 1
    assert [name for piece in pieces for name in piece.ids] == list(sequences.ids)
    assert list(Sequences.from_lists([]).pieces()) == []


def test_tail_marks_the_last_events():
    marks = tail(np.array([3, 1, 0, 2]), np.array([2, 5, 1, 0])).tolist()
    assert marks == [False, True, True, True, False, False]


def test_repeats_are_counted_within_a_sequence():
    assert count_repeats(three()) == 0 + 1 + 2


@pytest.mark.parametrize("first_target", [np.array([1, 1]), np.array([0, 1, 1])])
def test_first_target_must_fit(first_target):
    with pytest.raises(ValueError, match="one first target per sequence, 3, each at least 1"):
        Sequences(three().items, three().offsets, three().ids, None, first_target)
