"""Runs of a table as child processes, some at a time; what is stopped or fails can be taken up again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from experiments.tables.plan import PlannedRun, clear
from experiments.tables.progress import TimeLeft, duration
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.runs import METRICS

POLL = 0.1  # seconds
LOCK = ".lock"


@dataclass(frozen=True)
class Child:
    """A process at work on a run."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    started: float


def run_all(runs: Sequence[PlannedRun], jobs: int, out: Path, data_dir: Path | None) -> list[str]:
    """Make every run that is not finished, with a line for each one that ends.

    Args:
        runs: all runs of the table.
        jobs: processes at a time.
        out: folder of the table; another command that works on it is refused.
        data_dir: where the processes look for data first.

    Returns:
        A sentence for each run that failed; the others were made.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the processes stopped.
    """
    waiting = deque(run for run in runs if not run.finished)
    if not waiting:
        return []
    done, left, failures = len(runs) - len(waiting), TimeLeft(jobs), []
    environment = _environment(data_dir)
    with _locked(out) as lock, _stopped_in_the_end() as children:
        while waiting or children:
            while len(children) < jobs and (ready := next((run for run in waiting if run.ready), None)):
                waiting.remove(ready)
                children.append(_start(ready, environment, lock))
            if not children:  # what is left pools a run that failed
                failures += [f"{run} was not made, as a run that it pools failed." for run in waiting]
                break
            time.sleep(POLL)
            for child in [child for child in children if child.process.poll() is not None]:
                children.remove(child)
                seconds = time.monotonic() - child.started
                done += 1
                if child.run.finished:
                    left.add(child.run, seconds)
                else:
                    failures.append(_failure(child))
                result = _result(child.run) if child.run.finished else "failed"
                rest = left.of([*waiting, *(other.run for other in children)])
                print(f"[{done}/{len(runs)}] {child.run}: {result}, {duration(seconds)}{rest}", flush=True)
    return failures


def _start(run: PlannedRun, environment: dict[str, str], lock: int) -> Child:
    clear(run)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab" if run.resumes else "wb") as log:
        # The lock goes along: it holds as long as a process works in the folder, even where this one was killed.
        process = subprocess.Popen(
            run.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, pass_fds=(lock,)
        )
    return Child(run, process, time.monotonic())


def _environment(data_dir: Path | None) -> dict[str, str]:
    """One thread a process; the folder of the data is no part of a run, so that the data may be moved."""
    place = {} if data_dir is None else {"HCRNN_DATA": str(data_dir.resolve())}
    return os.environ | {"OMP_NUM_THREADS": "1"} | place


def _result(run: PlannedRun) -> str:
    test = json.loads((run.folder / METRICS).read_text(encoding="utf-8"))["test"]
    return f"R@20 {test['recall@20']:.2f}, M@20 {test['mrr@20']:.2f}"


def _failure(child: Child) -> str:
    lines = child.run.log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")
    return f"{child.run} failed with status {child.process.returncode}: {last} (all of it: {child.run.log})"


@contextmanager
def _stopped_in_the_end() -> Iterator[list[Child]]:
    """A list of children, none of which outlives the block; SIGTERM ends it as Ctrl-C does.

    Ctrl-C is listened to even where the shell had it ignored, as it does for what runs in the background.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    children: list[Child] = []
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield children
    finally:
        for child in children:  # a run may be killed at any moment, and goes on from its last epoch
            child.process.terminate()
        for child in children:
            child.process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise UserError(f"Another command, or a run that it started, still works in {out}; wait for it.") from error
    try:
        yield lock
    finally:
        os.close(lock)
