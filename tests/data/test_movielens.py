import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.events import EventLog
from hcrnn_pyro.data.movielens import held_out_parts, load_archive, order_ties, paper_rule, read_archive
from hcrnn_pyro.data.paper import load_paper, read_vocabulary
from hcrnn_pyro.errors import UserError

FLAGS_COMEDY_WAR = "|".join("1" if column in (5, 17) else "0" for column in range(19))
MEMBERS = {
    "ml-100k": {
        "ml-100k/u.data": b"196\t1\t3\t20\n7\t2\t5\t30\n196\t2\t4\t10\n",
        "ml-100k/u.item": f"1|Caf\xe9 (1995)|01-Jan-1995||http://x|{FLAGS_COMEDY_WAR}\n"
        f"2|Two (1996)|||http://y|{'|'.join('0' * 19)}\n".encode("latin-1"),
    },
    "ml-1m": {
        "ml-1m/ratings.dat": b"196::1::3::20\n7::2::5::30\n196::2::4::10\n",
        "ml-1m/movies.dat": "1::Caf\xe9 (1995)::Comedy|War\n2::Two (1996)::\n".encode("latin-1"),
    },
    "ml-20m": {
        "ml-20m/ratings.csv": b"userId,movieId,rating,timestamp\n196,1,3.0,20\n7,2,5.0,30\n196,2,4.0,10\n",
        "ml-20m/movies.csv": b"movieId,title,genres\n1,Caf\xc3\xa9 (1995),Comedy|War\n"
        b'2,"Two (1996)",(no genres listed)\n',
    },
}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", MEMBERS)
def test_all_formats_say_the_same(tmp_path, name, as_text):
    log = read_archive(write_zip(tmp_path / f"{name}.zip", MEMBERS[name]), name)
    assert as_text(log.sequences, log.items) == "196:2 1 | 7:2"
    assert log.sequences.times.tolist() == [10, 20, 30]
    assert log.ratings.tolist() == [4, 3, 5]
    assert log.items.values.tolist() == [["1", "Café (1995)", "Comedy|War"], ["2", "Two (1996)", ""]]


@pytest.mark.parametrize("place", ["ml-1m.zip", "raw/ml-1m.zip"])
def test_archives_are_found_in_the_folder_and_in_raw(tmp_path, place):
    write_zip(tmp_path / place, MEMBERS["ml-1m"])
    assert len(load_archive("ml-1m", tmp_path).sequences.items) == 3


def test_no_archive_and_no_network(tmp_path):
    with pytest.raises(UserError, match=r"Could not download .*ml-1m.zip.md5: no connection"):
        load_archive("ml-1m", tmp_path)


def test_a_truncated_archive(tmp_path):
    path = write_zip(tmp_path / "ml-1m.zip", MEMBERS["ml-1m"])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"Expected a whole zip archive at .*ml-1m.zip.*cut short"):
        read_archive(path, "ml-1m")


def test_an_archive_with_damaged_content(tmp_path):
    path = write_zip(tmp_path / "ml-1m.zip", MEMBERS["ml-1m"])
    content = bytearray(path.read_bytes())
    content[content.index(b"ratings.dat") + len("ratings.dat") + 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="Expected a whole zip archive"):
        read_archive(path, "ml-1m")


def test_something_that_is_no_archive(tmp_path):
    (tmp_path / "ml-1m.zip").write_text("<html>")
    with pytest.raises(UserError, match="Expected a whole zip archive"):
        read_archive(tmp_path / "ml-1m.zip", "ml-1m")


def test_an_archive_of_another_release(tmp_path):
    path = write_zip(tmp_path / "ml-1m.zip", MEMBERS["ml-20m"])
    with pytest.raises(UserError, match=r"Expected ml-1m/movies.dat, ml-1m/ratings.dat in .*; it has ml-20m/ratings"):
        read_archive(path, "ml-1m")


@pytest.mark.parametrize(
    "members",
    [
        {"ml-1m/ratings.dat": b"1::2::good::20\n"},
        {"ml-1m/ratings.dat": b"1::2\n"},
        {"ml-1m/movies.dat": b"1\n"},
        {"ml-1m/ratings.dat": b""},
    ],
)
def test_members_in_another_format(tmp_path, members):
    with pytest.raises(UserError, match="is not in the format of ml-1m"):
        read_archive(write_zip(tmp_path / "ml-1m.zip", MEMBERS["ml-1m"] | members), "ml-1m")


def test_ties_follow_first_appearance_in_the_part(log_of, as_text):
    log = log_of("u:a b c | v:d c a b", times=[1, 1, 2, 5, 5, 5, 6])
    ordered = order_ties(log.sequences)
    assert as_text(ordered, log.items) == "u:a b c | v:a c d b"
    assert ordered.times.tolist() == [1, 1, 2, 5, 5, 5, 6]


def test_paper_rule_orders_users_by_their_first_event_left(log_of, as_text):
    rows = [("1", f"i{k}", 5.0, 100.0 + k) for k in range(120)] + [("2", f"i{k}", 5.0, 110.0 + k) for k in range(10)]
    rows += [("3", f"i{k}", 5.0, 1.0) for k in range(9)] + [("2", "i99", 4.0, 0.0)]
    _, _, ratings, times = zip(*rows, strict=True)
    log = log_of(" | ".join(f"{session}:{item}" for session, item, _, _ in rows), times, ratings)
    kept = paper_rule(log, items={f"i{k}" for k in range(120)})
    # User 3 has 9 events; of user 1 the last 100 are left, which begin at 120; user 2 begins at 110.
    assert dict(zip(kept.ids, kept.lengths, strict=True)) == {"2": 10, "1": 100}
    assert as_text(kept.take(np.array([1])), log.items).startswith("1:i20 i21 ")


def test_held_out_users_go_where_the_list_says(log_of):
    listed = pd.DataFrame({"ml1m_user_id": ["v", "w"], "split": ["valid", "test"]})
    parts = held_out_parts(log_of("u:a b | w:a b | v:b a | x:a b").sequences, listed)
    assert {name: list(part.ids) for name, part in parts.items()} == {
        "train": ["u", "x"],
        "valid": ["v"],
        "test": ["w"],
    }
    with pytest.raises(UserError, match="1 held-out users have no sequence, among them w"):
        held_out_parts(log_of("u:a b | v:b a").sequences, listed)


@pytest.fixture
def half_of_ml1m(data_dir) -> EventLog:
    """MovieLens-1M in the publisher's format, but users 1 to 2999 only."""
    return read_archive(data_dir / "raw" / "ml-1m-users-1-2999.zip", "ml-1m")


@pytest.mark.parametrize(("split", "sequences"), [("valid", 188), ("test", 461)])
def test_the_rule_reproduces_the_published_sequences(data_dir, half_of_ml1m, split, sequences):
    """Users 1 to 2999 come from the archive, the others as published: ties depend on what comes earlier in the part."""
    known = set(read_vocabulary(data_dir / "movielens" / "item2idx.txt"))
    kept = paper_rule(half_of_ml1m, items=known)
    row_of = {user: row for row, user in enumerate(kept.ids)}
    held_out = pd.read_csv(data_dir / "movielens" / "held_out_users.tsv", sep="\t", dtype=str)
    users = held_out["ml1m_user_id"][held_out["split"] == split].tolist()
    data = load_paper("movielens", data_dir)
    published, names = data.part(split), data.items["item_id"].to_numpy()
    number = pd.Series(np.arange(1, len(names) + 1), index=names)
    ours = number.reindex(half_of_ml1m.items["item_id"]).to_numpy()  # published number of each of the archive's items
    items, times = [], []
    for row, user in enumerate(users):
        span = slice(published.offsets[row], published.offsets[row + 1])
        known_here = row_of.get(user)
        if known_here is None:
            items.append(published.items[span])
            times.append(published.times[span])
        else:
            items.append(ours[kept[known_here] - 1].astype(np.int32))
            times.append(kept.times[kept.offsets[known_here] : kept.offsets[known_here + 1]])
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in items])])
    ids = np.array(users, dtype=object)
    part = order_ties(Sequences(np.concatenate(items), offsets, ids, np.concatenate(times)))
    same = [np.array_equal(part[row], published[row]) for row, user in enumerate(users) if user in row_of]
    assert (sum(same), len(same)) == (sequences, sequences)


@pytest.mark.parametrize(
    ("name", "events", "users", "rated_items"),
    [("ml-100k", 100_000, 943, 1682), ("ml-latest-small", 100_836, 610, 9724)],
)
def test_real_archives(data_dir, name, events, users, rated_items):
    log = load_archive(name, data_dir)
    found = log.sequences.events, len(log.sequences), len(np.unique(log.sequences.items))
    assert found == (events, users, rated_items)
    first = log.items.set_index("item_id").loc["1"]
    assert first["title"] == "Toy Story (1995)"
    assert "Comedy" in first["categories"].split("|")
    assert log.items["categories"].str.contains(r"^$|^[A-Z]").all()
