"""The main command from end to end: what it prints, what it leaves, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.command import run_command
from experiments.svi import build, configuration, main
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate
from hcrnn_pyro.runs import best_epoch, load_run
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig

ROOT = Path(__file__).parents[1]
SMALL = ["--hidden", "8", "--contexts", "4", "--epochs", "2", "--batch-size", "64", "--device", "cpu"]
ARTEFACTS = {"config.json", "model.safetensors", "metrics.json", "ranks.parquet", "history.csv", "items.parquet"}


def write_log(path, rows=300, header="SessionId,ItemId,Time"):
    lines = [f"user{i % 30},item{(i * 7) % 11},{i}" for i in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_the_bare_command_on_the_embedded_data(tmp_path, capsys):
    out = tmp_path / "run"
    main([*SMALL, "--out", str(out)])
    printed = capsys.readouterr().out
    for expected in (
        "predictions",
        "hcrnn3-bi with prior logistic-normal",
        "best reachable",
        "seen items filtered",
    ):
        assert expected in printed
    assert {file.name for file in out.iterdir()} == ARTEFACTS
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["test"]) == {"recall@3", "recall@20", "mrr@3", "mrr@20", "nll", "predictions"}
    ranks = pd.read_parquet(out / "ranks.parquet")
    test = ranks[ranks["part"] == "test"]
    assert metrics["test"]["predictions"] == len(test)
    assert metrics["test"]["recall@20"] == pytest.approx(100 * (test["rank"] <= 20).mean())
    assert metrics["best_reachable"]["nll"] < metrics["test"]["nll"]
    assert len(pd.read_csv(out / "history.csv")) == 2


@pytest.mark.parametrize("scope", ["prefix", "filtering"])
@pytest.mark.parametrize("likelihood", ["categorical", "without-replacement"])
def test_a_users_log_with_each_scope_and_likelihood(tmp_path, scope, likelihood):
    log = tmp_path / "log.csv"
    rows = [f"{s},{(s + 2 * t) % 9},{t}" for s in range(30) for t in range(5)]
    log.write_text("\n".join(["user,item,when", *rows]))
    flags = ["--data", str(log), "--columns", "user,item,when", "--scope", scope, "--likelihood", likelihood]
    main([*SMALL, *flags, "--evaluation", "one-pass", "--theta-samples", "2", "--out", str(tmp_path / "run")])
    assert load_run(tmp_path / "run").metrics["test"]["predictions"] == 6 * 4


def test_a_published_row_stands_beside_a_paper_set(tmp_path, capsys, data_dir):
    flags = [
        "--data",
        "citeulike",
        "--data-dir",
        str(data_dir),
        "--evaluation",
        "one-pass",
        "--out",
        str(tmp_path / "r"),
    ]
    main([*SMALL, "--epochs", "1", *flags])
    printed = capsys.readouterr().out
    assert "published HCRNN-3+Bi" in printed
    assert load_run(tmp_path / "r").metrics["test"]["predictions"] == 9140


def test_a_model_without_a_latent_has_flags_of_its_own(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--model", "sasrec", "--hidden", "8", "--heads", "2", "--epochs", "1", "--device", "cpu"]
    main([*flags, "--out", str(out)])
    assert "sasrec without a latent: " in capsys.readouterr().out
    run = load_run(out)
    assert run.config["pair"] == {"model": "sasrec", "prior": "none", "guide": "none"}
    assert run.config["settings"]["heads"] == 2
    assert run.metrics["test"]["predictions"] == 3674
    main(["--resume", "--out", str(out)])
    with pytest.raises(UserError, match="was started with another --heads"):
        main(["--resume", "--out", str(out), "--heads", "4"])
    with pytest.raises(SystemExit):
        main(["--model", "sasrec", "--help"])
    assert "--layers" in (text := capsys.readouterr().out)
    assert "--contexts" not in text


def test_a_model_without_parameters_is_counted(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--model", "item-knn-decay", "--decay", "2", "--seed", "3", "--device", "cpu", "--out", str(out)]
    main(flags)
    printed = capsys.readouterr().out
    assert "item-knn-decay without a latent: no parameters" in printed
    assert "Counted, not trained" in printed
    assert {file.name for file in out.iterdir()} == ARTEFACTS - {"history.csv"}
    run = load_run(out)
    assert run.config["settings"] == {"likelihood": "categorical", "shrinkage": 0.0, "decay": 2.0}
    ranks = pd.read_parquet(out / "ranks.parquet")
    assert run.metrics["test"]["predictions"] == (ranks["part"] == "test").sum() == 3674
    again = evaluate(run.predictive, load_data(DataConfig()).test, "exact")
    stored = ranks[ranks["part"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, stored[again.columns])
    (out / "metrics.json").unlink()  # as if the evaluation had been stopped
    main(["--resume", "--out", str(out)])
    assert load_run(out).metrics == run.metrics


OWN_MODEL = """
from dataclasses import dataclass
import torch
from models import SASRec

@dataclass(frozen=True)
class Settings:
    width: int = 4

class Mine(SASRec):
    config = Settings
    def __init__(self, items, width):
        super().__init__(items, hidden=width)

class WithoutSettings(torch.nn.Module):
    pass
"""


def test_an_own_model_brings_its_own_flags(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    monkeypatch.chdir(tmp_path)
    flags = ["--model", "mine:Mine", "--width", "6", "--epochs", "1", "--batch-size", "64", "--device", "cpu"]
    main([*flags, "--out", "run"])
    assert load_run("run").model.item_embeddings.shape == (241, 6)
    with pytest.raises(UserError, match="--model mine:WithoutSettings needs an attribute config"):
        main(["--model", "mine:WithoutSettings"])


def test_an_own_prior_and_guide(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from guides import BagOfItems\n"
        "from models import LogisticNormal\n"
        "class Prior(LogisticNormal):\n"
        "    pass\n"
        "class Guide(BagOfItems):\n"
        "    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    main([*SMALL, "--prior", "mine:Prior", "--guide", "mine:Guide", "--out", "run"])
    assert type(load_run("run").guide).__name__ == "Guide"


def test_resume_takes_the_stored_flags_and_refuses_others(tmp_path, capsys):
    out = tmp_path / "run"
    main([*SMALL, "--out", str(out)])
    metrics = (out / "metrics.json").read_text()
    capsys.readouterr()
    main(["--resume", "--out", str(out)])
    assert "is finished" in capsys.readouterr().out
    assert (out / "metrics.json").read_text() == metrics
    with pytest.raises(UserError, match=r"was started with another --lr, --hidden|another --hidden, --lr"):
        main(["--resume", "--out", str(out), "--lr", "0.5", "--hidden", "9"])


def test_a_refit_learns_from_train_and_valid_for_the_epochs_that_were_best(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.csv")
    flags = [*SMALL, "--epochs", "4", "--data", "log.csv", "--lr", "0.02", "--monitor", "nll", "--patience", "1"]
    main([*flags, "--out", "first"])
    epochs = best_epoch(Path("first")) + 1
    capsys.readouterr()
    main(["--refit", "first", "--out", "deep/second"])
    assert f"Refitted for {epochs} epochs" in capsys.readouterr().out
    second = load_run("deep/second")
    assert second.selected.folder.resolve() == Path("first").resolve()
    assert second.metrics["valid"] == load_run("first").metrics["valid"], "what has not seen the valid part"
    assert second.config["training"]["lr"] == 0.02

    data = load_data(DataConfig(data="log.csv"))
    both = DataSet(data.name, data.train.followed_by(data.valid), data.valid, data.test, data.items)
    model, guide = build(configuration([*flags, "--epochs", str(epochs)]), data)
    fit(model, guide, both, TrainingConfig(epochs=epochs, lr=0.02, batch_size=64, device="cpu"), keep_last=True)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name

    with pytest.raises(UserError, match="--refit takes the flags of first; leave out --lr"):
        main(["--refit", "first", "--lr", "0.1", "--out", "third"])
    with pytest.raises(UserError, match=r"deep/second is a refit itself\. Refit the run in first"):
        main(["--refit", "deep/second", "--out", "third"])
    (tmp_path / "first" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"--refit: first is not finished\. Finish it with --resume"):
        main(["--refit", "first", "--out", "third"])
    assert not Path("third").exists()


def test_a_preset_fills_in_what_is_not_given():
    config = configuration(["--preset", "movielens", "--hidden", "30", "--data", "citeulike"])
    assert (config.data.data, config.pair.model, config.settings.hidden) == ("citeulike", "hcrnn3-bi", 30)
    assert (config.settings.item_embeddings, config.training.batch_size) == ("spectral", 32)
    for wrong, sentence in ((["nope"], "Unknown preset"), (["citeulike", "--model", "narm"], "settings of hcrnn3-bi")):
        with pytest.raises(UserError, match=sentence):
            configuration(["--preset", *wrong])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data", "movilens"], "Did you mean 'movielens'"),
        (["--model", "hcrnn4"], "Unknown model 'hcrnn4'"),
        (["--prior", "normal"], "Unknown prior 'normal'"),
        (["--guide", "bag-of-itms"], "Did you mean 'bag-of-items'"),
        (["--epochs", "0"], "--epochs is a whole number of at least 1; got 0"),
        (["--lr", "0"], "--lr is above 0"),
        (["--dropout-in", "1.0"], r"--dropout-in is a share in \[0, 1\); got 1.0"),
        (["--contexts", "1"], "--contexts is a number of at least 2"),
        (["--kl-weight", "-1"], "--kl-weight is at least 0"),
        (["--data", "nowhere.csv"], "no such file"),
        (["--resume"], "--resume needs --out"),
        (["--guide", "none"], "hcrnn3-bi has a latent variable, so it needs a guide"),
        (["--model", "sasrec", "--prior", "logistic-normal"], "sasrec has no latent variable, so it takes no prior"),
        (["--model", "sasrec", "--guide", "bag-of-items"], "sasrec has no latent variable, so it takes no guide"),
        (["--model", "sasrec", "--kl-anneal", "3"], "sasrec has no latent variable, so --kl-anneal would change"),
        (
            ["--model", "pop", "--lr", "0.1", "--epochs", "3"],
            "pop has no parameters.*--epochs, --lr would change nothing",
        ),
        (["--data", "synthetic-repeats", "--likelihood", "without-replacement"], "has repeats"),
    ],
)
def test_bad_flags_are_told_in_a_sentence_and_leave_nothing(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        main([*flags])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"SessionId;ItemId;Time\n1;2;3\n", "looks separated by semicolons"),
        (b"SessionId,Time\n1,3\n", "ItemId"),
        (b"SessionId,ItemId,Time\n1,2,yesterday\n", "yesterday"),
        (b"SessionId,ItemId,Time\n1,,3\n", "ItemId"),
        (b"SessionId,ItemId,Time\n1,\xff\xfe,3\n", "UTF-8"),
        (b"SessionId,ItemId,Time\n1,2,3\n1,2,4\n2,2,3\n2,2,4\n", "item"),
        (b"SessionId,ItemId,Time\n1,2,3\n2,3,3\n", "sequences of at least 2 events"),
    ],
)
def test_bad_logs_are_told_in_a_sentence(tmp_path, content, sentence):
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        main(["--data", str(log), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_exit_statuses(capsys):
    def ends(error):
        def work():
            raise error

        with pytest.raises(SystemExit) as leaving:
            run_command(work)
        return leaving.value.code, capsys.readouterr().err

    assert ends(UserError("Say why.")) == (2, "Say why.\n")
    assert ends(KeyboardInterrupt()) == (130, "Stopped.\n")
    assert ends(OSError(28, "No space left on device", "out/x")) == (
        2,
        "out/x: No space left on device. Check the flags that name files.\n",
    )
    with pytest.raises(ZeroDivisionError):  # a defect keeps its traceback
        run_command(lambda: print(1 // 0))


def test_a_parse_error_exits_with_two_and_names_the_choices():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.svi", "--scope", "prefx"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "'prefix'" in done.stderr


@pytest.mark.slow
def test_kill_9_and_resume_equal_the_run_that_was_never_killed(tmp_path):
    flags = ["--hidden", "8", "--contexts", "4", "--epochs", "4", "--batch-size", "8", "--device", "cpu"]
    command = [sys.executable, "-m", "experiments.svi"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*arguments):
        subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)

    run(*flags, "--out", str(tmp_path / "whole"))
    killed = subprocess.Popen(
        [*command, *flags, "--out", str(tmp_path / "killed")], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    history = tmp_path / "killed" / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.is_file() and history.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # into the next epoch
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    run("--resume", "--out", str(tmp_path / "killed"))
    whole, resumed = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert resumed == whole
