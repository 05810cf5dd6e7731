"""What training and evaluation cost: CPU seconds of one epoch and of one evaluation of the test part.

python -m experiments.benchmark --data citeulike --json benchmark.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyro
import torch
from pyro.infer import Trace_ELBO

from experiments.command import run_command
from experiments.options import parse
from hcrnn_pyro.data.batches import Batches
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import SCOPE_OF, Method, evaluate
from hcrnn_pyro.files import write_json
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import PairConfig, build_pair
from hcrnn_pyro.svi_module import adam
from models import HCRNNConfig

COMMAND = "python -m experiments.benchmark"


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure the CPU seconds of one training epoch and of one evaluation of the test part."""

    data: DataConfig = field(default_factory=DataConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    hcrnn: HCRNNConfig = field(default_factory=HCRNNConfig)
    batch_size: int = 16
    """Sequences in a training batch."""
    repeats: int = 3
    """Measurements of each row, after one that is not counted; the median is printed."""
    threads: int = 1
    """Threads of torch."""
    json: Path | None = None
    """File for the rows as records: what, system, median, unit, runs."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--batch-size", self.batch_size),
            ("--repeats", self.repeats),
            ("--threads", self.threads),
        ):
            require(value >= 1, f"{flag} is a whole number of at least 1; got {value}.")


def main(argv: list[str] | None = None) -> None:
    """Parse, build, measure, report."""
    config = parse(BenchmarkConfig, COMMAND, argv)
    folder = (config.json or Path()).parent
    require(folder.is_dir(), f"--json: the folder {folder} does not exist.")
    torch.set_num_threads(config.threads)
    data = load_data(config.data)
    system = f"{config.pair.model}, H = {config.hcrnn.hidden}, K = {config.hcrnn.contexts}"
    print(f"{data.name}, {system}, batches of {config.batch_size}, {config.threads} thread(s), CPU seconds\n")
    records = []
    for what, work in _workloads(config, data).items():
        runs = [_cpu_seconds(work) for _ in range(config.repeats + 1)][1:]
        records.append({"what": what, "system": system, "median": statistics.median(runs), "unit": "s", "runs": runs})
        shown = ", ".join(f"{seconds:.2f}" for seconds in runs)
        print(f"{what:<40} {statistics.median(runs):>8.2f}   of {shown}")
    if config.json is not None:
        write_json(config.json, records)


def _workloads(config: BenchmarkConfig, data: DataSet) -> dict[str, Callable[[], object]]:
    """What is measured: name -> one run of it."""
    pyro.set_rng_seed(0)
    model, guide = build_pair(config.pair, asdict(config.hcrnn), data.catalogue_size)
    objective = Objective(model, guide, Trace_ELBO())
    optimiser = adam(objective, lr=1e-3)
    batches = Batches(data.train, "sequence", config.batch_size, seed=0)

    def epoch() -> None:
        objective.train()
        for batch in batches:
            optimiser.zero_grad()
            terms = objective(batch)
            (terms.loss / terms.predictions).backward()
            optimiser.step()

    def evaluation(method: Method) -> Callable[[], object]:
        def work() -> None:
            objective.eval()
            evaluate(PosteriorPredictive(model, guide), data.test, method)

        return work

    return {"training epoch": epoch} | {f"evaluation of test, {method}": evaluation(method) for method in SCOPE_OF}


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    with pyro.validation_enabled(False):
        work()
    return time.process_time() - start


if __name__ == "__main__":
    run_command(main)
