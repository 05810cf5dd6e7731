"""The benchmark command from end to end: every row for every system, in turns, printed and written."""

import json

import pytest

from experiments.benchmark import main
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


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--repeats", "0"], "--repeats is a whole number of at least 1; got 0"),
        (["--seed", "-1"], "--seed is a whole number"),
        (["--data", "movilens", "synthetic"], "Did you mean 'movielens'"),
        (["--json", "nowhere/rows.json"], "the folder nowhere does not exist"),
    ],
)
def test_nonsense_is_refused(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        main([*SMALL, *flags])
