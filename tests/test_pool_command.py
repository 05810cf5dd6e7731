"""The pool command from end to end, with models that count: what it weighs, prints, refuses and leaves."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments.pool import _weights, main
from experiments.svi import main as train
from hcrnn_pyro import evaluate, load_data, load_pool, load_run, summarise
from hcrnn_pyro.data.sources import DataConfig
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pooling import LogPool

MODELS = ("item-knn-decay", "markov")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pool")
    for model in MODELS:
        train(["--model", model, "--likelihood", "without-replacement", "--out", str(out / model)])
    return out


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_pool_is_weighed_evaluated_and_kept(here, capsys):
    main(["--runs", *MODELS, "--out", "both"])
    printed = capsys.readouterr().out
    content = json.loads(Path("both/pool.json").read_text())
    weights = [member["weight"] for member in content["members"]]
    assert [member["run"] for member in content["members"]] == ["../item-knn-decay", "../markov"]
    for model, weight in zip(MODELS, weights, strict=True):
        assert f"{weight:6.3f}  {model}, {model}" in printed
    metrics = json.loads(Path("both/metrics.json").read_text())
    alone = [load_run(model).metrics["valid"]["nll"] for model in MODELS]
    assert metrics["valid"]["nll"] < min(alone), "the weights (1, 0) and (0, 1) were to be had as well"
    row = next(line for line in printed.split("\n") if line.startswith("the pool"))
    trained = load_run("markov").metrics["test_pessimistic_ties"]
    assert f"{trained['recall@20']:.2f}" in next(line for line in printed.split("\n") if line.startswith("markov"))
    assert f"{metrics['test_pessimistic_ties']['recall@20']:.2f}" in row
    assert f"{content['test_calibration_error']:.4f}" in row

    data = load_data(DataConfig())
    again = summarise(evaluate(load_pool("both"), data.test, "exact"))
    assert again == pytest.approx(metrics["test"], rel=1e-6)
    ranks = pd.read_parquet("both/ranks.parquet")
    assert (ranks["part"] == "test").sum() == metrics["test"]["predictions"]

    main(["--runs", "markov", "--out", "both"])
    (weight,) = [member["weight"] for member in json.loads(Path("both/pool.json").read_text())["members"]]
    temperature = float(re.search(r"a temperature of ([\d.]+)", capsys.readouterr().out).group(1))
    assert temperature == pytest.approx(1 / weight, abs=0.006)


def test_a_pool_moves_with_its_runs(folder, here):
    main(["--runs", *MODELS, "--out", "deep/pool"])
    folder.rename(folder.with_name("elsewhere"))
    try:
        assert len(load_pool(folder.with_name("elsewhere") / "deep" / "pool").weights) == 2
    finally:
        folder.with_name("elsewhere").rename(folder)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--runs", "nowhere"], "--runs: nowhere holds no run of experiments.svi; config.json is missing"),
        (["--runs", "markov", "markov"], "--runs names markov more than once"),
        (["--runs", "markov", "../pool0/markov"], "more than once"),
        (["--runs", "markov", "other"], "--runs: other was trained on other data than markov"),
        (["--runs", "markov", "begun"], "--runs: begun is not finished. Finish it with --resume"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(here, flags, sentence):
    if not Path("other").exists():
        train(["--model", "pop", "--data", "synthetic-repeats", "--out", "other"])
        train(["--model", "pop", "--out", "begun"])
        Path("begun/metrics.json").unlink()
    with pytest.raises(UserError, match=re.escape(sentence)):
        main([*flags, "--out", "new"])
    assert not Path("new").exists()


def test_a_foreign_folder_is_left_alone(here):
    Path("mine").mkdir(exist_ok=True)
    Path("mine/notes.txt").write_text("kept")
    with pytest.raises(UserError, match=r"--out: mine holds notes\.txt, which no pool wrote"):
        main(["--runs", "markov", "--out", "mine"])
    with pytest.raises(UserError, match="mine holds no pool"):
        load_pool("mine")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "{",
        lambda content: "[]",
        lambda content: json.dumps(content | {"members": []}),
        lambda content: json.dumps({name: value for name, value in content.items() if name != "members"}),
        lambda content: json.dumps(content | {"members": [content["members"][0] | {"weight": -3}]}),
        lambda content: json.dumps(content | {"members": [content["members"][0] | {"weight": "much"}]}),
    ],
)
def test_a_damaged_pool_is_told(here, damage):
    main(["--runs", "markov", "--out", "whole"])
    content = json.loads(Path("whole/pool.json").read_text())
    Path("whole/pool.json").write_text(damage(content))
    with pytest.raises(UserError, match=r"pool\.json is damaged \(.*\); make the pool anew"):
        load_pool("whole")
    Path("whole/pool.json").unlink()


def test_a_run_that_was_made_anew_is_not_the_one_that_was_pooled(here):
    train(["--model", "pop", "--out", "again"])
    main(["--runs", "again", "markov", "--out", "both-of-them"])
    shutil.rmtree("again")
    train(["--model", "s-pop", "--out", "again"])
    with pytest.raises(UserError, match=r"The run in .*again is gone, or not the one that both-of-them pooled"):
        load_pool("both-of-them")


def test_a_pool_of_no_use_says_so(here):
    run = load_run("markov")
    assert "which is what this pool gives" in _weights([run], LogPool((run.predictive,), (0.0,)))
    assert "(a temperature of 2.00)" in _weights([run], LogPool((run.predictive,), (0.5,)))


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"--device cuda: no CUDA device was found; use --device cpu or auto\."):
        main(["--runs", str(tmp_path / "run"), "--out", str(tmp_path / "pool"), "--device", "cuda"])
    assert not list(tmp_path.iterdir())
