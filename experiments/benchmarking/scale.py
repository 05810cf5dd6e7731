"""What grows with what: CPU time and memory of a training step as one size is swept and the others stay.

Axes: B sequences a batch, T events a sequence, V items, H = E sizes, K contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from experiments.benchmarking.config import Axis, BenchmarkConfig
from experiments.benchmarking.measure import Clock, Row, in_turns, peak_memory
from experiments.benchmarking.systems import compared_systems
from experiments.benchmarking.workloads import Bench, random_batch, random_sequences
from hcrnn_pyro.data.batches import Batch, Batches

SWEPT: dict[Axis, tuple[int, ...]] = {
    "T": (25, 50, 100, 200, 400),
    "K": (10, 50, 200),
    "H": (50, 100, 200, 400),
    "V": (2_000, 20_000, 200_000, 1_000_000),
    "B": (4, 16, 64, 256),
    "events": (100_000, 1_000_000, 10_000_000),
}
EVENTS = 50  # T where it is not swept
ITEMS = 2_000  # V where it is not swept
SAMPLE = 20  # batches whose throughput stands for an epoch's


@dataclass(frozen=True)
class Sizes:
    """One point of a sweep, by the letters of the axes."""

    B: int
    H: int
    K: int
    T: int
    V: int

    def __str__(self) -> str:
        return f"B = {self.B}, T = {self.T}, V = {self.V:,}, H = {self.H}, K = {self.K}"


def sweep(config: BenchmarkConfig, axis: Axis) -> tuple[list[Row], str]:
    """The rows of one sweep, and the sizes that stay where they are, in words."""
    base = Sizes(config.batch_size, config.hcrnn.hidden, config.hcrnn.contexts, EVENTS, ITEMS)
    if axis == "events":
        rows = [row for events in SWEPT[axis] for row in _data(config, base, events)]
    else:
        points = [(f"{axis} = {value:,}", replace(base, **{axis: value})) for value in SWEPT[axis]]
        rows = [row for what, sizes in points for row in _step(config, sizes, what)]
    kept = ", ".join(part for part in str(base).split(", ") if not part.startswith(f"{axis} "))
    return rows, kept


def _benches(config: BenchmarkConfig, sizes: Sizes) -> dict[str, Bench]:
    settings = replace(config.hcrnn, hidden=sizes.H, contexts=sizes.K)
    return {system.name: Bench(system, sizes.V, config.device, config.seed) for system in compared_systems(settings)}


def _step(config: BenchmarkConfig, sizes: Sizes, what: str) -> list[Row]:
    """Time and memory of a step on one random batch."""
    benches = _benches(config, sizes)
    batch = random_batch(sizes.B, sizes.T, sizes.V, config.seed)
    clock = Clock(config.device)

    def milliseconds(bench: Bench) -> float:
        return 1e3 * clock(partial(bench.train, [batch]))

    def memory(bench: Bench) -> float:
        return peak_memory(partial(bench.train, [batch]), config.device)

    unit = clock.unit.replace(" s", " ms")
    return [
        Row(what, f"{unit} a step", _of_all(benches, milliseconds, config.repeats)),
        Row(what, "MiB", _of_all(benches, memory, repeats=1)),
    ]


def _data(config: BenchmarkConfig, sizes: Sizes, events: int) -> list[Row]:
    """Throughput of a sample of an epoch's batches, and the time until the epoch's first batch is there."""
    sequences = random_sequences(events // sizes.T, sizes.T, sizes.V, config.seed)
    batches = Batches(sequences, "sequence", sizes.B, config.seed)
    benches = _benches(config, sizes)
    clock = Clock(config.device)

    def throughput(bench: Bench) -> float:
        iterator = iter(batches)
        next(iterator)  # the wait for the first batch is a row of its own
        predictions: list[int] = []
        seconds = clock(partial(bench.train, _counted(islice(iterator, SAMPLE), predictions)))
        return sum(predictions) / seconds

    def start(_bench: Bench) -> float:
        return clock(lambda: next(iter(batches)))

    what = f"{events:,} events"
    return [
        Row(what, "events/s in training", _of_all(benches, throughput, config.repeats)),
        Row(what, f"{clock.unit} to an epoch's first batch", _of_all(benches, start, config.repeats)),
    ]


def _counted(batches: Iterator[Batch], predictions: list[int]) -> Iterator[Batch]:
    """The same batches; the number of predictions of each is appended as it passes."""
    for batch in batches:
        predictions.append(int(batch.scored.sum()))
        yield batch


def _of_all(benches: dict[str, Bench], reading: Callable[[Bench], float], repeats: int) -> dict[str, list[float]]:
    return in_turns({name: partial(reading, bench) for name, bench in benches.items()}, repeats)
