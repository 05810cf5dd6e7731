from pathlib import Path

import numpy as np
import pytest

from hcrnn_pyro.data import arrays
from hcrnn_pyro.data.locate import cache_folder
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """20 sequences u0..u19 of items a, b, c, d; each ends at 10 times its number."""
    lines = [f"u{i},{item},{10 * i - 3 + k}" for i in range(20) for k, item in enumerate("abcd")]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["SessionId,ItemId,Time", *lines]) + "\n")
    return path


def test_a_path_is_a_log_of_the_users(log):
    data = load_data(DataConfig(data=str(log)))
    assert (data.name, len(data.train), len(data.valid), len(data.test)) == ("log.csv", 14, 2, 4)
    assert data.items["item_id"].tolist() == list("abcd")
    assert "split: users (seed 0)" in data.description


def test_filters_and_split_are_applied(log):
    data = load_data(DataConfig(data=str(log), split="temporal", last_events=3))
    assert list(data.test.ids) == ["u18", "u19"]  # ends 0..190: cut-offs 152 and 171
    assert list(data.valid.ids) == ["u16", "u17"]
    assert data.items["item_id"].tolist() == list("bcd")
    assert "the last 3 events of each" in data.description


def test_columns_can_be_named(log):
    log.write_text(log.read_text().replace("SessionId,ItemId,Time", "user,item,when"))
    assert load_data(DataConfig(data=str(log), columns="user,item,when")).train.times is not None
    assert load_data(DataConfig(data=str(log), columns="user,item")).train.times is None


@pytest.mark.parametrize("name", ["synthetic", "synthetic-repeats"])
def test_synthetic_follows_its_seed(name):
    draws = [load_data(DataConfig(data=name, split_seed=seed)).train.items for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'citulike'\. Did you mean 'citeulike'\? .*ml-1m.*path to a \.tsv, \.csv or"):
        load_data(DataConfig(data="citulike"))


@pytest.mark.parametrize(
    ("config", "flag"),
    [
        (DataConfig(data="citeulike", split="temporal"), "--split has no meaning for citeulike; .*: --data-dir"),
        (DataConfig(data="movielens", min_length=5), "--min-length has no meaning for movielens"),
        (DataConfig(data="synthetic", data_dir=Path()), "--data-dir has no meaning for synthetic"),
        (DataConfig(data="ml-100k", protocol="paper"), "--protocol has no meaning for ml-100k"),
        (DataConfig(data="ml-1m", protocol="paper", min_rating=4.0), "--min-rating has no meaning for ml-1m"),
        (DataConfig(data="ml-1m", columns="a,b"), "--columns has no meaning for ml-1m"),
    ],
)
def test_options_that_would_do_nothing_are_refused(config, flag):
    with pytest.raises(UserError, match=flag):
        load_data(config)


def test_large_data_are_read_from_files_without_a_name(log, monkeypatch):
    plain = load_data(DataConfig(data=str(log)))
    monkeypatch.setattr(arrays, "IN_MEMORY", 3)
    mapped = load_data(DataConfig(data=str(log)))
    assert isinstance(mapped.train.items.base, np.memmap)
    assert not mapped.train.items.flags.writeable
    assert list(cache_folder().iterdir()) == [], "nothing that a kill could leave behind"
    np.testing.assert_array_equal(mapped.train.items, plain.train.items)
    np.testing.assert_array_equal(mapped.test.times, plain.test.times)


def test_a_cache_that_cannot_be_written_to(log, monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", 3)
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    cache_folder().write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"need room in the cache folder .*: .*XDG_CACHE_HOME"):
        load_data(DataConfig(data=str(log)))


def test_ml100k_from_the_publishers_archive(data_dir):
    data = load_data(DataConfig(data="ml-100k", data_dir=data_dir))
    assert (len(data.train), len(data.valid), len(data.test)) == (679, 75, 189)  # 943 users: 20 %, 10 % of the rest
    assert data.items["title"].notna().all()


def test_ml1m_by_the_papers_rule_needs_the_whole_archive(data_dir, tmp_path):
    """With half of the users, most of those that the list names are absent."""
    (tmp_path / "movielens").mkdir()
    (tmp_path / "ml-1m.zip").symlink_to(data_dir / "raw" / "ml-1m-users-1-2999.zip")
    config = DataConfig(data="ml-1m", data_dir=tmp_path, protocol="paper")
    data = load_data(config)
    assert "held-out users at random (seed 0)" in data.description
    assert any("The paper's rule gives 930 items and 4,639 sequences" in note for note in data.notes)
    assert data.train.lengths.max() == 100
    (tmp_path / "movielens" / "held_out_users.tsv").symlink_to(data_dir / "movielens" / "held_out_users.tsv")
    with pytest.raises(UserError, match="held-out users have no sequence"):
        load_data(config)


def test_a_negative_split_seed_is_refused():
    with pytest.raises(UserError, match="--split-seed is a whole number of at least 0; got -1"):
        DataConfig(split_seed=-1)
