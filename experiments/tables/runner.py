"""Runs of a table as child processes, some at a time; what is stopped or fails can be taken up again."""

from __future__ import annotations

import json
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.children import POLL, child_environment, last_words, locked, start, stopped_in_the_end
from experiments.tables.plan import PlannedRun, clear
from experiments.tables.progress import TimeLeft, duration
from hcrnn_pyro.runs import METRICS


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
    environment = child_environment(data_dir)
    children: list[Child] = []
    with locked(out) as lock, stopped_in_the_end(children):
        while waiting or children:
            while len(children) < jobs and (ready := next((run for run in waiting if run.ready), None)):
                waiting.remove(ready)
                children.append(_start(ready, environment, lock))
            if not children:  # what is left needs a run that failed
                failures += [f"{run} was not made, as a run that it needs failed." for run in waiting]
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
    return Child(run, start(run.command, run.log, environment, lock, append=run.resumes), time.monotonic())


def _result(run: PlannedRun) -> str:
    test = json.loads((run.folder / METRICS).read_text(encoding="utf-8"))["test"]
    return f"R@20 {test['recall@20']:.2f}, M@20 {test['mrr@20']:.2f}"


def _failure(child: Child) -> str:
    log = child.run.log
    return f"{child.run} failed with status {child.process.returncode}: {last_words(log)} (all of it: {log})"
