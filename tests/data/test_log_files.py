"""Logs in several files: folders of Parquet and patterns, against the same rows in one file and against pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data import log_files
from hcrnn_pyro.data.log import read_log
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError


@pytest.fixture
def frame() -> pd.DataFrame:
    """300 events of 12 sequences in no order of time, with ties."""
    random = np.random.default_rng(0)
    columns = {
        "SessionId": [f"u{i}" for i in random.integers(0, 12, 300)],
        "ItemId": [f"i{i}" for i in random.zipf(1.5, 300) % 40],
        "Time": random.integers(0, 100, 300),
    }
    return pd.DataFrame(columns)


def sharded(frame: pd.DataFrame, folder: Path, order: tuple[int, ...] = (0, 1, 2, 3)) -> Path:
    """Four Parquet files in a folder and a subfolder; rows of stretch k go to the file that is read as order[k]-th."""
    (folder / "b").mkdir(parents=True)
    paths = [folder / "a-1.parquet", folder / "a-2.parquet", folder / "b" / "1.parquet", folder / "c.parquet"]
    for rows, position in zip(np.array_split(np.arange(len(frame)), 4), order, strict=True):
        frame.iloc[rows].to_parquet(paths[position], row_group_size=20)
    return folder


def by_session(log) -> dict[str, list]:
    names, sequences = log.items["item_id"].to_numpy(), log.sequences
    times = np.split(sequences.times, sequences.offsets[1:-1])
    rows = zip(sequences.ids, sequences, times, strict=True)
    return {name: [names[items - 1].tolist(), seconds.tolist()] for name, items, seconds in rows}


def test_a_folder_holds_what_pandas_finds(frame, tmp_path):
    log = read_log(sharded(frame, tmp_path / "log"))
    groups = frame.groupby("SessionId", sort=False)
    expected = {name: rows.sort_values("Time", kind="stable") for name, rows in groups}
    assert by_session(log) == {
        name: [rows["ItemId"].tolist(), rows["Time"].tolist()] for name, rows in expected.items()
    }
    assert list(log.sequences.ids) == list(expected), "by first appearance"
    assert log.items["item_id"].tolist() == frame["ItemId"].unique().tolist()


def test_a_frame_may_have_been_saved_with_an_index(frame, tmp_path):
    frame.set_index("SessionId").to_parquet(tmp_path / "log.parquet")
    assert by_session(read_log(tmp_path / "log.parquet")) == by_session(read_log(frame))


@pytest.mark.parametrize("split", ["users", "temporal", "leave-last-out"])
def test_a_folder_equals_one_file_of_the_same_rows(frame, tmp_path, split):
    frame.to_csv(tmp_path / "log.csv", index=False)
    folder = sharded(frame, tmp_path / "log")
    one, many = (load_data(DataConfig(data=str(path), split=split)) for path in (tmp_path / "log.csv", folder))
    assert one.fingerprint == many.fingerprint
    assert one.notes == many.notes
    assert list(one.test.ids) == list(many.test.ids)
    np.testing.assert_array_equal(one.valid.times, many.valid.times)
    assert many.name == "log"


def test_the_order_of_the_files_does_not_matter_where_no_times_tie(frame, tmp_path):
    frame["Time"] = np.random.default_rng(1).permutation(len(frame))
    sorted_names, others = (
        read_log(sharded(frame, tmp_path / name, order)) for name, order in (("x", (0, 1, 2, 3)), ("y", (2, 0, 3, 1)))
    )
    assert by_session(sorted_names) == by_session(others)


def test_a_pattern_names_files_of_any_kind(frame, tmp_path, monkeypatch):
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[rows].to_csv(tmp_path / f"part-{number}.csv", index=False)
    frame.to_csv(tmp_path / "other.csv", index=False)
    assert by_session(read_log(tmp_path / "part-*.csv")) == by_session(read_log(frame))
    monkeypatch.chdir(tmp_path)
    assert by_session(read_log(Path("part-[012].csv"))) == by_session(read_log(frame))


def test_a_folder_in_the_current_one_needs_no_slash(frame, tmp_path, monkeypatch):
    sharded(frame, tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    assert load_data(DataConfig(data="log")).name == "log"


def test_ids_of_any_type_meet_as_text(tmp_path):
    for name, ids in (("a", [1, 2]), ("b", ["1", "x"]), ("c", [1.0, 2.0]), ("d", [2.5, 1.0])):
        table = pd.DataFrame({"SessionId": ids, "ItemId": list("ab"), "Time": [ord(name)] * 2})
        table.to_parquet(tmp_path / f"{name}.parquet")
    assert {name: len(rows[0]) for name, rows in by_session(read_log(tmp_path)).items()} == {
        "1": 4, "2": 2, "x": 1, "2.5": 1,
    }  # fmt: skip


def test_an_items_first_row_describes_it_whatever_file_it_is_in(tmp_path):
    ids = {"SessionId": ["u", "u"], "Time": [1, 2]}
    pd.DataFrame({**ids, "ItemId": ["a", "b"]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({**ids, "ItemId": ["b", "c"], "Title": ["B", "C"]}).to_parquet(tmp_path / "2.parquet")
    pd.DataFrame({**ids, "ItemId": ["c", "d"], "Title": ["other", None]}).to_parquet(tmp_path / "3.parquet")
    assert read_log(tmp_path).items.values.tolist() == [["a", ""], ["b", ""], ["c", "C"], ["d", ""]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ItemId": None}, r"No column ItemId in .*b/1.parquet; it has SessionId, Time"),
        ({"ItemId": ["a", " ", "b", None, "c"]}, r"Column ItemId of .*b/1.parquet is empty in 2 rows, first in row 2"),
        (
            {"Time": [1.0, 2.0, 3.0, 4.0, np.nan]},
            r"seconds in column Time of .*b/1.parquet; got an empty cell in row 5",
        ),
        ({"Time": ["1", "2", "3", "soon", "5"]}, r"seconds in column Time of .*b/1.parquet; got 'soon' in row 4"),
    ],
)
def test_a_bad_file_of_a_folder_is_named(frame, tmp_path, change, sentence):
    folder = sharded(frame, tmp_path / "log")
    good = pd.DataFrame({"SessionId": list("uuuvv"), "ItemId": list("abcab"), "Time": [1.0, 2.0, 3.0, 4.0, 5.0]})
    changed = {name: values for name, values in {**good, **change}.items() if values is not None}
    pd.DataFrame(changed).to_parquet(folder / "b" / "1.parquet", row_group_size=2)
    with pytest.raises(UserError, match=sentence):
        read_log(folder)


def test_a_damaged_file_of_a_folder_is_named(frame, tmp_path):
    folder = sharded(frame, tmp_path / "log")
    path = folder / "a-2.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"a-2.parquet cannot be read as Parquet"):
        read_log(folder)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a-2.parquet; the file is empty"):
        read_log(folder)


def test_places_without_a_log(tmp_path):
    (tmp_path / "log.csv").write_text("SessionId,ItemId,Time\n")
    (tmp_path / "_temporary.parquet").write_text("")
    with pytest.raises(UserError, match=r"Expected Parquet files \(\*.parquet\) in the folder .*; it has none"):
        read_log(tmp_path)
    with pytest.raises(UserError, match=r"log of events at .*part-\*.csv; no file fits that pattern"):
        read_log(tmp_path / "part-*.csv")
    pd.DataFrame({"SessionId": [], "ItemId": [], "Time": []}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a header but no rows"):
        read_log(tmp_path)


@pytest.fixture
def small_blocks(monkeypatch):
    """Text is parsed 64 bytes at a time, some six rows, and Parquet four rows at a time."""
    monkeypatch.setattr(log_files, "TEXT_BLOCK", 64)
    monkeypatch.setattr(log_files, "BLOCK", 4)


def lines(**changes: str) -> str:
    """A log of 30 events; ``row12="u,a,x"`` replaces row 12."""
    rows = [changes.get(f"row{row}", f"u{row % 3},i{row},{row}") for row in range(1, 31)]
    return "\n".join(["SessionId,ItemId,Time", *rows]) + "\n"


def test_blocks_make_no_difference(tmp_path, small_blocks):
    (tmp_path / "log.csv").write_text(lines())
    pd.read_csv(tmp_path / "log.csv").to_parquet(tmp_path / "log.parquet")
    expected = {
        f"u{k}": [[f"i{row}" for row in rows], rows]
        for k, rows in ((1, list(range(1, 31, 3))), (2, list(range(2, 31, 3))), (0, list(range(3, 31, 3))))
    }
    assert by_session(read_log(tmp_path / "log.csv")) == expected
    assert by_session(read_log(tmp_path / "log.parquet")) == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"row20": "u2,i20,soon"}, "got 'soon' in row 20"),
        ({"row20": "u2,i20,"}, "got an empty cell in row 20"),
        ({"row20": "u2,,20", "row2": "u2,,2", "row30": "u0,,30"}, "ItemId of .* is empty in 3 rows, first in row 2"),
        ({"row20": "u2,,20", "row30": "u0,,30"}, "ItemId of .* is empty in 2 rows, first in row 20"),
        ({"row20": "u2,i20"}, "cannot be read as a table: .*Expected 3 columns, got 2"),
    ],
)
def test_rows_are_counted_over_the_blocks_of_a_file(tmp_path, small_blocks, changes, sentence):
    (tmp_path / "log.csv").write_text(lines(**changes))
    with pytest.raises(UserError, match=sentence):
        read_log(tmp_path / "log.csv")
