import numpy as np
import pytest

from hcrnn_pyro.data.dataset import Sequences, count_repeats


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


def test_memory_mapped_holds_the_same(tmp_path):
    mapped = three().memory_mapped(tmp_path / "arrays")
    assert [list(sequence) for sequence in mapped] == [[1, 2, 3], [2, 2], [3, 1, 1, 1]]
    assert isinstance(mapped.items, np.memmap)
    assert list(mapped.first_target) == [2, 1, 3]


def test_repeats_are_counted_within_a_sequence():
    assert count_repeats(three()) == 0 + 1 + 2


@pytest.mark.parametrize("first_target", [np.array([1, 1]), np.array([0, 1, 1])])
def test_first_target_must_fit(first_target):
    with pytest.raises(ValueError, match="one first target per sequence, 3, each at least 1"):
        Sequences(three().items, three().offsets, three().ids, None, first_target)
