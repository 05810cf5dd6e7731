"""The folder of a pool: which runs, with which weights, and how good they are together.

========================= ==================================================================================
pool.json                 the runs and their weights, and a fingerprint of the data
metrics.json              as of a run
ranks.parquet             as of a run
========================= ==================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.files import write_json
from hcrnn_pyro.pooling import LogPool
from hcrnn_pyro.runs import METRICS, RANKS, Run, load_run, save_results

POOL = "pool.json"
FORMAT = 1


def check_pool_folder(folder: Path) -> None:
    """Refuse to write over what is no earlier pool.

    Raises:
        UserError: the folder holds anything else.
    """
    require(not folder.exists() or folder.is_dir(), f"--out: {folder} is not a folder.")
    found = {file.name for file in folder.iterdir()} if folder.exists() else set()
    ours = {POOL, METRICS, RANKS}
    others = sorted(found - ours - {f".{name}.part" for name in ours})
    require(not others, f"--out: {folder} holds {', '.join(others[:3])}, which no pool wrote. Choose another --out.")


def save_pool(
    folder: Path,
    runs: Sequence[Run],
    pool: LogPool,
    about: dict[str, Any],
    metrics: dict[str, dict[str, float]],
    ranks: pd.DataFrame,
) -> None:
    """Write a pool, over an earlier one.

    Args:
        folder: where to.
        runs: M finished runs; the paths to them are kept as seen from the folder.
        pool: with a weight for each.
        about: what else ``pool.json`` tells.
        metrics: as of a run.
        ranks: as of a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)  # which marks a pool as finished
    members = [
        {"run": os.path.relpath(run.folder, folder), "weight": weight}
        for run, weight in zip(runs, pool.weights, strict=True)
    ]
    write_json(folder / POOL, {"format": FORMAT, "data_sha1": runs[0].config["data_sha1"], "members": members, **about})
    save_results(folder, metrics, ranks)


def read_pool(folder: Path) -> dict[str, Any]:
    """The content of ``pool.json``.

    Raises:
        UserError: the folder holds no pool, or one of another format.
    """
    file = folder / POOL
    require(file.is_file(), f"{folder} holds no pool: {POOL} is missing.")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); make the pool anew.") from error
    found = content.get("format")
    require(found == FORMAT, f"{file} has pool format {found}; this version reads format {FORMAT}.")
    return content


def load_pool(folder: str | Path) -> LogPool:
    """Read a pool and its runs, without the data they were trained on.

    Raises:
        UserError: the folder holds no pool, or one of its runs is gone.
    """
    folder = Path(folder)
    members = read_pool(folder)["members"]
    runs = [load_run(folder / member["run"]) for member in members]
    return LogPool(tuple(run.predictive for run in runs), tuple(float(member["weight"]) for member in members))
