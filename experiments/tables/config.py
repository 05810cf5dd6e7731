"""Which table is made, and where: the flags of ``python -m experiments.table``."""

from __future__ import annotations

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
    """Rows of the table; all, or names; my_file:MyModel joins as a row with its default flags."""
    seeds: tuple[int, ...] = (10, 20, 30, 40, 50)
    """A run each; models that only count are run once."""
    jobs: int = 1
    """Runs at a time, with one thread each."""
    out: Path = Path("table")
    """Folder of the runs, their logs and the report."""

    def __post_init__(self) -> None:
        require(self.jobs >= 1, f"--jobs is a whole number of at least 1; got {self.jobs}.")
        for flag, values in (("--data", self.data), ("--seeds", self.seeds)):
            require(len(values) > 0, f"{flag} needs at least one value.")
            require(len(set(values)) == len(values), f"{flag} names something twice: {', '.join(map(str, values))}.")
        wrong = [seed for seed in self.seeds if not 0 <= seed < 2**32]
        require(not wrong, f"--seeds are whole numbers from 0 to 2^32 - 1; got {', '.join(map(str, wrong))}.")
        require(not self.out.exists() or self.out.is_dir(), f"--out: {self.out} is not a folder.")
