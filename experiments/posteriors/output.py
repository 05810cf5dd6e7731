"""The files of an analysis: whose folder it is, and how they are written."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.options import to_dict
from experiments.posteriors.analysis import Analysis
from experiments.posteriors.html import page
from experiments.posteriors.subject import Subject
from hcrnn_pyro.errors import require
from hcrnn_pyro.files import require_own_folder, whole_file, write_json
from hcrnn_pyro.posterior.dataset import to_arviz, write_netcdf
from hcrnn_pyro.posterior.joint import seeded
from hcrnn_pyro.posterior.summary import theta_summary

THETA, DRAWS, NUMBERS, PAGE = "theta.parquet", "posterior.nc", "report.json", "report.html"
FILES = (THETA, DRAWS, NUMBERS, PAGE)
FORMAT = 1


def check_folder(folder: Path, run: Path) -> None:
    """Refuse to write over what is no earlier analysis of the same run.

    Args:
        folder: where the results are to go.
        run: the folder of the run.

    Raises:
        UserError: the folder holds anything else.
    """
    require_own_folder(folder, FILES, "analysis")
    if (folder / NUMBERS).exists() and folder.resolve().parent != run.resolve():  # a run may be moved with its analysis
        other = _run_of(folder / NUMBERS)
        require(other == str(run.resolve()), f"--out: {folder} holds the analysis of {other}. Choose another --out.")


def _run_of(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    return str(content.get("run", "something else")) if isinstance(content, dict) else "something else"


def write_results(subject: Subject, analysis: Analysis) -> None:
    """Write the four files, each whole or not at all, over those of an earlier analysis.

    All of them are made before the first is written, so that they belong together.

    Args:
        subject: what was analysed.
        analysis: what was found.
    """
    folder, pair, name = subject.config.folder, subject.run.config["pair"], subject.data.name
    about = {"run": str(subject.run.folder), "data": name, "part": subject.config.split, **pair}
    theta = _theta(subject)
    tree = to_arviz(subject.draws, subject.sample.ids, subject.sample.lengths, about)
    text = page(analysis, f"Posterior of {pair['model']} on {name}")
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / THETA) as temporary:
        theta.to_parquet(temporary, index=False)
    write_netcdf(tree, folder / DRAWS)
    write_json(folder / NUMBERS, _numbers(subject, analysis))
    with whole_file(folder / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _theta(subject: Subject) -> pd.DataFrame:
    """Intervals of theta by sequence or by prefix."""
    config = subject.config
    if config.scope == "sequence":
        return subject.theta.table
    with seeded(config.seed):
        return theta_summary(subject.model, subject.guide, subject.part, config.draws, config.scope).table


def _numbers(subject: Subject, analysis: Analysis) -> dict[str, Any]:
    sections = {
        section.name: {"verdicts": section.verdicts, "warnings": section.warnings, **section.numbers}
        for section in analysis.sections
    }
    content = {
        "format": FORMAT,
        "run": str(subject.run.folder.resolve()),
        "flags": to_dict(subject.config),
        "warnings": analysis.warnings,
        **sections,
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    """As JSON has it: tables as lists of records, and null for what is no finite number."""
    if isinstance(value, pd.DataFrame):
        return [_plain(record) for record in value.to_dict("records")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
