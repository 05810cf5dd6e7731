"""What training, evaluation and an answer cost, beside peers of the same size: one table a data set.

python -m experiments.benchmark --data citeulike movielens --json benchmark.json
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.benchmarking.measure import Clock, Row, in_turns, peak_memory
from experiments.benchmarking.report import table
from experiments.benchmarking.systems import GRU, compared_systems
from experiments.benchmarking.workloads import Bench, one_user
from experiments.command import run_command
from experiments.options import parse
from hcrnn_pyro.data.batches import Batches
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import require
from hcrnn_pyro.files import write_json
from models import HCRNNConfig

COMMAND = "python -m experiments.benchmark"
HISTORY = 50  # events of the one user who waits for an answer
ANSWERS = 20  # a reading is the mean of so many


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure what HCRNN costs, beside peers of the same size on the same batches; ratios are to a GRU."""

    data: tuple[str, ...] = ("synthetic",)
    """Names of data sets, or paths of logs."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    hcrnn: HCRNNConfig = field(default_factory=HCRNNConfig)
    batch_size: int = 16
    """Sequences in a training batch."""
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
            self.device == "cpu" or torch.cuda.is_available(),
            "--device cuda: no CUDA device was found; use --device cpu.",
        )


def main(argv: list[str] | None = None) -> None:
    """Parse, build, measure, report."""
    config = parse(BenchmarkConfig, COMMAND, argv)
    folder = (config.json or Path()).parent
    require(folder.is_dir(), f"--json: the folder {folder} does not exist.")
    torch.set_num_threads(config.threads)
    records: list[dict[str, Any]] = []
    for data in [load_data(DataConfig(data=name, data_dir=config.data_dir)) for name in config.data]:
        rows = measure(config, data)
        print(f"\n{headline(config, data)}\n\n{table(rows, GRU)}")
        records += [{"data": data.name, **record} for row in rows for record in row.records(GRU)]
    if config.json is not None:
        write_json(config.json, records)


def headline(config: BenchmarkConfig, data: DataSet) -> str:
    """What the table is about."""
    where = f"{config.threads} thread(s)" if config.device == "cpu" else torch.cuda.get_device_name()
    return (
        f"{data.name}: {len(data.train):,} sequences of {data.train.events:,} events, {data.catalogue_size:,} items; "
        f"H = {config.hcrnn.hidden}, K = {config.hcrnn.contexts}, batches of {config.batch_size}; {where}; "
        f"medians of {config.repeats}"
    )


def measure(config: BenchmarkConfig, data: DataSet) -> list[Row]:
    """Every row of one data set's table."""
    benches = {
        system.name: Bench(system, data.catalogue_size, config.device, config.seed)
        for system in compared_systems(config.hcrnn)
    }
    clock = Clock(config.device)

    def row(what: str, unit: str, reading: Callable[[Bench], float]) -> Row:
        measures = {name: partial(reading, bench) for name, bench in benches.items()}
        return Row(what, unit, in_turns(measures, config.repeats))

    def seconds(what: str, work: Callable[[Bench], object]) -> Row:
        return row(what, clock.unit, lambda bench: clock(lambda: work(bench)))

    def answer(bench: Bench) -> float:
        return 1e3 / ANSWERS * clock(lambda: bench.answer(history, ANSWERS))

    def memory(bench: Bench) -> float:
        return peak_memory(lambda: bench.train([largest]), config.device)

    batches = Batches(data.train, "sequence", config.batch_size, config.seed)
    largest = max(batches, key=lambda batch: batch.inputs.numel())
    history = one_user(data.catalogue_size, HISTORY, config.seed)
    return [
        seconds("training epoch", lambda bench: bench.train(batches)),
        seconds("evaluation of test, exact", lambda bench: bench.evaluate(data.test, "exact")),
        seconds("evaluation of test, one-pass", lambda bench: bench.evaluate(data.test, "one-pass")),
        row("an answer to one user", "ms", answer),
        row("memory of the largest step", "MiB", memory),
    ]


if __name__ == "__main__":
    run_command(main)
