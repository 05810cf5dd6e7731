"""Slices of a data set in which every label is known."""

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.data.paper import load_paper
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.slices import label_predictions, slice_metrics

# 20 events. By how often they occur: item 1 five times; 2, 3, 4 three times; 5, 6 twice; 7, 8 once; 9 never.
TRAIN = [[1, 7], [2, 3, 1], [1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 8]]
TEST = [[1, 2, 3, 6, 4, 2, 9], [1, 7], [3, 7, 1, 5, 2], [2, 3]]
TIMES = [0, 0, 5, 5, np.nan, 7, 7, 1, 2, 2, 9, 9, 10, 10, 4, 4]
GENRES = ["A|B", "B", "C", "", None, "A", "C|A", "B", "A"]

LABELS = {  # by hand; one line for each test sequence
    "position": "2-5 2-5 2-5 2-5 6-10 6-10  "
    "2-5  "
    "2-5 2-5 2-5 2-5  "
    "2-5",
    # More popular than item 1: no event. Than 2, 3, 4: 5 of 20, a quarter. Than 5, 6: 14 of 20. Than 7, 8: 18 of 20.
    "popularity": "mid mid mid mid mid unseen  "
    "tail  "
    "tail head mid mid  "
    "mid",
    "length": "6-10 6-10 6-10 6-10 6-10 6-10  "
    "2-5  "
    "2-5 2-5 2-5 2-5  "
    "2-5",
    "copy": "no no no no no no  "
    "yes  "
    "no no no no  "
    "no",  # the start of a training sequence, not the whole of it
    "turn": "pair pair new new new new  "  # training has 1-2 and 2-3, but not 1-2-3
    "pair  "
    "new new new new  "
    "pair",
    "tied": "yes no yes ? ? yes  "
    "no  "
    "no yes no yes  "
    "yes",
    # From item to item: 1-2 share B; 2-3 and 3-6 change; 6-4 and 4-2 unknown. 3-7 share C; 7-1 share A; 1-5 unknown.
    "genre_change": "? no yes yes ? ?  "
    "?  "
    "? no no ?  "
    "?",
}  # fmt: skip


def ranks_of(test: Sequences) -> pd.DataFrame:
    pairs = [(row, position, item) for row, items in enumerate(test) for position, item in enumerate(items) if position]
    return pd.DataFrame(pairs, columns=["row", "position", "item"])


def data_set(test: Sequences, **columns: list) -> DataSet:
    items = pd.DataFrame({"item_id": list("abcdefghi"), **columns})
    return DataSet("small", Sequences.from_lists(TRAIN), Sequences.from_lists([[1, 2]]), test, items)


@pytest.fixture
def data() -> DataSet:
    plain = Sequences.from_lists(TEST)
    return data_set(Sequences(plain.items, plain.offsets, plain.ids, np.array(TIMES)), categories=GENRES)


@pytest.mark.parametrize("name", LABELS)
def test_labels_by_hand(data, name):
    labels = label_predictions(ranks_of(data.test), data)
    assert list(labels) == list(LABELS)
    assert labels[name].astype(object).where(labels[name].notna(), "?").tolist() == LABELS[name].split()


def test_labels_keep_the_rows_of_the_ranks(data):
    ranks = ranks_of(data.test)
    some = ranks.sample(frac=0.7, random_state=0).assign(part="test")
    pd.testing.assert_frame_equal(label_predictions(some, data), label_predictions(ranks, data).loc[some.index])


def test_what_the_source_does_not_know_is_missing():
    labels = label_predictions(ranks_of(Sequences.from_lists(TEST)), data_set(Sequences.from_lists(TEST)))
    assert labels.columns[labels.isna().all()].tolist() == ["tied", "genre_change"]
    assert not labels[["position", "popularity", "length", "copy", "turn"]].isna().any(axis=None)


def test_no_turn_goes_over_the_end_of_a_sequence():
    test = Sequences.from_lists([[7, 2, 3]])  # in training 7 ends a sequence, and 2, 3 begin the next one
    assert label_predictions(ranks_of(test), data_set(test))["turn"].tolist() == ["new", "pair"]


def test_a_turn_is_the_longest_stretch_that_training_has():
    test = Sequences.from_lists([[5, 2, 3, 1, 1], [2, 3, 1], [1, 8]])
    labels = label_predictions(ranks_of(test), data_set(test))
    # Training has 2-3, 2-3-1 and 1-1, but not 5-2, 5-2-3, 3-1-1 and 1-8.
    assert labels["turn"].tolist() == ["new", "pair", "triple", "pair", "pair", "triple", "new"]


def test_edges_of_the_places():
    test = Sequences.from_lists([[1] * length for length in (5, 6, 10, 11, 20, 21, 50, 51)])
    labels = label_predictions(ranks_of(test), data_set(test))
    expected = ["2-5"] * 4 + ["6-10"] * 5 + ["11-20"] * 10 + ["21-50"] * 30 + ["51+"]
    assert labels["position"].tolist()[-50:] == expected
    lengths = labels["length"].groupby(ranks_of(test)["row"]).first().tolist()
    assert lengths == ["2-5", "6-10", "6-10", "11-20", "11-20", "21-50", "21-50", "51+"]


def test_ranks_of_other_data_are_refused(data):
    ranks = ranks_of(data.test)
    for wrong in (
        ranks.assign(part="valid"),
        ranks.assign(item=1),
        ranks.assign(row=ranks["row"] + 1),
        ranks.assign(position=ranks["position"] + 5),
    ):
        with pytest.raises(UserError, match="ranks of the test part of this data set"):
            label_predictions(wrong, data)


def test_metrics_of_slices_by_hand():
    ranks = pd.DataFrame({"rank": [1, 4, 2, 50], "filtered_rank": [1, 2, 1, 40], "log_prob": [-1.0] * 4})
    ranks = ranks.assign(rank_pessimistic=ranks["rank"], filtered_rank_pessimistic=ranks["filtered_rank"])
    labels = pd.DataFrame(
        {
            "tied": pd.Categorical(["no", "yes", None, "yes"], categories=["no", "yes"]),
            "place": pd.Categorical(["late", "late", "early", "late"], categories=["early", "never", "late"]),
        }
    )
    columns = ["slice", "value", "predictions", "recall@3", "recall@20", "mrr@3", "mrr@20"]
    expected = [
        ("tied", "no", 1, 100.0, 100.0, 100.0, 100.0),
        ("tied", "yes", 2, 0.0, 50.0, 0.0, 12.5),
        ("place", "early", 1, 100.0, 100.0, 50.0, 50.0),
        ("place", "late", 3, 100 / 3, 200 / 3, 100 / 3, 125 / 3),
    ]
    pd.testing.assert_frame_equal(slice_metrics(ranks, labels), pd.DataFrame(expected, columns=columns))
    filtered = slice_metrics(ranks, labels, filter_seen=True).set_index("value")
    assert filtered.loc["yes", ["predictions", "recall@3", "mrr@20"]].tolist() == [2, 50.0, 25.0]
    with pytest.raises(UserError, match="indices differ"):
        slice_metrics(ranks, labels[::-1])


def test_ties_and_copies_of_real_data_are_those_of_the_audit(data_dir):
    data = load_paper("citeulike", data_dir)
    labels, numbers = label_predictions(ranks_of(data.test), data), audit(data).parts["test"]
    assert (labels["tied"] == "yes").sum() == numbers.ties
    assert 0 < (labels["copy"] == "yes").sum() <= numbers.copy_predictions  # the audit's may be copies of valid, too
    assert labels["genre_change"].isna().all()
