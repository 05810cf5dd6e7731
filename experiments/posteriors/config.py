"""What is analysed, how thoroughly, and where the results go: the flags of ``python -m experiments.posterior``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hcrnn_pyro.data.dataset import Part
from hcrnn_pyro.errors import require

FEWEST_DRAWS = 100  # with less, k-hat is mostly noise


@dataclass(frozen=True)
class PosteriorConfig:
    """Analyse the posterior of a trained run: is theta alive, is the guide right, what are the contexts?

    Writes report.html, report.json, theta.parquet and posterior.nc; the same command again overwrites them.
    """

    run: Path
    """Folder of a trained run, as experiments.svi leaves it."""
    split: Part = "test"
    """Part of the data whose sequences are read."""
    scope: Literal["sequence", "prefix"] = "sequence"
    """Rows of theta.parquet: sequences, or every prefix of each; all else is by sequence."""
    draws: int = 200
    """Draws of theta for each sequence."""
    sequences: int = 100
    """Sequences, at random, on which draws are scored by the model; 0 takes all. A draw costs a pass of the model."""
    gap: int = 0
    """Of these, how many on which the inference gap is split into that of amortisation and that of the family."""
    nuts: int = 0
    """Of these, how many on which the guide is held against NUTS."""
    seed: int = 0
    """Seed of all draws."""
    out: Path | None = None
    """Folder of the results; by default RUN/posterior."""
    data_dir: Path | None = None
    """Folder where the run's data are looked for first; else the one the run was started with."""

    def __post_init__(self) -> None:
        require(self.draws >= FEWEST_DRAWS, f"--draws is at least {FEWEST_DRAWS}, for k-hat; got {self.draws}.")
        require(0 <= self.seed < 2**32, f"--seed is a whole number from 0 to 2^32 - 1; got {self.seed}.")
        for flag in ("sequences", "gap", "nuts"):
            require(getattr(self, flag) >= 0, f"--{flag} is a number of at least 0; got {getattr(self, flag)}.")
        for flag in ("gap", "nuts"):
            few = 0 < self.sequences < getattr(self, flag)
            require(not few, f"--{flag} is at most --sequences, {self.sequences}; got {getattr(self, flag)}.")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or self.run / "posterior"
