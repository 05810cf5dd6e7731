import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.events import Filters, filter_events, order_events, text_ids
from hcrnn_pyro.data.splits import encode, leave_last_out, split_temporal, split_users
from hcrnn_pyro.errors import UserError

NO_ITEMS = pd.DataFrame({"item_id": []}, dtype=str)


def as_text(frame: pd.DataFrame) -> str:
    """The frame as the text it could have been made from."""
    groups = frame.groupby("session", sort=False, observed=True)["item"]
    return " | ".join(f"{session}:{' '.join(items)}" for session, items in groups)


def as_lists(sequences) -> list[list[int]]:
    return [items.tolist() for items in sequences]


def test_ids_become_text_numbered_by_first_appearance():
    ids = text_ids(pd.Series([7, "b", None, "7", "b"], dtype=object))
    assert ids.categories.tolist() == ["7", "b"]
    assert ids.codes.tolist() == [0, 1, -1, 0, 1]
    assert text_ids(pd.Series([2.0, np.nan, 3.0])).categories.tolist() == ["2", "3"]


def test_order_is_stable_by_time_within_a_sequence():
    frame = pd.DataFrame({"session": list("vuvuv"), "item": list("abcde"), "time": [5.0, 1.0, 3.0, 1.0, 5.0]})
    assert as_text(order_events(frame.astype({"session": "category", "item": "category"}))) == "v:c a e | u:b d"


def test_filters_apply_once_and_in_order(events_of):
    events = events_of("u:a b c | v:a b d | w:a c", ratings=[5, 5, 5, 5, 5, 5, 1, 5])
    # rated 5: u abc, v abd, w c; twice or more among those: a b c; sequences of 2: u, v; their last 2 events
    kept = filter_events(events, Filters(min_rating=5.0, min_item_count=2, min_length=2, last_events=2))
    assert as_text(kept) == "u:b c | v:a b"  # c now occurs once: items are counted once, not until nothing changes


def test_given_items_replace_their_count(events_of):
    events = events_of("u:a b c | v:a b d")
    assert as_text(filter_events(events, Filters(min_item_count=99), items={"b", "c", "d"})) == "u:b c | v:b d"


@pytest.mark.parametrize(
    ("text", "filters", "sentence"),
    [
        ("u:a b", Filters(min_length=3), "Nothing is left of 2 events"),
        ("u:a a | v:a a", Filters(), "Only one item is left"),
        ("u:a b", Filters(min_rating=4.0), "these events have no ratings"),
    ],
)
def test_filters_that_leave_too_little(events_of, text, filters, sentence):
    with pytest.raises(UserError, match=sentence):
        filter_events(events_of(text), filters)


@pytest.mark.parametrize("wrong", [{"min_length": 1}, {"min_item_count": 0}, {"last_events": 1}])
def test_filters_refuse_senseless_numbers(wrong):
    with pytest.raises(UserError, match="must be at least"):
        Filters(**wrong)


@pytest.mark.parametrize(("count", "sizes"), [(4639, (3340, 371, 928)), (10, (7, 1, 2)), (3, (1, 1, 1))])
def test_users_split_has_the_papers_shares(count, sizes):
    frame = pd.DataFrame({"session": np.repeat(np.arange(count).astype(str), 2), "item": ["a", "b"] * count})
    parts = split_users(frame.astype("category"), seed=1)
    assert tuple(part["session"].nunique() for part in parts.values()) == sizes
    together = [session for part in parts.values() for session in part["session"]]
    assert sorted(together) == sorted(frame["session"])


def test_users_split_follows_its_seed(events_of):
    events = events_of(" | ".join(f"u{i}:a b" for i in range(30)))
    tests = [as_text(split_users(events, seed)["test"]) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_users_split_needs_three_sequences(events_of):
    with pytest.raises(UserError, match="at least 3 sequences; got 2"):
        split_users(events_of("u:a b | v:a b"))


def test_temporal_split_is_by_the_end_of_each_sequence(events_of):
    # Sequence i ends at 10 * i except u0, which began first and ends last. Ends 10..100: cut-offs 82 and 91.
    text = " | ".join(f"u{i}:a b" for i in range(10))
    times = [0, 100] + [time for i in range(1, 10) for time in (5, 10 * i)]
    parts = split_temporal(events_of(text, times))
    assert as_text(parts["train"]) == " | ".join(f"u{i}:a b" for i in range(1, 9))
    assert as_text(parts["valid"]) == "u9:a b"
    assert as_text(parts["test"]) == "u0:a b"


def test_temporal_split_needs_times_and_room(events_of):
    with pytest.raises(UserError, match="needs the time of every event"):
        split_temporal(events_of("u:a b"))
    with pytest.raises(UserError, match="3 / 0 / 0 in train / valid / test"):
        split_temporal(events_of("u:a b | v:a b | w:a b", [1, 2] * 3))


def test_leave_last_out_keeps_the_history_as_context(events_of):
    parts = leave_last_out(events_of("u:a b c d | v:b a | w:a d c b a"))
    assert as_text(parts["train"]) == "u:a b | v:b a | w:a d c"
    assert as_text(parts["valid"]) == "u:a b c | w:a d c b"
    assert as_text(parts["test"]) == "u:a b c d | w:a d c b a"
    assert parts["test"]["target"].tolist() == [False, False, False, True, False, False, False, False, True]

    data = encode(parts, "x", NO_ITEMS)  # a b d c by first appearance in train
    assert as_lists(data.train) == [[1, 2], [2, 1], [1, 3, 4]]
    assert as_lists(data.test) == [[1, 2, 4, 3], [1, 3, 4, 2, 1]]
    assert data.valid.first_target.tolist() == [2, 3]
    assert data.test.first_target.tolist() == [3, 4]
    assert (data.train.predictions, data.valid.predictions, data.test.predictions) == (4, 2, 2)


def test_leave_last_out_moves_the_target_when_context_is_dropped(events_of):
    # Train is v's a b: the one event z that is left of u and of w predicts nothing, so z is unknown.
    data = encode(leave_last_out(events_of("v:a b a b | u:z a b | w:z a b")), "x", NO_ITEMS)
    assert as_lists(data.test) == [[1, 2, 1, 2], [1, 2], [1, 2]]
    assert data.test.first_target.tolist() == [3, 1, 1]
    assert as_lists(data.valid) == [[1, 2, 1]]  # u and w have only their target left


def test_encode_counts_what_it_drops(events_of):
    events = events_of("t:c a | s:a | v:a x c | q:x a | e:c a c")
    of = {name: events[events["session"].isin(list(sessions))] for name, sessions in
          {"train": "ts", "valid": "vq", "test": "e"}.items()}  # fmt: skip
    data = encode(of, "name", pd.DataFrame({"item_id": ["a", "x"], "title": ["A", "X"]}), "described", ("first",))
    assert as_lists(data.train) == [[1, 2]]
    assert as_lists(data.valid) == [[2, 1]]
    assert as_lists(data.test) == [[1, 2, 1]]
    assert list(data.valid.ids) == ["v"]
    assert data.items["item_id"].tolist() == ["c", "a"]
    assert data.items["title"].iloc[1] == "A"
    assert data.items["title"].isna().tolist() == [True, False]
    assert data.train.times is None and data.train.first_target is None
    assert data.notes == (
        "first",
        "train: 1 sequences were dropped, left with nothing to predict.",
        "valid: 2 of 5 events were dropped, as their items are not in train.",
        "valid: 1 sequences were dropped, left with nothing to predict.",
    )


def test_encode_refuses_an_empty_part(events_of):
    parts = {"train": events_of("t:a b"), "valid": events_of("v:a b"), "test": events_of("e:x y")}
    with pytest.raises(UserError, match="No sequence of test has an item of train"):
        encode(parts, "name", NO_ITEMS)


def test_times_go_with_their_events(events_of):
    parts = {
        "train": events_of("t:a b", [1, 2]),
        "valid": events_of("v:a x b", [3, 4, 5]),
        "test": events_of("e:b a", [6, 7]),
    }
    data = encode(parts, "name", NO_ITEMS)
    assert data.valid.times.tolist() == [3, 5]
