"""What training, evaluation and an answer cost, beside peers of the same size: one table a data set.

python -m experiments.benchmark --data citeulike movielens --json benchmark.json
python -m experiments.benchmark --data citeulike --profile         where the time of a training step goes
python -m experiments.benchmark --scale T K H V B events           what grows with what, on random sequences
torchrun --standalone --nproc-per-node 2 -m experiments.benchmark  what two processes gain
"""

from __future__ import annotations

from typing import Any

import torch

from experiments.benchmarking.breakdown import profile_table, profiled
from experiments.benchmarking.comparison import compare
from experiments.benchmarking.config import BenchmarkConfig
from experiments.benchmarking.ranks import ALONE, speed_up, together
from experiments.benchmarking.report import table
from experiments.benchmarking.scale import sweep
from experiments.benchmarking.systems import GRU
from experiments.command import run_command
from experiments.options import parse
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.distributed import at_rank_zero, rank, world_size
from hcrnn_pyro.errors import require
from hcrnn_pyro.files import write_json

COMMAND = "python -m experiments.benchmark"


def main(argv: list[str] | None = None) -> None:
    """Parse, build, measure, report."""
    config = parse(BenchmarkConfig, COMMAND, argv)
    torch.set_num_threads(config.threads)
    if world_size() > 1:
        _of_several_processes(config)
        return
    records: list[dict[str, Any]] = []
    for axis in config.scale:
        rows, sizes = sweep(config, axis)
        print(f"\n{axis}, random sequences: {sizes}; {config.where}; medians of {config.repeats}\n\n{table(rows, GRU)}")
        records += [{"data": f"random, {sizes}", **record} for row in rows for record in row.records(GRU)]
        _keep(config, records)
    for data in [] if config.scale else _load(config):
        rows = profiled(config, data) if config.profile else compare(config, data)
        print(f"\n{_headline(config, data)}\n\n{profile_table(rows) if config.profile else table(rows, GRU)}")
        records += [{"data": data.name, **record} for row in rows for record in row.records(GRU)]
        _keep(config, records)
    if config.recbole is None and not (config.scale or config.profile):
        print(
            "\nRecBole's NARM is left out; --recbole PYTHON names the interpreter of an environment that has RecBole."
        )


def _of_several_processes(config: BenchmarkConfig) -> None:
    require(
        not (config.scale or config.profile or config.recbole),
        "Under torchrun the benchmark measures what several processes gain, and nothing else; leave out --scale, "
        "--profile and --recbole.",
    )
    records: list[dict[str, Any]] = []
    for data in at_rank_zero(lambda: _load(config)):
        row = speed_up(config, data)
        print(f"\n{_headline(config, data)}\n\n{table([row], ALONE)}")
        print(f"{together()} are {row.median(ALONE) / row.median(together()):.2f} times as fast as one.")
        records += [{"data": data.name, **record} for record in row.records(ALONE)]
        _keep(config, records)


def _keep(config: BenchmarkConfig, records: list[dict[str, Any]]) -> None:
    """Write what there is so far: a sweep that is stopped leaves what it has measured."""
    if config.json is not None and rank() == 0:
        write_json(config.json, records)


def _load(config: BenchmarkConfig) -> list[DataSet]:
    """All data sets at once: a misspelt name should not wait for the first one's table."""
    return [load_data(DataConfig(data=name, data_dir=config.data_dir)) for name in config.data]


def _headline(config: BenchmarkConfig, data: DataSet) -> str:
    """What the table is about."""
    return (
        f"{data.name}: {len(data.train):,} sequences of {data.train.events:,} events, {data.catalogue_size:,} items; "
        f"{config.size}, batches of {config.batch_size}; {config.where}; medians of {config.repeats}"
    )


if __name__ == "__main__":
    run_command(main)
