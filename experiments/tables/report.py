"""The report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.tables.plan import PlannedRun
from experiments.tables.rows import Row
from hcrnn_pyro.data.dataset import DataSet


def write_report(
    out: Path, command: str, rows: Sequence[Row], sets: Sequence[DataSet], runs: Sequence[PlannedRun], missing: list[str]
) -> str:
    """Write it."""
    return ""
