"""Which pairs are compared, and how: the flags of ``python -m experiments.compare``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.tables.config import require_different, require_runs
from experiments.tables.rows import listed
from hcrnn_pyro.data.sources import DataConfig
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.posterior.weights import FEWEST_DRAWS

OWN_FLAGS = ("--data", "--data-dir", "--columns", "--model", "--prior", "--guide", "--seed", "--out", "--resume")
MOST_SEEDS = 20  # above it, a lone number was more likely meant as a seed
SEED_STEP = 10


@dataclass(frozen=True)
class CompareConfig:
    """Train every prior with every guide over several seeds, and compare posteriors and recommendations in one table.

    The same command again goes on where it was stopped; finished runs are never repeated.
    """

    data: str = "citeulike"
    """Name of a data set, or path of a log."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    columns: str = DataConfig.columns
    """Columns of a log: session,item,time, or session,item where the rows are in order."""
    models: tuple[str, ...] = ("hcrnn3-bi",)
    """Models with context proportions: names, or my_file:MyModel."""
    priors: tuple[str, ...] = ("logistic-normal", "dirichlet")
    """Priors: names, or my_file:my_prior."""
    guides: tuple[str, ...] = ("bag-of-items", "context-counts")
    """Guides: names, or my_file:my_guide. Those that cannot infer a prior are left out and listed."""
    seeds: tuple[int, ...] = (3,)
    """One number N: the N seeds 10, 20, 30 and so on. Two numbers or more: these seeds."""
    flags: str = ""
    """Flags of experiments.svi for every run, in quotes: "--epochs 10 --monitor nll"."""
    samples: int = 100
    """Draws of the posterior of each test sequence."""
    jobs: int = 1
    """Runs at a time, with one thread each."""
    out: Path = Path("compare")
    """Folder of the runs, their logs and the table."""

    def __post_init__(self) -> None:
        for kind in ("models", "priors", "guides"):
            object.__setattr__(self, kind, tuple(listed(getattr(self, kind))))
            require_different(f"--{kind}", getattr(self, kind))
        require_runs(self.chosen_seeds, self.jobs, self.out)
        require(
            self.samples >= FEWEST_DRAWS,
            f"--samples is a number of at least {FEWEST_DRAWS}, which k-hat needs; got {self.samples}.",
        )
        given = {word.split("=")[0].replace("_", "-") for word in self.svi_flags}
        own = [flag for flag in OWN_FLAGS if flag in given]
        require(not own, f"--flags may not have {', '.join(own)}: the comparison gives each run its own.")

    @property
    def chosen_seeds(self) -> tuple[int, ...]:
        """The seeds themselves."""
        if len(self.seeds) != 1:
            return self.seeds
        count = self.seeds[0]
        require(
            1 <= count <= MOST_SEEDS,
            f"--seeds with one number is how many, 1 to {MOST_SEEDS}; got {count}. Name two seeds or more to choose "
            "them: --seeds 42 43.",
        )
        return tuple(SEED_STEP * (number + 1) for number in range(count))

    @property
    def svi_flags(self) -> list[str]:
        """The words of ``--flags``."""
        try:
            return shlex.split(self.flags)
        except ValueError as error:
            raise UserError(f"--flags {self.flags!r} has a quote that is not closed.") from error


def joined(argv: Sequence[str]) -> list[str]:
    """``--flags`` and its value as one word, because the value begins like a flag itself."""
    words = list(argv)
    for place in [i for i, word in enumerate(words[:-1]) if word == "--flags"]:
        words[place : place + 2] = [f"--flags={words[place + 1]}"]
    return words
