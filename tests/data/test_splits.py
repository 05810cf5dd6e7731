import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.dataset import PARTS, DataSet
from hcrnn_pyro.data.events import Collector, Filters, filter_events, text_ids
from hcrnn_pyro.data.splits import SPLITS, encode, leave_last_out, split_temporal, split_users
from hcrnn_pyro.errors import UserError


def as_lists(sequences) -> list[list[int]]:
    return [items.tolist() for items in sequences]


def test_ids_become_text_numbered_by_first_appearance():
    ids = text_ids(pd.Series([7, "b", None, "7", "b"], dtype=object))
    assert ids.names == ["7", "b"]
    assert ids.codes.tolist() == [0, 1, -1, 0, 1]
    assert text_ids(pd.Series([2.0, np.nan, 3.0, 2.5])).names == ["2", "3", "2.5"]
    text = text_ids(pd.Series(["b", None, "a", "b"], dtype="str"))
    assert (text.codes.tolist(), text.names) == ([0, -1, 1, 0], ["b", "a"])


def test_order_is_stable_by_time_within_a_sequence(log_of, as_text):
    log = log_of("v:a | u:b | v:c | u:d | v:e", times=[5.0, 1.0, 3.0, 1.0, 5.0])
    assert as_text(log.sequences, log.items) == "v:c a e | u:b d"
    assert log.sequences.times.tolist() == [3, 5, 5, 1, 1]


def test_filters_apply_once_and_in_order(log_of, as_text):
    log = log_of("u:a b c | v:a b d | w:a c", ratings=[5, 5, 5, 5, 5, 5, 1, 5])
    # rated 5: u abc, v abd, w c; twice or more among those: a b c; sequences of 2: u, v; their last 2 events
    kept = filter_events(log, Filters(min_rating=5.0, min_item_count=2, min_length=2, last_events=2))
    assert as_text(kept, log.items) == "u:b c | v:a b"  # c now occurs once: counted once, not until nothing changes


def test_given_items_replace_their_count(log_of, as_text):
    log = log_of("u:a b c | v:a b d")
    assert as_text(filter_events(log, Filters(min_item_count=99), items={"b", "c", "d"}), log.items) == "u:b c | v:b d"


@pytest.mark.parametrize(
    ("text", "filters", "sentence"),
    [
        ("u:a b", Filters(min_length=3), "Nothing is left of 2 events"),
        ("u:a a | v:a a", Filters(), "Only one item is left"),
        ("u:a b", Filters(min_rating=4.0), "these events have no ratings"),
    ],
)
def test_filters_that_leave_too_little(log_of, text, filters, sentence):
    with pytest.raises(UserError, match=sentence):
        filter_events(log_of(text), filters)


@pytest.mark.parametrize("wrong", [{"min_length": 1}, {"min_item_count": 0}, {"last_events": 1}])
def test_filters_refuse_senseless_numbers(wrong):
    with pytest.raises(UserError, match="must be at least"):
        Filters(**wrong)


@pytest.mark.parametrize(("count", "sizes"), [(4639, (3340, 371, 928)), (10, (7, 1, 2)), (3, (1, 1, 1))])
def test_users_split_has_the_papers_shares(log_of, count, sizes):
    sequences = log_of(" | ".join(f"u{i}:a b" for i in range(count))).sequences
    parts = split_users(sequences, seed=1)
    assert tuple(len(part) for part in parts.values()) == sizes
    together = [session for part in parts.values() for session in part.ids]
    assert sorted(together) == sorted(sequences.ids)


def test_users_split_follows_its_seed(log_of):
    sequences = log_of(" | ".join(f"u{i}:a b" for i in range(30))).sequences
    tests = [list(split_users(sequences, seed)["test"].ids) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_users_split_needs_three_sequences(log_of):
    with pytest.raises(UserError, match="at least 3 sequences; got 2"):
        split_users(log_of("u:a b | v:a b").sequences)


def test_temporal_split_is_by_the_end_of_each_sequence(log_of):
    # Sequence i ends at 10 * i except u0, which began first and ends last. Ends 10..100: cut-offs 82 and 91.
    text = " | ".join(f"u{i}:a b" for i in range(10))
    times = [0, 100] + [time for i in range(1, 10) for time in (5, 10 * i)]
    parts = split_temporal(log_of(text, times).sequences)
    assert list(parts["train"].ids) == [f"u{i}" for i in range(1, 9)]
    assert list(parts["valid"].ids) == ["u9"]
    assert list(parts["test"].ids) == ["u0"]
    assert as_lists(parts["test"]) == [[1, 2]]


def test_temporal_split_needs_times_and_room(log_of):
    with pytest.raises(UserError, match="needs the time of every event"):
        split_temporal(log_of("u:a b").sequences)
    with pytest.raises(UserError, match="3 / 0 / 0 in train / valid / test"):
        split_temporal(log_of("u:a b | v:a b | w:a b", [1, 2] * 3).sequences)


def test_leave_last_out_keeps_the_history_as_context(log_of, as_text):
    log = log_of("u:a b c d | v:b a | w:a d c b a")
    parts = leave_last_out(log.sequences)
    assert as_text(parts["train"], log.items) == "u:a b | v:b a | w:a d c"
    assert as_text(parts["valid"], log.items) == "u:a b c | w:a d c b"
    assert as_text(parts["test"], log.items) == "u:a b c d | w:a d c b a"
    assert parts["valid"].first_target.tolist() == [2, 3]
    assert parts["test"].first_target.tolist() == [3, 4]

    data = encode(parts, "x", log.items)  # a b d c by first appearance in train
    assert as_lists(data.train) == [[1, 2], [2, 1], [1, 3, 4]]
    assert as_lists(data.test) == [[1, 2, 4, 3], [1, 3, 4, 2, 1]]
    assert data.valid.first_target.tolist() == [2, 3]
    assert data.test.first_target.tolist() == [3, 4]
    assert (data.train.predictions, data.valid.predictions, data.test.predictions) == (4, 2, 2)
    both = data.with_valid_in_train()
    assert as_lists(both.train) == [
        [2, 1],
        [1, 2, 4],
        [1, 3, 4, 2],
    ]  # v, and the valid sequences instead of their starts
    assert both.train.predictions == 4 + 2


def test_leave_last_out_moves_the_target_when_context_is_dropped(log_of):
    # Train is v's a b: the one event z that is left of u and of w predicts nothing, so z is unknown.
    log = log_of("v:a b a b | u:z a b | w:z a b")
    data = encode(leave_last_out(log.sequences), "x", log.items)
    assert as_lists(data.test) == [[1, 2, 1, 2], [1, 2], [1, 2]]
    assert data.test.first_target.tolist() == [3, 1, 1]
    assert as_lists(data.valid) == [[1, 2, 1]]  # u and w have only their target left


def parts_of(log, **sessions: str):
    """Sequences of a log as parts, by the letters that name them."""
    return {part: log.sequences.rows(np.isin(log.sequences.ids, list(names))) for part, names in sessions.items()}


def test_encode_counts_what_it_drops(log_of):
    log = log_of("t:c a | s:a | v:a x c | q:x a | e:c a c")
    items = log.items.assign(title=log.items["item_id"].map({"a": "A", "x": "X"}))
    data = encode(parts_of(log, train="ts", valid="vq", test="e"), "name", items, "described", ("first",))
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


def test_encode_refuses_an_empty_part(log_of):
    log = log_of("t:a b | v:a b | e:x y")
    with pytest.raises(UserError, match="No sequence of test has an item of train"):
        encode(parts_of(log, train="t", valid="v", test="e"), "name", log.items)


def test_times_go_with_their_events(log_of):
    log = log_of("t:a b | v:a x b | e:b a", times=[1, 2, 3, 4, 5, 6, 7])
    data = encode(parts_of(log, train="t", valid="v", test="e"), "name", log.items)
    assert data.valid.times.tolist() == [3, 5]


def test_blocks_and_buckets_change_nothing(monkeypatch):
    """A pipeline that sees few events at a time and keeps its arrays in files gives what it gives all at once."""

    def prepared() -> list[DataSet]:
        random = np.random.default_rng(0)
        sessions, items = random.integers(0, 40, 900), random.zipf(1.5, 900) % 30
        times = random.integers(0, 500, 900).astype(float)
        collector = Collector()
        for part in np.array_split(np.arange(900), 7):
            ids = (text_ids(pd.Series(column[part])) for column in (sessions, items))
            collector.add(*ids, time=times[part])
        log = collector.log(pd.DataFrame({"item_id": collector.item_names}))
        kept = filter_events(log, Filters(min_item_count=3, min_length=5, last_events=20))
        return [encode(split(kept, 0), "x", log.items) for split in SPLITS.values()]

    whole = prepared()
    for name, value in (("arrays.BLOCK", 7), ("dataset.BLOCK", 7), ("arrays.IN_MEMORY", 5), ("events.BUCKET", 50)):
        monkeypatch.setattr(f"hcrnn_pyro.data.{name}", value)
    for one, other in zip(whole, prepared(), strict=True):
        assert one.notes == other.notes
        assert str(audit(one)) == str(audit(other))
        assert one.fingerprint == other.fingerprint
        for part in PARTS:
            np.testing.assert_array_equal(one.part(part).times, other.part(part).times)
            np.testing.assert_array_equal(one.part(part).ids, other.part(part).ids)
