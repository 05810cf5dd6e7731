"""The posterior command from end to end on a tiny run: what it leaves, what it says, and what it refuses."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

from experiments.posterior import main
from experiments.posteriors.analysis import Analysis
from experiments.posteriors.config import PosteriorConfig
from experiments.posteriors.html import page
from experiments.posteriors.section import Section, Table
from experiments.posteriors.subject import load_subject
from experiments.svi import main as train
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.posterior.nuts import NutsDraws
from hcrnn_pyro.posterior.weights import pareto_k

FILES = {"theta.parquet", "posterior.nc", "report.json", "report.html"}
SECTIONS = ["about", "activity", "guide", "contexts", "checks", "probabilities", "sensitivity"]
TINY = ["--hidden", "4", "--epochs", "1", "--batch-size", "16", "--device", "cpu", "--evaluation", "one-pass"]
FEW = ["--draws", "100", "--sequences", "4"]


def write_log(path, shift=2):
    rows = [f"user{s},<b>item{(s + shift * t) % 9}</b>,{t}" for s in range(50) for t in range(3 + s % 3)]
    path.write_text("\n".join(["SessionId,ItemId,Time", *rows]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a log whose items have names that look like HTML, and its analysis."""
    folder = tmp_path_factory.mktemp("posterior")
    write_log(folder / "log.csv")
    train(["--data", str(folder / "log.csv"), "--contexts", "3", *TINY, "--out", str(folder / "run")])
    main(["--run", str(folder / "run"), *FEW, "--gap", "2"])
    return folder


@pytest.fixture
def numbers(trained):
    return json.loads((trained / "run" / "posterior" / "report.json").read_text())


class Reader(HTMLParser):
    """Which elements a page has, and whether every one that is opened is closed."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.found, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_four_files_and_a_section_for_each_question(trained, numbers):
    assert {file.name for file in (trained / "run" / "posterior").iterdir()} == FILES
    assert list(numbers) == ["format", "run", "flags", "warnings", *SECTIONS]
    for name in SECTIONS:
        assert numbers[name]["verdicts"], name
        assert set(numbers[name]["warnings"]) <= set(numbers[name]["verdicts"]) & set(numbers["warnings"])
        assert not any("Not answered" in sentence for sentence in numbers[name]["verdicts"]), numbers[name]
    assert numbers["flags"]["draws"] == 100
    assert len(numbers["guide"]["k_hat"]) == 4
    assert len(numbers["guide"]["gap"]) == 2
    assert numbers["activity"]["contexts"] == 3


def test_the_page_stands_alone_and_escapes_names(trained, numbers):
    text = (trained / "run" / "posterior" / "report.html").read_text()
    reader = read(text)
    assert [attributes["id"] for tag, attributes in reader.found if tag == "section"] == SECTIONS
    links = [value for _, attributes in reader.found for name, value in attributes.items() if name in ("href", "src")]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not {"script", "link", "iframe", "b"} & {tag for tag, _ in reader.found}
    assert "<b>item" not in text
    assert "<b>item" in "".join(reader.text)
    for sentence in numbers["warnings"]:
        told = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
        assert reader.text.count(told) == 2  # in the box at the top, and in its section


def test_bad_news_come_first():
    sections = (
        Section("one", "One?", ("Fine.",)),
        Section(
            "two", "Two?", ("Bad & <sad>.", "Fair."), ("Bad & <sad>.",), {}, (Table(["a", "b"], [["x", "1"]], "T"),)
        ),
    )
    text = "".join(read(page(Analysis(sections), "A <title>")).text)
    assert text.index("Look at this first") < text.index("Bad & <sad>.") < text.index("Fine.")
    assert "Nothing here gives cause for doubt" not in text
    assert "Nothing here gives cause for doubt" in page(Analysis(sections[:1]), "t")


def test_the_data_set_holds_the_draws(trained):
    subject = load_subject(PosteriorConfig(trained / "run", draws=100, sequences=4), print)
    draws = subject.draws
    with xarray.open_datatree(trained / "run" / "posterior" / "posterior.nc", engine="h5netcdf") as tree:
        theta, weights = tree["posterior"]["theta"], tree["sample_stats"]["log_weight"]
        assert theta.dims == ("chain", "draw", "sequence", "context")
        assert theta.shape == (1, 100, 4, 3)
        np.testing.assert_array_equal(theta[0], draws.theta)
        np.testing.assert_array_equal(tree["posterior"]["eta"][0], draws.latents["eta"])
        np.testing.assert_array_equal(weights[0], draws.log_weights)
        np.testing.assert_array_equal(tree["log_likelihood"]["next_item"][0], draws.log_likelihood)
        np.testing.assert_allclose(tree["sample_stats"]["k_hat"], pareto_k(draws.log_weights))
        assert tree["constant_data"]["length"].values.tolist() == subject.sample.lengths.tolist()
        assert theta["sequence"].values.tolist() == subject.sample.ids.tolist()
        assert tree.attrs["guide"] == "bag-of-items"


def test_the_table_of_theta(trained):
    table = pd.read_parquet(trained / "run" / "posterior" / "theta.parquet")
    subject = load_subject(PosteriorConfig(trained / "run", draws=100, sequences=4), print)
    assert table["sequence"].tolist() == np.repeat(subject.part.ids, 3).tolist()
    assert table["events_read"].tolist() == np.repeat(subject.part.lengths - 1, 3).tolist()
    np.testing.assert_allclose(table.groupby("sequence")["mean"].sum(), 1.0, rtol=1e-5)
    assert (table["q05"] <= table["q50"]).all() and (table["q50"] <= table["q95"]).all()


def test_the_same_command_again_overwrites_its_own_results(trained, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(trained / "run" / "posterior", out)
    before = (out / "report.json").read_text()
    (out / ".report.html.part").write_text("left by an analysis that was killed")
    main(["--run", str(trained / "run"), *FEW, "--gap", "2", "--out", str(out), "--scope", "prefix"])
    printed = capsys.readouterr().out
    assert "[8/8] How much do prior and likelihood matter?" in printed
    assert f"Kept in {out}: theta.parquet, posterior.nc, report.json, report.html" in printed
    assert {file.name for file in out.iterdir()} == FILES
    after, then = json.loads((out / "report.json").read_text()), json.loads(before)
    assert {name: after[name] for name in SECTIONS[1:]} == {name: then[name] for name in SECTIONS[1:]}
    part = load_subject(PosteriorConfig(trained / "run"), print).part
    events = [read for length in part.lengths for read in range(1, length)]
    assert pd.read_parquet(out / "theta.parquet")["events_read"].tolist() == np.repeat(events, 3).tolist()


def test_a_run_may_be_moved_with_its_analysis(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "run", tmp_path / "moved")
    monkeypatch.setattr("experiments.posteriors.analysis.MAKERS", {})
    main(["--run", str(tmp_path / "moved"), *FEW])
    content = json.loads((tmp_path / "moved" / "posterior" / "report.json").read_text())
    assert content["run"] == str(tmp_path / "moved")


def test_an_interrupted_analysis_leaves_nothing(trained, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.posteriors.output.page", stop)
    monkeypatch.setattr("experiments.posteriors.analysis.MAKERS", {})
    with pytest.raises(KeyboardInterrupt):
        main(["--run", str(trained / "run"), *FEW, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_section_that_cannot_be_made_says_why(trained, tmp_path, monkeypatch, capsys):
    def broken_section(subject):
        raise UserError("There is nothing to see.")

    monkeypatch.setattr("experiments.posteriors.analysis.MAKERS", {"What?": broken_section})
    main(["--run", str(trained / "run"), *FEW, "--out", str(tmp_path / "out")])
    assert "! Not answered: There is nothing to see." in capsys.readouterr().out
    assert "broken" in json.loads((tmp_path / "out" / "report.json").read_text())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--run", "nowhere"], "--run: there is no folder nowhere"),
        (["--run", "."], "--run: . holds no run of experiments.svi; config.json is missing"),
        (["--draws", "50"], "--draws is at least 100, for k-hat; got 50"),
        (["--sequences", "-1"], "--sequences is a number of at least 0; got -1"),
        (["--sequences", "3", "--nuts", "4"], "--nuts is at most --sequences, 3; got 4"),
        (["--out", "file"], "--out: file is not a folder"),
        (["--out", "full"], "--out: full holds notes.txt, which no analysis wrote"),
        (["--out", "other"], "--out: other holds the analysis of /another/run"),
        (["--out", "strange"], "--out: strange holds the analysis of something else"),
    ],
)
def test_wrong_flags_are_told_in_a_sentence(trained, tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for name, file, text in [
        ("full", "notes.txt", ""),
        ("other", "report.json", '{"run": "/another/run"}'),
        ("strange", "report.json", "[1"),
    ]:
        Path(name).mkdir()
        (Path(name) / file).write_text(text)
    with pytest.raises(UserError, match=sentence):
        main([*([] if "--run" in flags else ["--run", str(trained / "run")]), *flags])


def test_an_unknown_part_is_refused(trained, capsys):
    with pytest.raises(SystemExit):
        main(["--run", str(trained / "run"), "--split", "tset"])
    assert "'test'" in capsys.readouterr().err


def test_data_that_changed_or_went_are_refused(trained, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log.csv"
    shutil.copytree(trained / "run", run, ignore=shutil.ignore_patterns("posterior"))
    config = json.loads((run / "config.json").read_text())
    config["data"]["data"] = str(log)
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"was trained on --data .*log.csv, which cannot be read"):
        main(["--run", str(run)])
    write_log(log, shift=4)
    with pytest.raises(UserError, match=r"The data of log.csv have changed since the run in"):
        main(["--run", str(run)])
    with pytest.raises(UserError, match="--data-dir has no meaning"):
        main(["--run", str(run), "--data-dir", str(tmp_path)])
    assert not (run / "posterior").exists()


def test_a_model_without_a_latent_has_no_posterior(trained, tmp_path):
    data = ["--data", str(trained / "log.csv"), "--device", "cpu"]
    train(["--model", "pop", *data, "--out", str(tmp_path / "run")])
    with pytest.raises(UserError, match="pop has no latent variable, so there is no posterior to analyse"):
        main(["--run", str(tmp_path / "run")])


def test_nuts_joins_the_guides_section(trained, monkeypatch):
    """Draws of the guide in the place of those of NUTS, which takes minutes."""
    import experiments.posteriors.sections.guide as section

    def as_good_as_nuts(model, guide, batch, seed):
        found = draw(model, guide, batch, 100)
        return NutsDraws(found.latents, found.theta, 2, np.array([1.0, 1.2]), np.array([90.0, 80.0]), 0)

    monkeypatch.setattr(section, "run_nuts", as_good_as_nuts)
    monkeypatch.setattr(section, "_calibration", lambda subject: ([], {}, []))
    subject = load_subject(PosteriorConfig(trained / "run", draws=100, sequences=4, nuts=2), print)
    made = section.guide_section(subject)
    assert any(sentence.startswith("Against NUTS on 2 sequences") for sentence in made.verdicts)
    assert any("NUTS itself has not converged (largest R-hat 1.20" in sentence for sentence in made.warnings)
    assert made.numbers["nuts"]["table"]["sequence"].tolist() == subject.sample.ids[:2].tolist()
    torch.testing.assert_close(subject.first_draws(2).theta, subject.draws.theta[:, :2])
