"""The table command from end to end, with small models on a small log: what it runs, resumes, refuses and leaves."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.table import main
from experiments.tables import rows as rows_module
from experiments.tables.rows import OTHER, ROWS, Row
from hcrnn_pyro.errors import UserError

ROOT = Path(__file__).parents[1]
TINY = "--hidden 4 --heads 2 --epochs 2 --batch-size 64 --device cpu"


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the children start in a folder that is not the checkout
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{(user + 2 * t) % 9},{t}" for user in range(40) for t in range(5)]
    Path("log.csv").write_text("\n".join(["user,item,when", *rows]))
    return ["--data", "log.csv", "--columns", "user,item,when"]


@pytest.fixture
def small_rows(monkeypatch):
    small = {
        "first": Row("first", "sasrec", {OTHER: TINY}, "GRU4REC"),
        "second": Row("second", "sasrec", {OTHER: f"{TINY} --lr 0.01"}),
    }
    monkeypatch.setattr(rows_module, "ROWS", small)
    return small


def test_two_rows_over_two_seeds_and_the_same_command_again(log, small_rows, capsys):
    small_rows["both"] = Row("both", "sasrec", {OTHER: ""}, pooled=("first", "second"))
    flags = [*log, "--seeds", "1", "2", "--jobs", "2", "--out", "t"]
    main(flags)
    printed = capsys.readouterr().out
    assert "Of 6 run(s), 0 are finished." in printed
    assert "[6/6] log.csv both 2" in printed, "a pool waits for its members"
    assert " left" in printed
    finished = {path: path.stat().st_mtime_ns for path in Path("t/runs/log.csv").glob("*/*/metrics.json")}
    assert {path.parts[3:5] for path in finished} == {(row, seed) for row in small_rows for seed in ("1", "2")}
    config = json.loads(Path("t/runs/log.csv/second/2/config.json").read_text())
    assert (config["training"]["seed"], config["training"]["lr"], config["settings"]["hidden"]) == (2, 0.01, 4)
    assert "Best: epoch" in Path("t/logs/log.csv/first/1.log").read_text()

    pool = json.loads(Path("t/runs/log.csv/both/2/pool.json").read_text())
    assert [member["run"] for member in pool["members"]] == ["../../first/2", "../../second/2"]
    table = pd.read_csv("t/results.csv").set_index(["column", "model", "metric"])["mean"]
    together = json.loads(Path("t/runs/log.csv/both/2/metrics.json").read_text())["test"]["mrr@20"]
    other = json.loads(Path("t/runs/log.csv/both/1/metrics.json").read_text())["test"]["mrr@20"]
    assert table["protocol", "both", "mrr@20"] == pytest.approx((together + other) / 2, rel=1e-4)

    main(flags)
    assert "Of 6 run(s), 6 are finished." in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())

    small_rows["both"] = Row("both", "sasrec", {OTHER: ""}, pooled=("second", "first"))
    with pytest.raises(UserError, match="both/1 pools other runs or data than the row both does now"):
        main(flags)
    del small_rows["both"]
    small_rows["first"] = Row("first", "sasrec", {OTHER: f"{TINY} --patience 7 --hidden 6"})
    with pytest.raises(UserError, match=r"first/1 was made with another --hidden, --patience than the row first"):
        main(flags)
    small_rows["first"] = ROWS["sasrec"]
    Path("log.csv").write_text(Path("log.csv").read_text() + "\n99,1,1\n99,2,2")
    with pytest.raises(UserError, match=r"The data of log\.csv have changed"):
        main([*flags, "--models", "second"])


def test_a_row_of_refits_and_a_pool_of_them(log, small_rows, capsys):
    small_rows["counts"] = Row("counts", "markov", {OTHER: ""}, counted=True)
    small_rows["counts+refit"] = Row("counts+refit", "markov", {OTHER: ""}, counted=True, refits="counts")
    small_rows["first+refit"] = Row("first+refit", "sasrec", {OTHER: ""}, refits="first")
    small_rows["both"] = Row("both", "sasrec", {OTHER: ""}, pooled=("first+refit", "counts+refit"))
    flags = [*log, "--seeds", "1", "2", "--jobs", "2", "--out", "t", "--models", "both"]
    main(flags)
    printed = capsys.readouterr().out
    assert "Of 8 run(s), 0 are finished." in printed, "two seeds of first, its refit and the pool; one of the counts"
    runs = Path("t/runs/log.csv")
    first, again = (json.loads((runs / row / "2" / "config.json").read_text()) for row in ("first", "first+refit"))
    assert again["refits"] == "../../first/2"
    assert again["settings"] == first["settings"]
    history = pd.read_csv(runs / "first" / "2" / "history.csv")
    assert len(pd.read_csv(runs / "first+refit" / "2" / "history.csv")) == history["valid_mrr@20"].argmax() + 1
    pool = json.loads((runs / "both" / "2" / "pool.json").read_text())
    assert [member["run"] for member in pool["members"]] == ["../../first+refit/2", "../../counts+refit/1"]
    costs = Path("t/results.md").read_text().split("### What a run cost")[1]
    line = next(line for line in costs.splitlines() if line.startswith("| first+refit"))
    assert line.split("|")[3].strip() == "-", "a refit keeps its last epoch, and no best one"

    main(flags)
    assert "Of 8 run(s), 8 are finished." in capsys.readouterr().out
    small_rows["first+refit"] = Row("first+refit", "sasrec", {OTHER: ""}, refits="second")
    with pytest.raises(UserError, match=r"first\+refit/1 is no refit of t/runs/log.csv/second/1, which the row first"):
        main(flags)


def test_a_failing_run_leaves_the_others_and_the_table(log, small_rows, capsys):
    Path("mine.py").write_text(
        "from models import SASRec, SASRecConfig\n"
        "class Mine(SASRec):\n"
        "    def __init__(self, items, **settings):\n"
        "        raise ValueError('no room')\n"
    )
    with pytest.raises(UserError, match=r"log\.csv mine:Mine 1 failed with status 1: ValueError: no room"):
        main([*log, "--models", "mine:Mine,first", "--seeds", "1", "--out", "t"])
    printed = capsys.readouterr().out
    assert "log.csv mine:Mine 1: failed" in printed
    assert Path("t/runs/log.csv/first/1/metrics.json").is_file()
    assert "mine:Mine 1 failed" in Path("t/results.md").read_text()


def test_sigint_stops_the_children_and_the_same_command_goes_on(log, capfd):
    own = Path("mine.py")
    own.write_text(
        "import time\n"
        "from dataclasses import dataclass\n"
        "from models import SASRec\n"
        "@dataclass(frozen=True)\n"
        "class Settings:\n"
        "    hidden: int = 4\n"
        "class Mine(SASRec):\n"
        "    config = Settings\n"
        "    pause = 0.2\n"
        "    def __init__(self, items, hidden):\n"
        "        super().__init__(items, hidden=hidden, heads=2)\n"
        "    def forward(self, batch):\n"
        "        time.sleep(self.pause)\n"
        "        return super().forward(batch)\n"
    )
    command = [sys.executable, "-m", "experiments.table", *log, "--models", "mine:Mine", "--seeds", "1", "--out", "t"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = Path("t/runs/log.csv/mine:Mine/1")
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.ckpt").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    with pytest.raises(UserError, match=r"still works in t"):
        main([*log, "--models", "mine:Mine", "--seeds", "1", "--out", "t"])
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on with the same command:\npython -m experiments.table --data log.csv" in said
    assert not (folder / "metrics.json").exists()
    epochs = (folder / "history.csv").read_text().count("\n")
    own.write_text(own.read_text().replace("pause = 0.2", "pause = 0"))
    main([*log, "--models", "mine:Mine", "--seeds", "1", "--out", "t"])
    assert "1 go on where they were stopped" in capfd.readouterr().out
    assert (folder / "metrics.json").is_file()
    assert (folder / "history.csv").read_text().count("\n") > epochs
    assert not (folder / "checkpoint.ckpt").exists()


def test_a_run_without_a_checkpoint_starts_anew_and_foreign_folders_are_kept(log, small_rows):
    left, foreign = Path("t/runs/log.csv/first/1"), Path("t/runs/log.csv/second/1")
    for folder in (left, foreign):
        folder.mkdir(parents=True)
    (left / "config.json").write_text("{}")
    (foreign / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match=r"second 1 failed with status 2: .* is not an empty folder"):
        main([*log, "--seeds", "1", "--out", "t"])
    assert (left / "metrics.json").is_file()
    assert (foreign / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--models", "hcrn3"], "Unknown model 'hcrn3'. Did you mean 'hcrnn3'"),
        (["--models", ","], "--models names no model"),
        (["--models", "nowhere:Model"], "names neither the file"),
        (["--data", "citulike"], "Did you mean 'citeulike'"),
        (["--seeds", "1", "1"], "--seeds names something twice: 1, 1"),
        (["--jobs", "0"], "--jobs is a whole number of at least 1; got 0"),
        (["--data", "synthetic", "--models", "ablation"], "The ablation is about the settings for citeulike"),
        (["--models", "pop", "--against", "narm"], "--against names what is no row of this table: narm."),
        (["--data", "lastfm", "--data-dir", "."], "lastfm: "),
    ],
)
def test_bad_flags_are_told_in_a_sentence_and_leave_nothing(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HCRNN_DATA", raising=False)
    monkeypatch.setenv("HCRNN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=sentence):
        main([*flags])
    assert list(tmp_path.iterdir()) == []


def test_lastfm_runs_once_its_files_are_there(data_dir, tmp_path, small_rows, capsys):
    """Its train part is not at hand, so sequences of the test part stand in for it."""
    folder = tmp_path / "lastfm"
    folder.mkdir()
    for name in ("valid", "item2idx"):
        (folder / f"{name}.txt").write_bytes((data_dir / "lastfm" / f"{name}.txt").read_bytes())
    events = pd.read_csv(data_dir / "lastfm" / "test.txt", sep="\t")
    first = events["sess_idx"].isin(events["sess_idx"].unique()[:150])
    for name, part in (("train", events[first]), ("test", events[~first])):
        part.to_csv(folder / f"{name}.txt", sep="\t", index=False)
    flags = ["--data", "lastfm", "--data-dir", str(tmp_path), "--models", "first,pop", "--seeds", "1"]
    main([*flags, "--out", str(tmp_path / "t")])
    assert "[2/2] lastfm " in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "t" / "results.csv")
    assert set(results["model"]) == {"first", "pop"}
    assert results.query("model == 'first' and metric == 'mrr@20'")["published"].tolist()[0] == 16.95  # GRU4REC's
