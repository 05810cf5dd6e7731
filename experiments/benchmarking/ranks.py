"""What several processes gain: a training epoch in one, and shared out over those that torchrun started."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from itertools import compress

import torch
from torch.nn.parallel import DistributedDataParallel

from experiments.benchmarking.config import BenchmarkConfig
from experiments.benchmarking.measure import Row, in_turns
from experiments.benchmarking.systems import OURS, compared_systems
from experiments.benchmarking.workloads import Bench
from hcrnn_pyro.data.batches import Batch, Batches
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.distributed import barrier, rank, world_size

ALONE = "one process"


class SharedBench(Bench):
    """A bench of which every rank has a replica, and trains it on its share of each batch."""

    def __init__(self, bench: Bench) -> None:
        vars(self).update(vars(bench))
        self.replica = DistributedDataParallel(self.objective)

    def step(self, batch: Batch) -> None:
        """One step of training on the gradients of all ranks."""
        terms = self.replica(batch).over_ranks()
        self.update(terms.loss / terms.predictions)


def speed_up(config: BenchmarkConfig, data: DataSet) -> Row:
    """Wall seconds of an epoch of the same batches, by rank zero alone and by all ranks; every rank has to call it."""
    system = next(system for system in compared_systems(config.hcrnn) if system.name == OURS)
    alone, shared = (Bench(system, data.catalogue_size, config.device, config.seed) for _ in range(2))
    whole = list(Batches(data.train, "sequence", config.batch_size, config.seed))
    shares = Batches(data.train, "sequence", config.batch_size, config.seed, rank(), world_size())
    enough = [batch.size >= world_size() for batch in whole]  # every rank has a row of these
    whole, share = list(compress(whole, enough)), list(compress(shares, enough))
    measures = {
        ALONE: partial(_wall_seconds, alone, whole if rank() == 0 else []),
        together(): partial(_wall_seconds, SharedBench(shared), share),
    }
    return Row("training epoch", "wall s", in_turns(measures, config.repeats))


def together() -> str:
    """The column of all ranks."""
    return f"{world_size()} processes"


def _wall_seconds(bench: Bench, batches: Iterable[Batch]) -> float:
    barrier()
    start = time.perf_counter()
    bench.train(batches)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    barrier()
    return time.perf_counter() - start
