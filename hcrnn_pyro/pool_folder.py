"""The folder of a pool: which runs, with which weights, and how good they are together.

========================= ==================================================================================
pool.json                 the runs and their weights, and a fingerprint of the data
metrics.json              as of a run
ranks.parquet             as of a run
========================= ==================================================================================
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.files import require_own_folder, write_json
from hcrnn_pyro.pooling import LogPool
from hcrnn_pyro.runs import METRICS, RANKS, WEIGHTS, Run, load_run, run_sha1, save_results

POOL = "pool.json"
FORMAT = 1


@dataclass(frozen=True)
class Member:
    """A run of a pool.

    Attributes:
        folder: where it lies.
        weight: its weight.
        sha1: :func:`hcrnn_pyro.runs.run_sha1` of the run that was pooled.
    """

    folder: Path
    weight: float
    sha1: str

    @property
    def unchanged(self) -> bool:
        """Whether the run is there, and is still the one that was pooled."""
        return (self.folder / WEIGHTS).is_file() and run_sha1(self.folder) == self.sha1


@dataclass(frozen=True)
class PoolContent:
    """The content of ``pool.json``.

    Attributes:
        data_sha1: fingerprint of the data.
        members: the runs, in order.
    """

    data_sha1: str
    members: tuple[Member, ...]


def check_pool_folder(folder: Path) -> None:
    """Make the folder of a pool, or refuse one that holds anything but an earlier pool.

    Raises:
        UserError: it does.
    """
    require_own_folder(folder, (POOL, METRICS, RANKS), "pool")
    folder.mkdir(parents=True, exist_ok=True)


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
    (folder / METRICS).unlink(missing_ok=True)  # which marks a pool as finished
    members = [
        {"run": os.path.relpath(run.folder, folder), "weight": weight, "sha1": run_sha1(run.folder)}
        for run, weight in zip(runs, pool.weights, strict=True)
    ]
    write_json(folder / POOL, {"format": FORMAT, "data_sha1": runs[0].config["data_sha1"], "members": members, **about})
    save_results(folder, metrics, ranks)


def read_pool(folder: Path) -> PoolContent:
    """The content of ``pool.json``.

    Raises:
        UserError: the folder holds no pool, a damaged one, or one of another format.
    """
    file = folder / POOL
    require(file.is_file(), f"{folder} holds no pool: {POOL} is missing.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = content["format"]
        require(found == FORMAT, f"{file} has pool format {found}; this version reads format {FORMAT}.")
        members = tuple(_member(folder, member) for member in content["members"])
        read = PoolContent(str(content["data_sha1"]), members)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error!r}); make the pool anew.") from error
    require(len(members) > 0, f"{file} is damaged (no members); make the pool anew.")
    return read


def _member(folder: Path, content: dict[str, Any]) -> Member:
    weight = float(content["weight"])
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight {weight}")
    return Member(folder / content["run"], weight, str(content["sha1"]))


def load_pool(folder: str | Path) -> LogPool:
    """Read a pool and its runs, without the data they were trained on.

    Raises:
        UserError: the folder holds no pool, or one of its runs is gone or another one.
    """
    members = read_pool(Path(folder)).members
    for member in members:
        require(
            member.unchanged, f"The run in {member.folder} is gone, or not the one that {folder} pooled; pool anew."
        )
    scorers = tuple(load_run(member.folder).predictive for member in members)
    return LogPool(scorers, tuple(member.weight for member in members))
