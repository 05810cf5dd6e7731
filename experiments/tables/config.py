"""Which table is made, and where: the flags of ``python -m experiments.table``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hcrnn_pyro.data.sources import DataConfig
from hcrnn_pyro.errors import require


@dataclass(frozen=True)
class TableConfig:
    """Train and evaluate every row of the paper's table over several seeds, and report on what is finished.

    The same command again goes on where it was stopped; finished runs are never repeated.
    """

    data: tuple[str, ...] = ("citeulike", "movielens")
    """Names of data sets, or paths of logs; a table each."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    columns: str = DataConfig.columns
    """Columns of a log: session,item,time, or session,item where the rows are in order."""
    models: tuple[str, ...] = ("all",)
    """Rows of the table: all, ablation (HCRNN-3+Bi on citeulike with each ingredient alone, and all but one), memory
    (models that remember their training), times (models that read time intervals, with and without a memory), or
    names, also NAME+memory+experts+refit+ensemble; my_file:MyModel joins as a row with its default flags."""
    against: tuple[str, ...] = ()
    """Rows that every other row is set against, with an interval for the difference; a section of the report each."""
    seeds: tuple[int, ...] = (10, 20, 30, 40, 50)
    """A run each; models that only count are run once."""
    jobs: int = 1
    """Runs at a time, with one thread each."""
    out: Path = Path("table")
    """Folder of the runs, their logs and the report."""

    def __post_init__(self) -> None:
        require_different("--data", self.data)
        require_runs(self.seeds, self.jobs, self.out)


def require_different(flag: str, values: Sequence[object]) -> None:
    """Refuse a list without a value, or with one twice."""
    require(len(values) > 0, f"{flag} needs at least one value.")
    require(len(set(values)) == len(values), f"{flag} names something twice: {', '.join(map(str, values))}.")


def require_runs(seeds: Sequence[int], jobs: int, out: Path) -> None:
    """Refuse what no runs can be made with."""
    require_jobs(jobs, out)
    require_different("--seeds", seeds)
    wrong = [seed for seed in seeds if not 0 <= seed < 2**32]
    require(not wrong, f"--seeds are whole numbers from 0 to 2^32 - 1; got {', '.join(map(str, wrong))}.")


def require_jobs(jobs: int, out: Path) -> None:
    """Refuse what no processes can work with, or in."""
    require(jobs >= 1, f"--jobs is a whole number of at least 1; got {jobs}.")
    require(not out.exists() or out.is_dir(), f"--out: {out} is not a folder.")
