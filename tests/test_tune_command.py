"""The search from end to end: one real process, whole commands in this one, and what a user is told."""

import json
import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import tune
from experiments.options import parse, words
from experiments.svi import configuration
from experiments.tune import main
from experiments.tuning import data as data_module
from experiments.tuning import search as search_module
from experiments.tuning import trial
from experiments.tuning.attempt import ProcessAttempt, changes
from experiments.tuning.config import TuneConfig
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError

ROOT = Path(__file__).parents[1]
LOG = ["--data", "log.csv", "--columns", "user,item,when"]
SPACE = (
    "epochs = 2\nbatch-size = 64\nhidden = 4\nheads = 2\n"
    "lr = { low = 1e-3, high = 0.1, log = true }\ndropout = { choices = [0.0, 0.2] }\n"
)
SEARCH = [*LOG, "--model", "sasrec", "--space", "space.toml", "--device", "cpu", "--out", "t"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a log and a space."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the children start in a folder that is not the checkout
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{(user + 2 * t) % 9},{t}" for user in range(40) for t in range(5)]
    Path("log.csv").write_text("\n".join(["user,item,when", *rows]))
    Path("space.toml").write_text(SPACE)
    return tmp_path


class Ended:
    """In place of a process that has ended."""

    def __init__(self, status):
        self.status = status

    def poll(self):
        return self.status

    def terminate(self):
        pass

    wait = poll


class Forbidden(Sequences):
    """A part of a data set that nobody may look at."""

    def __init__(self):
        pass

    def __getattribute__(self, name):
        if name == "__class__":  # what the checker of types asks for
            return Forbidden
        raise AssertionError(f"{name} of the test part was read")


@pytest.fixture
def in_this_process(monkeypatch):
    """The numbers of the trials that were trained, in this process and each at once."""

    def start_attempt(config, folder, _environment, _lock):
        trained.append(int(folder.name))
        status = 0
        try:
            trial.main([*words(changes(config)), "--out", str(folder)])
        except SystemExit as stop:
            status = stop.code
        return ProcessAttempt(folder, config.training.monitor, Ended(status))

    trained = []
    monkeypatch.setattr(tune, "start_attempt", start_attempt)
    return trained


def test_a_search_leaves_its_best_and_never_looks_at_the_test_part(here, in_this_process, monkeypatch, capsys):
    load = data_module.load_data
    monkeypatch.setattr(data_module, "load_data", lambda source: replace(load(source), test=Forbidden()))
    main([*SEARCH, "--trials", "2"])
    printed = capsys.readouterr().out
    assert "Of 2 trial(s) on log.csv, 0 are there." in printed
    assert "Which flags matter can be told from 10 complete trials on." in printed
    assert "Kept in t: trials.csv, best.json, history.png" in printed

    trials = pd.read_csv("t/trials.csv", index_col="trial")
    histories = {number: pd.read_csv(f"t/trials/{number}/history.csv") for number in (1, 2)}
    assert (trials["outcome"] == "complete").all()
    for number, history in histories.items():
        row = trials.loc[number]
        assert row["value"] == pytest.approx(history["valid_mrr@20"].max(), rel=1e-5)
        assert (row["epoch"], row["epochs"]) == (history["valid_mrr@20"].argmax(), len(history))
    best = json.loads(Path("t/best.json").read_text())
    assert best["trial"] == trials["value"].idxmax()
    assert best["value"] == histories[best["trial"]]["valid_mrr@20"].max()
    assert best["command"] in printed.splitlines()
    told = configuration(shlex.split(best["command"])[3:])
    row = trials.loc[best["trial"]]
    assert (told.training.lr, told.settings.dropout, told.out) == (row["lr"], row["dropout"], Path("t/best"))
    assert (told.pair.model, told.settings.heads, told.training.epochs, told.data.data) == ("sasrec", 2, 2, "log.csv")
    left = {path.name for path in Path("t/trials/1").iterdir()}
    assert "history.csv" in left
    assert not {"model.safetensors", "checkpoint.ckpt"} & left
    assert Path("t/history.png").read_bytes().startswith(b"\x89PNG")
    assert not Path("t/importance.png").exists()

    main([*SEARCH, "--trials", "2"])
    assert in_this_process == [1, 2]  # the same command again repeats nothing
    assert "Of 2 trial(s) on log.csv, 2 are there." in capsys.readouterr().out
    main([*SEARCH, "--trials", "3"])
    assert in_this_process == [1, 2, 3]
    Path("log.csv").write_text(Path("log.csv").read_text().replace("39,2,3", "39,3,3"))
    with pytest.raises(UserError, match=r"t holds a search with another --monitor(, data)?\."):
        main([*SEARCH, "--monitor", "nll"])


def test_ctrl_c_ends_the_process_and_the_same_command_goes_on(here, monkeypatch, capsys):
    def begin(*parts):
        attempts.append(start(*parts))
        return attempts[-1]

    def stopped(_):
        raise KeyboardInterrupt

    attempts, start = [], tune.start_attempt
    monkeypatch.setattr(tune, "start_attempt", begin)
    with monkeypatch.context() as patch:
        patch.setattr(search_module.Running, "advance", stopped)
        with pytest.raises(
            KeyboardInterrupt, match=r"Go on with the same command:\npython -m experiments\.tune --data"
        ):
            main([*SEARCH, "--trials", "1"])
    assert attempts[0].process.returncode == -signal.SIGTERM
    assert "No trial is complete yet" in capsys.readouterr().out
    Path("t/trials/1/history.csv").write_text("left behind")
    main([*SEARCH, "--trials", "1"])
    assert "[1/1] trial 1: mrr@20 " in capsys.readouterr().out
    assert len(pd.read_csv("t/trials/1/history.csv")) == 2
    assert "epoch   1" in Path("t/trials/1/trial.log").read_text()
    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (None, None),
        (0, ("complete", "")),
        (2, ("refused", "Too bad.")),
        (3, ("diverged", "Too bad.")),
        (-9, ("failed", "status -9: Too bad.")),
    ],
)
def test_how_a_process_ended_is_told_by_its_status_and_its_last_words(tmp_path, status, ending):
    (tmp_path / "trial.log").write_text("epoch 0\nToo bad.\n\n")
    assert ProcessAttempt(tmp_path, "nll", Ended(status)).ending() == ending


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--trials", "0"], "--trials is a whole number of at least 1; got 0"),
        (["--jobs", "0"], "--jobs is a whole number of at least 1; got 0"),
        (["--warmup", "-1"], "--warmup is a number of epochs, at least 0; got -1"),
        (["--out", "log.csv"], "--out: log.csv is not a folder"),
        (["--space", "nowhere.toml"], "--space: there is no file nowhere.toml"),
        (["--model", "gru4rec"], r"space\.toml: hidden|space\.toml: heads: Unknown flag of gru4rec"),
        (["--model", "pop", "--space", "lr.toml"], "--model pop is counted, not trained"),
        (["--data", "citulike", "--columns", "user,item"], "Did you mean 'citeulike'"),
    ],
)
def test_bad_flags_are_told_in_a_sentence_and_leave_nothing(here, flags, sentence):
    Path("lr.toml").write_text("lr = { low = 0.1, high = 0.2 }")
    pairs = [SEARCH[at : at + 2] for at in range(0, len(SEARCH), 2)]
    with pytest.raises(UserError, match=sentence):
        main([*flags, *(word for flag in pairs if flag[0] not in flags for word in flag)])
    assert {path.name for path in here.iterdir()} == {"log.csv", "space.toml", "lr.toml"}


def test_without_optuna_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(tune.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"A search needs Optuna: pip install 'hcrnn_pyro\[tune\]'"):
        main([])


def test_commands_of_the_page_and_the_docstring_parse():
    texts = ((ROOT / "docs" / "tuning.md").read_text(), tune.__doc__)
    commands = [line for text in texts for line in re.findall(r"python -m experiments\.tune[^\n`]*", text)]
    parsed = [parse(TuneConfig, "tune", shlex.split(re.split(r"\s{3,}", command)[0])[3:]) for command in commands]
    assert len(parsed) >= 5
    assert any(config.jobs == 2 for config in parsed)
