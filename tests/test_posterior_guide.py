"""The commands and the Python of docs/posterior.md run as they stand, on smaller settings where they take long."""

import re
import shlex
from pathlib import Path

import pytest

from experiments.posterior import main as analyse
from experiments.svi import main as train

GUIDE = (Path(__file__).parents[1] / "docs" / "posterior.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m experiments\.(\w+) (.*)$", GUIDE, flags=re.MULTILINE)
SMALLER = {  # of two flags of a name the last one counts
    "svi": "--epochs 1 --hidden 8 --contexts 6 --batch-size 64 --device cpu",
    "posterior": "--draws 100 --sequences 5 --nuts 0",
}


@pytest.fixture
def few(monkeypatch):
    """Fewer simulated sequences, draws to calibrate, and steps of optimisation."""
    from experiments.posteriors.sections import checks, guide, recovery

    monkeypatch.setattr(recovery, "DRAWS", 4)
    monkeypatch.setattr(recovery, "WARMUP", 4)
    inference_gap = guide.inference_gap
    monkeypatch.setattr(checks, "REPLICATIONS", 2)
    monkeypatch.setattr(guide, "RANKED", 9)
    monkeypatch.setattr(guide, "inference_gap", lambda *pair, seed: inference_gap(*pair, 50, 3, seed))


def test_the_guide_runs(tmp_path, monkeypatch, few, capsys):
    pytest.importorskip("xarray_einstats", reason="what arviz-stats[xarray] brings")
    monkeypatch.chdir(tmp_path)
    assert [name for name, _ in COMMANDS] == ["svi", "posterior", "posterior", "posterior"]
    for name, flags in COMMANDS:
        {"svi": train, "posterior": analyse}[name]([*shlex.split(flags), *SMALLER[name].split()])
    printed = capsys.readouterr().out
    assert "Not answered" not in printed
    assert "beyond any Normal (family)" in printed
    files = set(re.findall(r"^\| `([\w.]+)` \|", GUIDE, flags=re.MULTILINE))
    for folder in ("runs/synthetic/posterior", "runs/of-valid"):
        assert {file.name for file in Path(folder).iterdir()} == files
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    exec(compile(example, "posterior.md", "exec"), {"__name__": "guide"})
    assert "GuideQuality(rows=5" in capsys.readouterr().out


def test_the_guide_tells_of_every_section():
    from experiments.posteriors.analysis import MAKERS

    told = re.findall(r"^\*\*(.*\?)\*\*", GUIDE, flags=re.MULTILINE)
    assert told == ["What was analysed?", *MAKERS]
