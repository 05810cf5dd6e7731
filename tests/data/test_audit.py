import json

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.data.paper import load_paper


def timed(sequences: list[list[int]], times: list[float]) -> Sequences:
    plain = Sequences.from_lists(sequences)
    return Sequences(plain.items, plain.offsets, plain.ids, np.array(times))


@pytest.fixture
def data() -> DataSet:
    return DataSet(
        name="small",
        train=timed([[1, 2, 3], [1, 2], [2, 2, 2]], [1, 1, 2, 5, 6, 6, 6, 6]),
        valid=Sequences.from_lists([[1, 2], [3, 1, 4]]),
        test=timed([[1, 2, 3], [2, 3, 1, 2], [5, 1]], [1, 2, 3, np.nan, np.nan, 4, 4, 8, 9]),
        items=pd.DataFrame({"item_id": list("abcde")}),
        notes=("be careful",),
    )


def test_counts_of_a_small_set(data):
    parts = audit(data).parts
    assert [(p.sequences, p.events, p.predictions, p.items) for p in parts.values()] == [
        (3, 8, 5, 3),
        (2, 5, 3, 4),
        (3, 9, 6, 4),
    ]
    assert (parts["test"].length_min, parts["test"].length_median, parts["test"].length_max) == (2, 3.0, 4)
    assert [(p.repeats, p.repeat_share) for p in parts.values()] == [(2, 0.25), (0, 0.0), (1, pytest.approx(1 / 9))]
    assert [p.items_not_in_train for p in parts.values()] == [0, 1, 1]


def test_copies_are_whole_sequences_of_another_part(data):
    parts = audit(data).parts
    assert [(p.copies, p.copy_predictions) for p in parts.values()] == [(2, 3), (1, 1), (1, 2)]


def test_ties_need_two_known_times_in_one_sequence(data):
    parts = audit(data).parts
    assert (parts["train"].ties, parts["train"].tie_share) == (3, 3 / 5)
    assert (parts["valid"].ties, parts["valid"].tie_share) == (None, None)
    assert (parts["test"].ties, parts["test"].tie_share) == (1, 1 / 4)  # known pairs: 1-2, 2-3, 4-4, 8-9


def test_text_and_json(data):
    text = str(audit(data))
    assert "small: 5 items" in text
    assert "Note: be careful" in text
    assert ["repeated items, share", "25.0%", "0.0%", "11.1%"] in [
        [part.strip() for part in line.split("  ") if part] for line in text.splitlines()
    ]
    restored = json.loads(json.dumps(audit(data).to_dict()))
    assert restored["parts"]["test"]["predictions"] == 6
    assert restored["notes"] == ["be careful"]


def test_an_empty_part_has_no_shares(data):
    empty = DataSet("x", data.train, Sequences.from_lists([]), data.test, data.items)
    part = audit(empty).parts["valid"]
    assert (part.sequences, part.length_max, part.repeat_share) == (0, 0, None)


def test_citeulike_has_nine_test_sequences_copied(data_dir):
    test = audit(load_paper("citeulike", data_dir)).parts["test"]
    assert (test.sequences, test.copies, test.copy_predictions) == (360, 9, 166)
