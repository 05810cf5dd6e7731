"""The benchmark command from end to end: every row for every system, in turns, printed and written."""

import json

import pytest

from experiments.benchmark import main
from experiments.benchmarking import scale
from hcrnn_pyro.errors import UserError

SMALL = ["--hidden", "4", "--contexts", "3", "--batch-size", "64", "--repeats", "1"]
WHAT = [
    "training epoch",
    "evaluation of test, exact",
    "evaluation of test, one-pass",
    "an answer to one user",
    "memory of the largest step",
]


@pytest.fixture
def logs(tmp_path):
    for name, users in (("few.csv", 20), ("more.csv", 40)):
        rows = [f"{user},{(user + 2 * t) % 9},{t}" for user in range(users) for t in range(5)]
        (tmp_path / name).write_text("\n".join(["SessionId,ItemId,Time", *rows]))
    return [str(tmp_path / "few.csv"), str(tmp_path / "more.csv")]


def test_every_row_is_printed_and_written_for_every_data_set(capsys, tmp_path, logs):
    file = tmp_path / "rows.json"
    main([*SMALL, "--data", *logs, "--json", str(file)])
    printed = capsys.readouterr().out
    records = json.loads(file.read_text())
    for name in ("few.csv", "more.csv"):
        assert f"{name}: " in printed
        found = [record for record in records if record["data"] == name]
        gru = {record["what"]: record for record in found if record["system"] == "GRU"}
        assert list(gru) == WHAT
        for record in found:
            assert f"{record['what']} ({record['unit']})" in printed
            assert record["median"] > 0
            assert record["ratio_to_gru"] == pytest.approx(record["median"] / gru[record["what"]]["median"])


def test_a_sweep_is_a_table_for_each_axis(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "EVENTS", 3)
    monkeypatch.setattr(scale, "SWEPT", {"K": (2, 5), "events": (3 * 64 * 4,)})
    file = tmp_path / "rows.json"
    main([*SMALL, "--scale", "K", "events", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "K, random sequences: B = 64, T = 3, V = 2,000, H = 4;" in printed
    assert "events, random sequences: B = 64, T = 3, V = 2,000, H = 4, K = 3;" in printed
    records = json.loads(file.read_text())
    rows = list(dict.fromkeys((record["what"], record["unit"]) for record in records))
    assert rows == [
        ("K = 2", "CPU ms a step"),
        ("K = 2", "MiB"),
        ("K = 5", "CPU ms a step"),
        ("K = 5", "MiB"),
        ("768 events", "events/s in training"),
        ("768 events", "CPU s to an epoch's first batch"),
    ]
    memory = {r["what"]: r["median"] for r in records if r["unit"] == "MiB" and r["system"] == "hcrnn3-bi"}
    assert memory["K = 5"] > memory["K = 2"]


def test_the_parts_of_a_step_add_up_to_it(capsys, tmp_path, logs):
    file = tmp_path / "rows.json"
    main([*SMALL, "--data", logs[0], "--profile", "--json", str(file)])
    assert "arithmetic floor" in capsys.readouterr().out
    for system in ("hcrnn3-bi", "GRU"):
        ms = {r["what"]: r["median"] for r in json.loads(file.read_text()) if r["system"] == system}
        assert ms.pop("step") == pytest.approx(sum(ms.values()))
        assert ms["Pyro"] > 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--repeats", "0"], "--repeats is a whole number of at least 1; got 0"),
        (["--seed", "-1"], "--seed is a whole number"),
        (["--data", "movilens", "synthetic"], "Did you mean 'movielens'"),
        (["--json", "nowhere/rows.json"], "the folder nowhere does not exist"),
        (["--scale", "K", "--profile"], "ask for one of them"),
        (["--recbole", "python", "--profile"], "--recbole adds a row to the comparison"),
    ],
)
def test_nonsense_is_refused(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        main([*SMALL, *flags])
