"""The README's example runs as it stands, and its table names flags that exist, with their defaults."""

import re
from pathlib import Path

import pytest

from experiments.svi import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "recall@20" in capsys.readouterr().out.splitlines()[-1]


def number_or_text(value):
    try:
        return float(value)
    except ValueError:
        return value


def test_the_table_names_the_flags_and_their_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help_text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for flags, defaults in re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", README, flags=re.MULTILINE):
        names, values = (re.findall(r"`([^`]*)`", cell) for cell in (flags, defaults))
        for name, value in zip(names, values, strict=True):
            described = re.search(rf"{name} [A-Z{{].*?\(default: ([^)]*)\)", help_text)
            assert described, name
            if not value.startswith(("$", "runs/")):
                assert number_or_text(described[1]) == number_or_text(value), name
