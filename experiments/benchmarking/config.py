"""What is measured, and on what: the flags of ``python -m experiments.benchmark``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from hcrnn_pyro.errors import require
from models import HCRNNConfig

Axis = Literal["T", "K", "H", "V", "B", "events"]


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure what HCRNN costs, beside peers of the same size on the same batches; ratios are to a GRU."""

    data: tuple[str, ...] = ("synthetic",)
    """Names of data sets, or paths of logs; a table each."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    hcrnn: HCRNNConfig = field(default_factory=HCRNNConfig)
    batch_size: int = 16
    """Sequences in a training batch."""
    scale: tuple[Axis, ...] = ()
    """Sweep these instead, on random sequences: events a sequence, contexts, size, items, sequences a batch, events."""
    profile: bool = False
    """Say instead where the time of a training step goes, and how near it comes to the machine's arithmetic."""
    recbole: Path | None = None
    """Python interpreter of an environment with RecBole, for an epoch of its NARM on the same sequences."""
    repeats: int = 3
    """Readings of each cost, after one that is not counted; systems take turns, and the median is printed."""
    threads: int = 1
    """Threads of torch."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to run; times are CPU seconds on the CPU and wall seconds on a GPU."""
    seed: int = 0
    """Seed of weights, order of batches, dropout and draws."""
    json: Path | None = None
    """File for the rows as records: data, what, system, median, unit, ratio_to_gru, runs."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--batch-size", self.batch_size),
            ("--repeats", self.repeats),
            ("--threads", self.threads),
        ):
            require(value >= 1, f"{flag} is a whole number of at least 1; got {value}.")
        require(0 <= self.seed < 2**32, f"--seed is a whole number from 0 to 2^32 - 1; got {self.seed}.")
        require(
            not (self.scale and self.profile), "--scale and --profile are tables of their own; ask for one of them."
        )
        require(
            self.recbole is None or not (self.scale or self.profile or self.device == "cuda"),
            "--recbole adds a row to the comparison on the CPU; leave --scale, --profile and --device cuda out.",
        )
        folder = (self.json or Path()).parent
        require(folder.is_dir(), f"--json: the folder {folder} does not exist.")
        require(
            self.device == "cpu" or torch.cuda.is_available(),
            "--device cuda: no CUDA device was found; use --device cpu.",
        )

    @property
    def where(self) -> str:
        """The machine's part that does the work, in words."""
        return f"{self.threads} thread(s)" if self.device == "cpu" else str(torch.cuda.get_device_name())

    @property
    def size(self) -> str:
        """The models' sizes, in words."""
        return f"H = {self.hcrnn.hidden}, K = {self.hcrnn.contexts}"
