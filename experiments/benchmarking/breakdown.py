"""Where the time of a training step goes, by doing its parts one by one; what Pyro adds; how near the arithmetic floor.

Each part runs forward and backward on inputs that are cut off from the part before, so its reading holds its own work
and no profiler's. What Pyro adds, our messengers included, is a number of calls that is the same for every batch: the
difference between a step through Pyro and one without on the smallest batch, where no large product drowns it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any
from unittest.mock import patch

import pandas as pd
import pyro
import torch
from torch import Tensor
from torch.distributions import Normal

from experiments.benchmarking.arithmetic import hcrnn_operations, measure_peak
from experiments.benchmarking.config import BenchmarkConfig
from experiments.benchmarking.measure import Clock, Row, in_turns
from experiments.benchmarking.report import number
from experiments.benchmarking.systems import GRU, compared_systems
from experiments.benchmarking.workloads import Bench, random_batch
from guides import BagOfItems
from hcrnn_pyro.data.batches import Batch, Batches
from hcrnn_pyro.data.dataset import DataSet
from models import HCRNN

SAMPLE = 20  # batches; a reading is the mean of their steps
PARTS = ("guide", "recurrence", "readout", "output layer", "optimiser")
PYRO, REST, WHOLE = "Pyro", "rest", "step"
PAIRS = 50  # steps through Pyro and without it, in turns
FLOOR = "arithmetic floor"


class Parts:
    """The parts of a step of HCRNN (or of the GRU, which shares all but one), each by itself.

    Args:
        bench: the system, built.
    """

    def __init__(self, bench: Bench) -> None:
        model, guide = bench.predictive.model, bench.predictive.guide
        assert isinstance(model, HCRNN) and isinstance(guide, BagOfItems)
        self.bench, self.model, self.guide = bench, model, guide

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A draw of theta, and the estimate of KL(q || p) that comes with it: the guide and the prior without Pyro."""
        guide = self.guide
        family: Any = guide.families["eta"]
        location, scale = family.parameters_of(guide.encoder(batch))
        posterior = Normal(location, scale, validate_args=False)
        eta = posterior.rsample()
        prior = Normal(0.0, 1.0, validate_args=False)
        return eta.softmax(dim=-1), (posterior.log_prob(eta) - prior.log_prob(eta)).sum()

    def loss(self, batch: Batch) -> Tensor:
        """The negative ELBO without Pyro."""
        theta, kl = self.posterior(batch)
        loss: Tensor = kl - self.model.likelihood(batch, theta).log_prob(batch.targets).sum()
        return loss

    def works(self, batch: Batch) -> dict[str, Callable[[], object]]:
        """Each part as a piece of work on one batch; the inputs are calculated here, not when the work is done."""
        model = self.model
        with torch.no_grad():
            theta, _ = self.posterior(batch)
            states = model.states(batch, theta)
            readout = model.readout(states.hidden, states.local_context, batch.queries)
        theta, hidden, local, readout = (leaf.requires_grad_() for leaf in (theta, *states[:2], readout))
        upstream = [torch.randn_like(tensor) for tensor in (theta, hidden, local, readout)]

        def guide() -> None:
            drawn, kl = self.posterior(batch)
            torch.autograd.backward([drawn, kl], [upstream[0], torch.ones_like(kl)])

        def recurrence() -> None:
            states = model.states(batch, theta)
            torch.autograd.backward([states.hidden, states.local_context], upstream[1:3])

        def read() -> None:
            model.readout(hidden, local, batch.queries).backward(upstream[3])

        def output() -> None:
            with (
                patch.object(model, "states", lambda *_: states),
                patch.object(model.readout, "forward", lambda *_: readout),
            ):
                model.likelihood(batch, theta).log_prob(batch.targets).sum().backward()

        return dict(zip(PARTS, (guide, recurrence, read, output, self.bench.optimiser.step), strict=True))

    def step_without_pyro(self, batch: Batch) -> None:
        """One step of training."""
        self.bench.update(self.loss(batch) / int(batch.scored.sum()))


def profiled(config: BenchmarkConfig, data: DataSet) -> list[Row]:
    """Milliseconds of a training step by part: HCRNN beside the GRU, and the least that HCRNN's arithmetic takes."""
    benches = {
        system.name: Bench(system, data.catalogue_size, config.device, config.seed)
        for system in compared_systems(config.hcrnn)
        if system.profiled
    }
    batches = list(islice(Batches(data.train, "sequence", config.batch_size, config.seed), SAMPLE))
    batches = [batch.to(config.device) for batch in batches]
    clock = Clock(config.device)
    measures = {name: partial(_milliseconds, Parts(bench), batches, clock) for name, bench in benches.items()}
    rounds = in_turns(measures, config.repeats)
    floors = _floors(config, data, batches)
    unit = clock.unit.replace(" s", " ms")
    rows = []
    for part in (*PARTS, PYRO, REST, WHOLE):
        runs = {name: [reading[part] for reading in readings] for name, readings in rounds.items()}
        rows.append(Row(part, unit, runs | ({FLOOR: [floors[part]]} if part in floors else {})))
    return rows


def _milliseconds(parts: Parts, batches: Sequence[Batch], clock: Clock) -> dict[str, float]:
    """One reading of every part: the mean over the batches."""
    total: dict[str, float] = defaultdict(float)
    parts.bench.objective.train()
    with pyro.validation_enabled(False):
        for batch in batches:
            for name, work in parts.works(batch).items():
                total[name] += clock(work)
            parts.bench.optimiser.zero_grad()
            total[WHOLE] += clock(partial(parts.bench.step, batch))
        smallest = random_batch(1, 1, parts.model.items).to(parts.bench.device)
        for _ in range(PAIRS):
            through = clock(partial(parts.bench.step, smallest))
            total[PYRO] += (through - clock(partial(parts.step_without_pyro, smallest))) * len(batches) / PAIRS
    total[REST] = total[WHOLE] - total[PYRO] - sum(total[name] for name in PARTS)
    return {name: 1e3 * seconds / len(batches) for name, seconds in total.items()}


def _floors(config: BenchmarkConfig, data: DataSet, batches: Sequence[Batch]) -> dict[str, float]:
    """The least milliseconds of each part, and of the whole step."""
    peak = measure_peak(config.device)
    floors: dict[str, float] = defaultdict(float)
    for batch in batches:
        counts = hcrnn_operations(batch, data.catalogue_size, config.hcrnn.hidden, config.hcrnn.contexts)
        for part, operations in counts.items():
            floors[part] += 1e3 / len(batches) * peak.seconds(operations)
    return {**floors, WHOLE: sum(floors.values())}


def profile_table(rows: Sequence[Row]) -> str:
    """Milliseconds and shares of the whole step for every system; beside them the floor and how near HCRNN comes."""
    whole = rows[-1]
    systems = [name for name in whole.runs if name != FLOOR]
    cells = pd.DataFrame(index=[row.what for row in rows])
    for system in systems:
        cells[f"{system} ({whole.unit})"] = [number(row.median(system)) for row in rows]
        cells["share" + " " * systems.index(system)] = [
            f"{row.median(system) / whole.median(system):.1%}" for row in rows
        ]
    cells[f"{FLOOR} ({whole.unit})"] = [number(row.median(FLOOR)) if FLOOR in row.runs else "" for row in rows]
    for system in systems:
        if system != GRU:
            cells[f"{system} reaches"] = [
                f"{row.median(FLOOR) / row.median(system):.0%}" if FLOOR in row.runs else "" for row in rows
            ]
    return str(cells.to_string())
