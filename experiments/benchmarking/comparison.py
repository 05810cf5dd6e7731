"""The table of one data set: what training, evaluation and an answer cost every system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import torch

from experiments.benchmarking import narm
from experiments.benchmarking.arithmetic import TRAINING, hcrnn_operations, measure_peak
from experiments.benchmarking.config import BenchmarkConfig
from experiments.benchmarking.measure import Clock, Row, in_turns, peak_memory
from experiments.benchmarking.systems import compared_systems
from experiments.benchmarking.workloads import Bench, one_user, random_batch
from hcrnn_pyro.data.batches import Batches
from hcrnn_pyro.data.dataset import DataSet

HISTORY = 50  # events of the one user who waits for an answer
ANSWERS = 20  # a reading is the mean of so many


def compare(config: BenchmarkConfig, data: DataSet) -> list[Row]:
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
    epoch = _epoch(config, data, batches, benches, clock)
    return [
        epoch,
        seconds("evaluation of test, exact", lambda bench: bench.evaluate(data.test, "exact")),
        seconds("evaluation of test, one-pass", lambda bench: bench.evaluate(data.test, "one-pass")),
        row("an answer to one user", "ms", answer),
        row("memory of the largest step", "MiB", memory),
        *(of_a_gpu(config, data, batches, benches, epoch) if config.device == "cuda" else []),
    ]


def _epoch(config: BenchmarkConfig, data: DataSet, batches: Batches, benches: Mapping[str, Bench], clock: Clock) -> Row:
    """The training epoch, for which a peer outside takes its turn too where there is one."""
    measures: dict[str, Callable[[], float]] = {
        name: partial(clock, partial(bench.train, batches)) for name, bench in benches.items()
    }
    with ExitStack() as peers:
        if config.recbole is not None:
            longest = int(data.train.lengths.max()) - 1  # of all prefixes
            for name, length in (("NARM (RecBole)", narm.CUT), ("NARM (RecBole), uncut", longest)):
                outside = narm.RecBoleNARM(config.recbole, data.train, length, config.threads)
                measures[name] = peers.enter_context(outside).epoch
        return Row("training epoch", clock.unit, in_turns(measures, config.repeats))


def of_a_gpu(
    config: BenchmarkConfig, data: DataSet, batches: Batches, benches: Mapping[str, Bench], epoch: Row
) -> list[Row]:
    """What matters where arithmetic is cheap: what the host does, throughput, the share of the peak, and what fits."""
    host = {name: partial(Clock("cpu"), partial(bench.train, batches)) for name, bench in benches.items()}
    predictions = data.train.predictions
    rates = {name: [predictions / seconds for seconds in epoch.runs[name]] for name in benches}
    sizes = (data.catalogue_size, config.hcrnn.hidden, config.hcrnn.contexts)
    products = sum(part.products for batch in batches for part in hcrnn_operations(batch, *sizes).values())
    peak = measure_peak(config.device).products
    shares = {
        name: [100 * TRAINING * products / seconds / peak for seconds in epoch.runs[name]]
        for name, bench in benches.items()
        if bench.counts_as_hcrnn
    }
    longest = int(data.train.lengths.max())
    fitting = {name: [float(largest_batch(bench, longest, data.catalogue_size))] for name, bench in benches.items()}
    return [
        Row("training epoch, the host's part", "CPU s", in_turns(host, config.repeats)),
        Row("training", "events/s", rates),
        Row("share of the peak in float32 products", "%", shares),
        Row(f"largest batch of {longest} events that fits, a power of 2", "sequences", fitting),
    ]


def largest_batch(bench: Bench, events: int, items: int) -> int:
    """The largest power of 2 of sequences that a training step can take; 0 where one is too many."""
    fitting, tried = 0, 1
    while True:
        try:
            bench.train([random_batch(tried, events, items)])
        except RuntimeError:  # out of memory, or more rows than a kernel of torch's takes
            bench.optimiser.zero_grad()
            torch.cuda.empty_cache()
            return fitting
        fitting, tried = tried, 2 * tried
