import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.columns import Columns
from hcrnn_pyro.data.log import read_log
from hcrnn_pyro.errors import UserError

CSV = "SessionId,ItemId,Time\nu,007,20\nv,b,5\nu,b,10\nu,c,10.5\n"


def written(path, content: str | bytes):
    """The file at ``path``, made of ``content``."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(log) -> list[list]:
    sequences = log.sequences
    names = log.items["item_id"].to_numpy()
    columns = [np.repeat(sequences.ids, sequences.lengths), names[sequences.items - 1]]
    if sequences.times is not None:
        columns.append(sequences.times)
    return [list(row) for row in zip(*columns, strict=True)]


IN_ORDER = [["u", "b", 10.0], ["u", "c", 10.5], ["u", "007", 20.0], ["v", "b", 5.0]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", CSV),
        ("log.tsv", CSV.replace(",", "\t")),
        ("windows.csv", CSV.replace("\n", "\r\n")),
        ("marked.csv", b"\xef\xbb\xbf" + CSV.encode()),
    ],
)
def test_text_files(tmp_path, name, content):
    assert rows(read_log(written(tmp_path / name, content))) == IN_ORDER


def test_frames_and_parquet_hold_the_same(tmp_path):
    frame = pd.DataFrame({"SessionId": list("uvuu"), "ItemId": ["007", "b", "b", "c"], "Time": [20, 5, 10, 10.5]})
    frame.to_parquet(tmp_path / "log.parquet")
    assert rows(read_log(frame)) == IN_ORDER
    assert rows(read_log(tmp_path / "log.parquet")) == IN_ORDER


def test_times_that_tie_keep_the_order_of_the_rows(tmp_path):
    path = written(tmp_path / "log.csv", "SessionId,ItemId,Time\nu,z,1\nu,a,1\nu,m,0\nu,b,1\n")
    assert [row[1] for row in rows(read_log(path))] == ["m", "z", "a", "b"]


def test_without_times_the_rows_are_in_order(tmp_path):
    path = written(tmp_path / "log.csv", "user,thing,Time\nu,z,9\nv,a,x\nu,m,0\n")
    log = read_log(path, Columns.parse("user, thing"))
    assert rows(log) == [["u", "z"], ["u", "m"], ["v", "a"]]


def test_timestamps_become_seconds_since_1970():
    moments = pd.to_datetime(["1970-01-02", "1970-01-01 00:00:01.5"], format="ISO8601")
    frame = pd.DataFrame({"SessionId": ["u", "u"], "ItemId": ["a", "b"], "Time": moments})
    assert read_log(frame).sequences.times.tolist() == [1.5, 86400.0]
    frame["Time"] = moments.tz_localize("UTC")
    assert read_log(frame).sequences.times.tolist() == [1.5, 86400.0]


def test_titles_and_categories_come_from_an_items_first_row(tmp_path):
    text = "SessionId,ItemId,Time,Title,Categories\nu,a,1,First,Drama|War\nu,b,2,,\nv,a,3,Second,\n"
    items = read_log(written(tmp_path / "log.csv", text)).items
    assert items.values.tolist() == [["a", "First", "Drama|War"], ["b", "", ""]]
    assert items.columns.tolist() == ["item_id", "title", "categories"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("log.csv", "", "the file is empty"),
        ("log.csv", "SessionId,ItemId,Time\n", "it has a header but no rows"),
        ("log.csv", CSV.replace("Time", "when"), r"No column Time in .*log.csv; it has SessionId, ItemId, when"),
        ("log.csv", CSV.replace(",", "\t"), r"separated by commas in .*; got one column .* separated by tabs"),
        ("log.tsv", CSV.replace(",", ";"), r"separated by tabs in .*; got one column .* separated by semicolons"),
        ("log.csv", CSV.replace("ItemId", "SessionId"), r"No column ItemId"),
        ("log.csv", CSV.replace("Time", "ItemId") + "u", r"No column Time"),
        ("log.csv", CSV.replace("10.5", "soon"), r"seconds in column Time of .*; got 'soon' in row 4"),
        ("log.csv", CSV.replace("10.5", ""), r"seconds in column Time of .*; got .* in row 4"),
        ("log.csv", CSV.replace("10.5", "inf"), r"seconds in column Time of .*; got 'inf' in row 4"),
        ("log.csv", CSV.replace("v,b", ",b"), r"Column SessionId of .* is empty in 1 rows, first in row 2"),
        ("log.csv", CSV.replace(",b,", ",,"), r"Column ItemId of .* is empty in 2 rows, first in row 2"),
        ("log.csv", CSV.replace("u,b,10\n", "u,b\n"), r"cannot be read as a table: .*Expected 3 columns, got 2"),
        ("log.csv", CSV.encode().replace(b"v,b", b"v,\xe9"), "UTF-8 text in .*; the byte at offset 33 is not"),
        ("log.csv", CSV.encode("utf-16"), "the byte at offset 0 is not"),
        ("log.parquet", CSV, "cannot be read as Parquet"),
        ("log.xlsx", CSV, r"Expected a .tsv, .csv or .parquet file; got log.xlsx"),
    ],
)
def test_mistakes_are_told_in_a_sentence(tmp_path, name, content, sentence):
    with pytest.raises(UserError, match=sentence):
        read_log(written(tmp_path / name, content))


def test_a_character_cut_by_the_blocks_of_the_check_is_no_mistake(tmp_path):
    header = "SessionId,ItemId,Time\n"
    start = (header + "u,").encode()
    content = start + b"x" * ((1 << 20) - 1 - len(start)) + "é,1\n".encode() + b"u,\xff,2\n"
    with pytest.raises(UserError, match=f"offset {content.index(0xFF)} is not"):
        read_log(written(tmp_path / "log.csv", content))


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_log(tmp_path / "log.csv")


def test_a_parquet_file_without_the_columns(tmp_path):
    pd.DataFrame({"a": [1], "b": [2]}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"No column SessionId, ItemId, Time in .*; it has a, b"):
        read_log(tmp_path / "log.parquet")


def test_missing_ids_of_a_frame():
    frame = pd.DataFrame({"SessionId": [1, np.nan, 1], "ItemId": ["a", "b", None], "Time": [1, 2, 3]})
    with pytest.raises(UserError, match="Column SessionId of the frame is empty in 1 rows, first in row 2"):
        read_log(frame)


def test_a_column_that_occurs_twice():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["SessionId", "ItemId", "Time", "ItemId"])
    with pytest.raises(UserError, match="Column ItemId occurs more than once"):
        read_log(frame)


@pytest.mark.parametrize("text", ["a", "a,b,c,d", "a,,c", "a,a"])
def test_columns_are_two_or_three_names(text):
    with pytest.raises(UserError, match="two or three different column names"):
        Columns.parse(text)
