"""The contract's checker on users' files: good parts pass every line, and each bad one is caught by the right line."""

import re
from pathlib import Path

import pytest

from experiments import svi
from experiments.check import main
from hcrnn_pyro.contract import CHECKS
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.runs import load_run

DOCS = (Path(__file__).parents[1] / "docs" / "checking.md").read_text(encoding="utf-8")
GOOD = re.search(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)[1]  # the file that the page shows
NAMES = ["parts are made", *(check.name for check in CHECKS)]


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs the command on a changed copy of the good file; gives the lines by the checks' names, and the last word."""
    monkeypatch.chdir(tmp_path)

    def run(*changes, flags=("--prior", "my_file:my_prior", "--guide", "my_file:my_guide")):
        text = GOOD
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "my_file.py").write_text(text)
        capsys.readouterr()
        try:
            main(list(flags))
            last = ""
        except UserError as error:
            last = str(error)
        lines = capsys.readouterr().out.splitlines()[2 : 2 + len(NAMES)]
        report = {line[6:31].strip(): (line[:5].strip(), line[31:].strip()) for line in lines}
        assert list(report) == NAMES, "every line is there, whatever fails"
        return report, last

    return run


def broken(report):
    return {name: sentence for name, (mark, sentence) in report.items() if mark == "FAIL"}


def test_a_users_prior_and_guide_pass(check):
    report, last = check()
    assert (broken(report), last) == ({}, "")
    unjudged = {name for name, (mark, _) in report.items() if mark == "--"}
    assert unjudged == {"one pass", "elbo without a latent"}
    assert len(GOOD.splitlines()) < 45


def test_the_same_parts_train(check, tmp_path):
    check()
    flags = ["--hidden", "6", "--contexts", "4", "--epochs", "1", "--batch-size", "256", "--evaluation", "one-pass"]
    parts = ["--prior", "my_file:my_prior", "--guide", "my_file:my_guide"]
    svi.main([*parts, *flags, "--device", "cpu", "--out", str(tmp_path / "run")])
    assert load_run(tmp_path / "run").metrics["test"]["predictions"] == 3674


def test_a_guide_that_reads_the_future(check):
    report, last = check(("read.cumsum(1) if", "read.sum(1, keepdim=True).expand_as(read) if"))
    sentence = broken(report)["future"]
    assert "At step 1 only x_1..x_1 may be read; in the filtering scope the mean of the guide's z" in sentence
    assert re.search(r"moved by up to 0\.0*[1-9]", sentence)
    assert "cumsum" in sentence
    assert set(broken(report)) == {"future", "filtering and prefix"}
    assert "the mean of the guide's z after x_1..x_1 differs" in broken(report)["filtering and prefix"]
    assert last.strip().startswith("2 of 19 checks fail: future, filtering and prefix.")


def test_a_guide_that_depends_on_padding(check):
    report, _ = check(("        features = ", "        read = read + batch.inputs.shape[1]\n        features = "))
    sentence = broken(report)["padding"]
    assert sentence.startswith("5 more padded steps should change nothing; in the sequence scope they change the mean")
    assert "batch.valid" in sentence
    assert set(broken(report)) == {"padding", "company"}, "a row alone has no padding either"


def test_a_guide_with_a_dead_parameter(check):
    report, _ = check(("        self.layer =", "        self.spare = nn.Linear(2, 2)\n        self.layer ="))
    assert set(broken(report)) == {"gradients"}
    sentence = broken(report)["gradients"]
    assert "in the sequence scope it does not depend on guide.spare.weight, guide.spare.bias." in sentence


def test_a_guide_with_other_sites(check):
    report, _ = check(('        pyro.sample("z", over_steps(law', '        pyro.sample("eta", over_steps(law'))
    assert set(broken(report)) == {"sites match"}
    assert "the model has z, the guide eta" in broken(report)["sites match"]
    assert report["gradients"] == ("--", "Waits for: sites match.")
    assert report["theta on the simplex"][0] == "ok"


def test_a_guide_whose_density_is_not_finite(check):
    report, _ = check(("1e-3 + softplus(scale)", "0.0 * scale"))
    assert set(broken(report)) == {"finite densities"}
    sentence = broken(report)["finite densities"]
    assert "the guide's log-density of z should be finite; in row [0] it is [nan] (3 of 3 rows)" in sentence
    assert report["gradients"] == ("--", "Waits for: finite densities.")


def test_a_prior_that_returns_no_proportions(check):
    report, _ = check(("z.softmax(dim=-1)", "z.sigmoid()"))
    assert set(broken(report)) == {"theta on the simplex", "pyro.infer.SVI"}
    assert re.search(
        r"theta should be proportions.*sums that are off by up to [0-9.]+", broken(report)["theta on the simplex"]
    )
    assert "The prior should return proportions" in broken(report)["pyro.infer.SVI"]


def test_a_prior_that_returns_the_wrong_shape_is_told_once(check):
    report, _ = check(("z.softmax(dim=-1)", "z.softmax(dim=-1).sum(-1)"))
    assert "The prior should return theta of shape (3, 4)" in broken(report)["sites match"]
    assert set(broken(report)) == {"sites match", "theta on the simplex"}
    assert broken(report)["theta on the simplex"] == "As above: sites match."


def test_a_prior_that_looks_at_its_company(check):
    report, _ = check(("dist.Normal(self.location, 1.0)", "dist.Normal(self.location + batch.lengths.max(), 1.0)"))
    assert (
        "in the sequence scope row 1 alone changes the model's log-density of z by up to" in broken(report)["company"]
    )
    assert set(broken(report)) == {"company"}


def test_a_guide_that_draws_outside_the_support(check):
    prior = "dist.Normal(self.location, 1.0)", "dist.Gamma(self.location.exp() + 1.0, 1.0)"
    report, _ = check(prior)
    assert "should lie in the prior's support, GreaterThanEq(lower_bound=0.0)" in broken(report)["supports"]


def test_an_exception_in_a_users_file_is_that_checks_failure(check):
    raising = '        if batch.scope == "filtering": [][3]\n        features = '
    report, _ = check(("        features = ", raising))
    line = next(i for i, text in enumerate(Path("my_file.py").read_text().splitlines(), 1) if "[][3]" in text)
    assert broken(report)["sites match"] == f"IndexError in my_file.py:{line}: list index out of range"
    assert report["theta on the simplex"][1] in ("", "As above: sites match.")


def test_a_guide_that_cannot_be_made(check):
    report, last = check(("        self.layer =", "        model.nothing\n        self.layer ="))
    assert set(broken(report)) == {"parts are made"}
    assert "AttributeError in my_file.py:" in broken(report)["parts are made"]
    assert report["gradients"] == ("--", "Waits for: parts are made.")
    assert "1 of 19 checks fail" in last


def test_a_prior_that_serves_one_scope(check):
    refusing = (
        "        z = ",
        '        require(batch.scope == "filtering", "A walk needs steps: --scope filtering.")\n        z = ',
    )
    report, _ = check(("import pyro\n", "import pyro\nfrom hcrnn_pyro.errors import require\n"), refusing)
    assert broken(report) == {}
    mark, sentence = report["scopes"]
    assert mark == "ok"
    assert sentence.startswith(
        "Checked in filtering. Refused: sequence: A walk needs steps: --scope filtering.; prefix:"
    )
    assert report["filtering and prefix"] == ("--", "Does not apply: a part refuses the prefix scope.")


def test_a_guide_that_svi_does_not_hear_of(check):
    report, _ = check(('        announce_parameters("guide", self)\n', ""))
    assert set(broken(report)) == {"pyro.infer.SVI"}
    assert "it left guide.layer.weight" in broken(report)["pyro.infer.SVI"]


def test_a_copy_that_holds_the_old_model(check):
    report, _ = check(("self.embed = model.embed", "self.embed = lambda items: model.embed(items)"))
    assert set(broken(report)) == {"copies"}


def test_a_buffer_that_is_not_saved(check):
    report, _ = check(
        ("self.embed = model.embed", "self.embed, self.shift = model.embed, torch.randn(1)"),
        ("features = self.layer(read)", "features = self.layer(read) + self.shift"),
    )
    assert set(broken(report)) == {"saved weights"}
    assert "differs by up to" in broken(report)["saved weights"]
    assert "register_buffer" in broken(report)["saved weights"]
    assert report["copies"] == ("--", "Waits for: saved weights.")


def test_the_pages_commands_run(check, capsys):
    commands = re.findall(r"^ {4}python -m experiments\.check(.*)$", DOCS, flags=re.MULTILINE)
    assert len(commands) >= 3
    for flags in commands:
        report, last = check(flags=flags.split())
        assert (broken(report), last) == ({}, "")


def test_the_page_explains_every_line():
    for name in NAMES:
        assert f"| {name} |" in DOCS, name
