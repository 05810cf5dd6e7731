"""One run in several processes, as ``torchrun`` starts them: which one this is, and what they tell each other.

Each process is a rank, 0 to R - 1. All train one model, each on its share of the rows of every batch, and all end
every step, epoch and evaluation with the same numbers; rank zero alone prints and writes files. A plain run is rank
zero of one, and passes through here untouched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from hcrnn_pyro.errors import UserError

T = TypeVar("T")
Tell = Callable[[str], None]
TOLD = "told"  # key of the processes' common store, set once someone has said why the run ends
PATIENCE = timedelta(seconds=5)  # how long a rank waits for rank zero to say so


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes R."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def process_group() -> Iterator[Tell]:
    """Connect the processes that ``torchrun`` started for as long as the block runs; a plain run has none to connect.

    Tensors travel by gloo between CPUs and by nccl between GPUs, objects always by gloo. Only rank zero's standard
    output is shown.

    Yields:
        How to say why the run ends: to standard error, and once if all ranks say it.
    """
    launched = dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1
    if not launched or dist.is_initialized():
        yield lambda sentence: print(sentence, file=sys.stderr)
        return
    store, number, processes = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"attempt_{restart_count()}", store)  # torchrun's store may outlive a killed attempt
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=store, rank=number, world_size=processes)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(sys.stdout if number == 0 else nowhere):
            yield lambda sentence: _tell_once(store, number, sentence)
    finally:
        dist.destroy_process_group()


def _tell_once(store: dist.Store, number: int, sentence: str) -> None:
    """Rank zero speaks; another rank waits for it, as torchrun ends all when one has left, and speaks if none did."""
    if number == 0:
        told = store.check([TOLD])
    else:
        try:
            store.wait([TOLD], PATIENCE)
            told = True
        except dist.DistStoreError:
            told = False
    if not told:
        print(sentence, file=sys.stderr, flush=True)
        store.set(TOLD, "")


def at_rank_zero(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises at rank zero; the other ranks wait for it and do not run it themselves."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = work()
        except (UserError, OSError, SystemExit) as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def share(work: Iterable[T]) -> Iterator[T]:
    """This rank's part of what is to be done: every R-th piece."""
    return islice(work, rank(), None, world_size())


def gather(pieces: list[T]) -> list[T]:
    """The pieces of all ranks, rank by rank, at every rank."""
    if world_size() == 1:
        return pieces
    lists: list[Any] = [None] * world_size()
    dist.all_gather_object(lists, pieces)
    return list(chain.from_iterable(lists))


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """The sum over all ranks of each value, in double precision; the same at every rank."""
    if world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def barrier() -> None:
    """Wait until every rank has come this far."""
    if world_size() > 1:
        dist.barrier()


def any_rank(condition: bool) -> bool:
    """Whether the condition holds at one rank or more."""
    return sum_over_ranks([float(condition)])[0] > 0


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process of the run has gone."""
    by_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return world_size() > 1 and (by_gloo or isinstance(error, dist.DistError))


def restart_count() -> int:
    """How often ``torchrun --max-restarts`` has started the processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether ``torchrun --max-restarts`` would start the processes anew if one died."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def torchrun_job() -> str | None:
    """A name that one call of ``torchrun`` has to itself and keeps over its restarts; ``None`` in a plain run."""
    # torchrun keeps a worker's errors in LOGS/RUN_RANDOM/attempt_N/RANK/error.json. Its run id is often just "none".
    folders = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")).parts
    return folders[-4] if len(folders) >= 4 else None
