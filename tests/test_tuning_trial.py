"""The process of a trial."""

import shlex
from pathlib import Path

import pytest

from experiments.tuning.trial import DIVERGED, main


def test_a_trial_that_diverges_says_so_by_its_status(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{(user + 2 * t) % 9},{t}" for user in range(40) for t in range(5)]
    Path("log.csv").write_text("\n".join(["user,item,when", *rows]))
    flags = "--model sasrec --hidden 4 --heads 2 --lr 1e12 --batch-size 8 --epochs 9 --device cpu --out x"
    with pytest.raises(SystemExit) as stop:
        main(["--data", "log.csv", "--columns", "user,item,when", *shlex.split(flags)])
    assert stop.value.code == DIVERGED
    assert "Training diverged" in capsys.readouterr().err
