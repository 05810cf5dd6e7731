import gzip
from pathlib import Path

import numpy as np
import pytest

from hcrnn_pyro.data import paper
from hcrnn_pyro.data.dataset import PARTS, DataSet, count_repeats
from hcrnn_pyro.data.paper import load_paper, read_vocabulary
from hcrnn_pyro.errors import UserError

HEADER = "\tItemId\tTime\tSessionId\titem_idx\tsess_idx\n"
FILES = {
    "item2idx.txt": "43\t1\n44\t2\n46\t3\n",
    "train.txt": HEADER + "0\t43\t9.0\tu\t1\t0\n1\t44\t5.0\tu\t2\t0\n2\t46\t\tv\t3\t1\n3\t43\t7.0\tv\t1\t1\n",
    "valid.txt": HEADER + "0\t44\t1.0\tu\t2\t2\n1\t46\t1.0\tu\t3\t2\n",
    # Another order of the columns, Windows line ends, and an index that says nothing:
    "test.txt": "\tItemId\tSessionId\tTime\titem_idx\tsess_idx\r\n7\t46\tw\t1.0\t3\t3\r\n2\t46\tw\t2.0\t3\t3\r\n",
}


def write(folder: Path, name: str = "citeulike", **changed: str) -> Path:
    """The small split above in ``folder/name``, with some files changed (``train_txt=...``)."""
    (folder / name).mkdir()
    contents = FILES | {file.replace("_", "."): text for file, text in changed.items()}
    for file, text in contents.items():
        (folder / name / file).write_text(text, newline="")
    return folder


def test_rows_keep_their_order_whatever_their_times(tmp_path):
    data = load_paper("citeulike", write(tmp_path))
    assert [items.tolist() for items in data.train] == [[1, 2], [3, 1]]
    assert [items.tolist() for items in data.test] == [[3, 3]]
    np.testing.assert_array_equal(data.train.times, [9, 5, np.nan, 7])
    assert data.items["item_id"].tolist() == ["43", "44", "46"]
    assert data.items.columns.tolist() == ["item_id"]


def test_ids_are_unique_in_the_whole_set(tmp_path):
    data = load_paper("citeulike", write(tmp_path))
    assert [data.part(part).ids.tolist() for part in PARTS] == [["u/0", "v"], ["u/2"], ["w"]]


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HCRNN_DATA", str(write(tmp_path)))
    assert len(load_paper("citeulike").train) == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("train.txt", "\tu\t2\t0", "\tu\t4\t0", r"whole number from 1 to 3 in line 3, column item_idx, of .*; got '4'"),
        ("train.txt", "\tu\t2\t0", "\tu\t1.5\t0", r"in line 3, column item_idx, .*; got '1.5'"),
        ("train.txt", "\tu\t2\t0", "\tu", r"in line 3, column item_idx, .*; got ''"),
        ("train.txt", "1\t44", "1\t46", r"item that item2idx.txt gives .* in line 3, column ItemId, .*; got '46'"),
        ("train.txt", "7.0", "noon", r"seconds or nothing in line 5, column Time, .*; got 'noon'"),
        ("train.txt", "\tv\t1\t1", "\tu\t1\t0", r"together in line 5, column sess_idx, .*; got '0'"),
        ("valid.txt", "\tTime", "\tWhen", r"No column Time in .*valid.txt; it has .*ItemId, When, SessionId"),
        ("train.txt", "\t5.0\tu", "\t5.0\tu\tx\ty\tz", r"train.txt cannot be read .* line 3"),
        ("item2idx.txt", "44\t2", "44\t3", r"Expected item_idx 2 in line 2 of .*item2idx.txt; got '3'"),
        ("item2idx.txt", "44\t", "43\t", r"Item '43' occurs again in line 2 of .*item2idx.txt"),
        ("item2idx.txt", "\t", " ", r"two columns, ItemId and item_idx, in .*; got 1"),
    ],
)
def test_damage_is_named_with_file_line_and_column(tmp_path, file, old, new, sentence):
    folder = write(tmp_path, **{file.replace(".", "_"): FILES[file].replace(old, new)})
    with pytest.raises(UserError, match=sentence):
        load_paper("citeulike", folder)


@pytest.mark.parametrize("text", ["", HEADER])
def test_a_part_without_events(tmp_path, text):
    with pytest.raises(UserError, match=r"valid\.txt"):
        load_paper("citeulike", write(tmp_path, valid_txt=text))


def test_a_missing_file_is_named_beside_those_that_are_there(tmp_path):
    (write(tmp_path, "lastfm") / "lastfm" / "train.txt").unlink()
    sentence = r"Last.fm is not whole: .* has item2idx.txt, valid.txt, test.txt but no train.txt.* no connection"
    with pytest.raises(UserError, match=sentence):
        load_paper("lastfm", tmp_path)


def test_nothing_at_hand_and_no_network():
    with pytest.raises(UserError, match=r"Could not download http://127.*citeulike/item2idx.txt: no connection"):
        load_paper("citeulike")


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="--data-dir must name a folder that exists"):
        load_paper("citeulike", tmp_path / "nowhere")


def test_what_is_missing_is_downloaded_verified_and_kept(tmp_path, monkeypatch):
    fetched = []

    def fake_fetch(url, destination, verify):
        fetched.append(url.rsplit("/", 2)[1:])
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(FILES["train.txt"])
        return destination

    monkeypatch.setattr(paper, "fetch", fake_fetch)
    (write(tmp_path) / "citeulike" / "train.txt").unlink()
    for _ in range(2):
        assert len(load_paper("citeulike", tmp_path).train) == 2
    assert fetched == [["citeulike", "train.txt"]]


def test_titles_and_categories_of_movielens(tmp_path):
    folder = write(tmp_path, "movielens")
    without = load_paper("movielens", folder)
    assert without.notes == ("Titles and categories are unknown, as the folder has no item2genre.txt.",)
    text = "46::Été: a film (1995)::Drama|War\r\n43::Toy (1995)::Comedy\r\n"
    (folder / "movielens" / "item2genre.txt").write_bytes(text.encode("latin-1"))
    items = load_paper("movielens", folder).items
    assert items["title"].iloc[[0, 2]].tolist() == ["Toy (1995)", "Été: a film (1995)"]
    assert items["categories"].iloc[[0, 2]].tolist() == ["Comedy", "Drama|War"]
    assert items["title"].isna().tolist() == [False, True, False]


def test_a_rebuilt_train_part_is_noted(tmp_path):
    folder = write(tmp_path)
    status = "sess_idx\tsession_id\torder_status\n0\tu\testimated\n1\tv\tcertain\n"
    (folder / "citeulike" / "train_order_status.tsv.gz").write_bytes(gzip.compress(status.encode()))
    (note,) = load_paper("citeulike", folder).notes
    assert "estimated in 1 of 2 sequences" in note


def test_a_vocabulary_of_other_encodings_is_refused(tmp_path):
    path = tmp_path / "item2idx.txt"
    path.write_bytes("é\t1\n".encode("latin-1"))
    with pytest.raises(UserError, match="utf-8"):
        read_vocabulary(path)


def numbers(data: DataSet) -> dict[str, list[int]]:
    parts = [data.part(part) for part in PARTS]
    lengths = np.concatenate([part.lengths for part in parts])
    return {
        "sequences": [len(part) for part in parts],
        "events": [part.events for part in parts],
        "test predictions": [data.test.predictions],
        "items, shortest, longest": [data.catalogue_size, int(lengths.min()), int(lengths.max())],
        "repeats": [sum(count_repeats(part) for part in parts)],
    }


def test_citeulike_is_the_published_set(data_dir):
    assert numbers(load_paper("citeulike", data_dir)) == {
        "sequences": [1294, 144, 360],
        "events": [36_104, 4_058, 9_500],
        "test predictions": [9_140],
        "items, shortest, longest": [1980, 4, 100],
        "repeats": [0],
    }


def test_movielens_is_the_published_set(data_dir):
    data = load_paper("movielens", data_dir)
    assert numbers(data) == {
        "sequences": [3340, 371, 928],
        "events": [125_901, 14_043, 35_610],
        "test predictions": [34_682],
        "items, shortest, longest": [930, 10, 100],
        "repeats": [0],
    }
    assert data.items["title"].notna().all()
    assert any("1,122 of 3,340 sequences" in note for note in data.notes)
    numbered = np.unique(data.train.items, return_index=True)[1]
    assert np.all(np.diff(numbered) > 0)  # items are numbered by first appearance in train


def test_lastfm_says_that_train_is_missing(data_dir):
    if (data_dir / "lastfm" / "train.txt").is_file():
        pytest.skip("this folder has lastfm/train.txt")
    with pytest.raises(UserError, match=r"but no train\.txt, without which it cannot be used"):
        load_paper("lastfm", data_dir)


def test_lastfm_parts_at_hand_are_the_published_ones(data_dir, tmp_path):
    """Read with the valid part in the place of train, as train is not at hand."""
    (tmp_path / "lastfm").mkdir()
    for name, source in {"train": "valid", "valid": "valid", "test": "test", "item2idx": "item2idx"}.items():
        (tmp_path / "lastfm" / f"{name}.txt").write_bytes((data_dir / "lastfm" / f"{source}.txt").read_bytes())
    data = load_paper("lastfm", tmp_path)
    assert [len(data.valid), len(data.test), data.valid.events, data.test.events] == [77, 193, 7_517, 18_022]
    assert data.catalogue_size == 5778
    assert min(data.valid.lengths.min(), data.test.lengths.min()) == 13
    for part in (data.valid, data.test):
        assert 0.32 <= round(count_repeats(part) / part.events, 2) <= 0.35


def test_every_required_file_has_a_sum():
    for name in paper.TITLES:
        assert all(len(paper.DIGESTS[f"{name}/{file}"]) == 40 for file in paper.REQUIRED_FILES)
