"""The comparison of priors and guides from end to end: three small runs, what is made of them, and what is refused."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyro.infer import Trace_ELBO

from experiments import compare
from experiments.compare import main
from experiments.comparing.config import CompareConfig, joined
from experiments.comparing.grid import planned
from experiments.options import parse
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.runs import load_run

ROOT = Path(__file__).parents[1]
COLUMNS = "user,item,when"
DATA = ["--data", "log.csv", "--columns", COLUMNS]
TINY = "--hidden 8 --contexts 4 --epochs 1 --batch-size 64 --evaluation one-pass --device cpu"
PARTS = ["--priors", "logistic-normal,dirichlet", "--guides", "bag-of-items", "dirichlet"]
GRID = [*DATA, *PARTS, "--seeds", "1", "--samples", "200", "--out", "t", "--flags", TINY]
FIRST = "hcrnn3-bi/logistic-normal/bag-of-items"
LEGAL = [FIRST, "hcrnn3-bi/dirichlet/bag-of-items", "hcrnn3-bi/dirichlet/dirichlet"]


def write_log(folder):
    rows = [f"{user},{(7 * user + t * (1 + user % 3)) % 23},{t}" for user in range(100) for t in range(4 + user % 5)]
    (folder / "log.csv").write_text("\n".join(["user,item,when", *rows]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which the comparison was made, and what the command printed."""
    folder = tmp_path_factory.mktemp("comparison")
    write_log(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the children start in a folder that is not the checkout
        patch.chdir(folder)
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        main([*GRID, "--jobs", "2"])
    return folder, "\n".join(lines)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with the log alone."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)
    return tmp_path


def values(folder, row):
    """The numbers of a row in ``results.csv`` by name."""
    table = pd.read_csv(folder / "t" / "results.csv")
    chosen = (table[["model", "prior", "guide"]] == row.split("/")).all(axis=1)
    return table[chosen].set_index("metric")["value"]


def run_folder(folder, row):
    return folder / "t" / "runs" / "log.csv" / row / "10"


def test_the_legal_pairs_are_trained_and_the_illegal_one_is_listed(made):
    folder, printed = made
    trained = (folder / "t" / "runs").glob("*/*/*/*/*/metrics.json")
    assert {"/".join(path.parts[-5:-2]) for path in trained} == set(LEGAL)
    refusal = "hcrnn3-bi/logistic-normal/dirichlet: A Dirichlet posterior needs a latent that lives on the simplex"
    report = (folder / "t" / "results.md").read_text()
    for text in (report, printed):
        assert f"Left out: {refusal}" in text.replace("Left out:\n\n- ", "Left out: ")
        assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| hcrnn")] == [
            *LEGAL,
            *LEGAL[1:],
        ]
        assert f"Against {FIRST}, the first row" in text
    assert "Of 3 run(s), 0 are finished." in printed


def test_the_elbo_is_that_of_pyro(made):
    folder, _ = made
    test = load_data(DataConfig(str(folder / "log.csv"), columns=COLUMNS)).test
    for row in LEGAL:
        run, kept = (
            load_run(run_folder(folder, row)),
            json.loads((run_folder(folder, row) / "assessment.json").read_text()),
        )
        batch = make_batch(test, np.arange(len(test)), test.lengths - 1, "sequence")
        objective = Trace_ELBO(num_particles=50, vectorize_particles=True, max_plate_nesting=1)
        repeats = -np.array([objective.loss(run.model, run.guide, batch) for _ in range(40)]) / len(test)
        # 200 draws have half the error of 50; five standard errors of the difference miss once in two million times.
        error = repeats.std(ddof=1) * (1 / 40 + 1 / 4) ** 0.5
        assert values(folder, row)["elbo_per_sequence"] == pytest.approx(repeats.mean(), abs=5 * error)
        assert kept["elbo"] <= kept["iwae"]
        per_prediction = kept["elbo"] * len(test) / (test.lengths - 1).sum()
        assert values(folder, row)["elbo_per_prediction"] == pytest.approx(per_prediction, rel=1e-4)
        assert (kept["draws"], kept["seed"], kept["contexts"]) == (200, 10, 4)


def test_metrics_and_differences_are_those_of_the_runs(made):
    folder, _ = made
    tests = {row: json.loads((run_folder(folder, row) / "metrics.json").read_text())["test"] for row in LEGAL}
    for row in LEGAL:
        for metric in ("recall@20", "mrr@20", "nll"):
            assert values(folder, row)[metric] == pytest.approx(tests[row][metric], rel=1e-4)
    for row in LEGAL[1:]:
        against = {name: tests[row][name] - tests[FIRST][name] for name in ("recall@20", "mrr@20", "nll")}
        found = values(folder, row)
        assert found["recall@20_against_first"] == pytest.approx(against["recall@20"], rel=1e-4, abs=1e-6)
        assert found["mrr@20_against_first"] == pytest.approx(against["mrr@20"], rel=1e-4, abs=1e-6)
        assert found["log_prob_against_first"] == pytest.approx(-against["nll"], rel=1e-4, abs=1e-6)
    table = pd.read_csv(folder / "t" / "results.csv").query("metric.str.endswith('_against_first')")
    assert len(table) == 6
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["adjusted_p"] >= table["p"]).all()


def test_the_same_command_again_makes_nothing_anew(made, monkeypatch, capsys):
    folder, printed = made
    monkeypatch.chdir(folder)

    def times():
        return {path: path.stat().st_mtime_ns for path in (folder / "t" / "runs").rglob("*") if path.is_file()}

    before = times()
    main(GRID)
    again = capsys.readouterr().out.rstrip()
    assert times() == before
    assert "Of 3 run(s), 3 are finished." in again
    assert "Reading the posterior" in printed
    assert "Reading the posterior" not in again
    assert printed.split("Reading the posterior")[-1].split("\n\n")[1:] == again.split("\n\n")[1:]
    with pytest.raises(UserError, match=r"made with another --hidden than the row hcrnn3-bi/logistic-normal/bag-of-it"):
        main([*GRID[:-1], TINY.replace("--hidden 8", "--hidden 6")])


def test_other_draws_read_the_posteriors_again_and_nothing_else(made, monkeypatch, capsys):
    folder, _ = made
    monkeypatch.chdir(folder)
    ranks = run_folder(folder, FIRST) / "ranks.parquet"
    kept, before = (run_folder(folder, FIRST) / "assessment.json").read_text(), ranks.stat().st_mtime_ns
    for samples in ("50", "200"):  # back to what the other tests expect
        main([samples if word == "200" else word for word in GRID])
        assert capsys.readouterr().out.count("Reading the posterior") == 3
    assert ranks.stat().st_mtime_ns == before
    assert (run_folder(folder, FIRST) / "assessment.json").read_text() == kept


def test_ctrl_c_says_how_to_go_on(here, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run_all", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"Go on with the same command:\npython -m experiments\.compare --data"):
        main(GRID)


def plan_of(*flags):
    config = parse(CompareConfig, "compare", joined([*DATA, "--flags", TINY, *flags]))
    data = load_data(DataConfig("log.csv", columns=COLUMNS))
    return planned(config, data, ("--data", "log.csv", "--columns", COLUMNS))


def test_own_parts_join_by_their_files(here):
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "checking.md").read_text(), flags=re.DOTALL)[1]
    (here / "my_file.py").write_text(example)
    rows, runs, left_out = plan_of("--priors", "my_file:my_prior,random-walk", "--guides", "my_file:my_guide", "flow")
    assert [row.name for row in rows] == [
        f"hcrnn3-bi/my_file:my_prior/{guide}" for guide in ("my_file:my_guide", "flow")
    ]
    assert [run.seed for run in runs] == [10, 10, 20, 20, 30, 30]
    assert runs[0].configuration.pair.prior == f"{here / 'my_file.py'}:my_prior"
    assert [sentence.split(": ")[0] for sentence in left_out] == [
        "hcrnn3-bi/random-walk/my_file:my_guide",
        "hcrnn3-bi/random-walk/flow",
    ]
    assert "--scope filtering" in left_out[1]  # the prior's own sentence


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--priors", "dirichlet,dirichlett"], "Unknown prior 'dirichlett'. Did you mean 'dirichlet'"),
        (["--guides", "bag"], "Unknown guide 'bag'.* Known: "),
        (["--guides", "auto:AutoNormal"], "Pyro's autoguides learn one factor for every row"),
        (["--models", "hcrn3-bi"], "Did you mean 'hcrnn3-bi'"),
        (["--models", "narm"], "narm has no latent variable, so there are no priors and guides to compare"),
        (["--priors", ","], "--priors needs at least one value"),
        (["--guides", "flow,flow"], "--guides names something twice: flow, flow"),
        (["--seeds", "42"], "how many, 1 to 20; got 42. Name two seeds or more"),
        (["--seeds", "1", "1"], "--seeds names something twice"),
        (["--samples", "24"], "--samples is a number of at least 25"),
        (["--flags", "--epochs 3 --seed=4"], "--flags may not have --seed"),
        (["--flags", "--epochs '3"], "a quote that is not closed"),
        (["--priors", "logistic-normal", "--guides", "dirichlet"], "No prior goes with any guide:\nhcrnn3-bi/logistic"),
        (["--data", "citulike"], "Did you mean 'citeulike'"),
    ],
)
def test_bad_flags_are_told_in_a_sentence_and_leave_nothing(here, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        main([*([] if "--data" in flags else DATA), *flags])
    assert [path.name for path in here.iterdir()] == ["log.csv"]


def test_one_number_is_how_many_seeds_and_more_are_the_seeds():
    assert CompareConfig().chosen_seeds == (10, 20, 30)
    assert CompareConfig(seeds=(1,)).chosen_seeds == (10,)
    assert CompareConfig(seeds=(42, 7)).chosen_seeds == (42, 7)


def test_commands_of_the_page_and_the_docstring_parse():
    texts = ((ROOT / "docs" / "comparing.md").read_text(), compare.__doc__)
    commands = [line for text in texts for line in re.findall(r"python -m experiments\.compare[^\n`]*", text)]
    parsed = [
        parse(CompareConfig, "compare", joined(shlex.split(re.split(r"\s{3,}", command)[0])[3:]))
        for command in commands
    ]
    assert len(parsed) >= 6
    assert any(config.svi_flags for config in parsed)
