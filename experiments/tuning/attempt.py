"""A trial at work: its process, the metric after each epoch, and how it ended."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from experiments.children import last_words, start
from experiments.command import WRONG_INPUT
from experiments.options import changed_values, words
from experiments.svi import SVIConfig, default_config
from experiments.tuning.trial import DIVERGED
from hcrnn_pyro.pair import PairConfig
from hcrnn_pyro.runs import CHECKPOINT, HISTORY, WEIGHTS

Outcome = Literal["complete", "pruned", "diverged", "refused", "failed"]
LOG = "trial.log"
OUTCOMES: dict[int, Outcome] = {WRONG_INPUT: "refused", DIVERGED: "diverged"}  # by exit status


class Ending(NamedTuple):
    """How a trial ended, and why if not well."""

    outcome: Outcome
    why: str = ""


class Attempt(Protocol):
    """A trial at work."""

    def ending(self) -> Ending | None:
        """How it ended; ``None`` while it is at work."""

    def values(self) -> list[float]:
        """The monitored metric after each epoch so far."""

    def close(self) -> None:
        """End it, if it is still at work, and tidy up."""


@dataclass(frozen=True)
class ProcessAttempt:
    """A training in a process of its own.

    Attributes:
        folder: where its history and its log are.
        monitor: name of the metric.
        process: the process.
    """

    folder: Path
    monitor: str
    process: subprocess.Popen[bytes]

    def ending(self) -> Ending | None:
        """By the status of the process."""
        status = self.process.poll()
        if status is None:
            return None
        if status == 0:
            return Ending("complete")
        said = last_words(self.folder / LOG)
        outcome = OUTCOMES.get(status)
        return Ending(outcome, said) if outcome else Ending("failed", f"status {status}: {said}")

    def values(self) -> list[float]:
        """From the history, which is a whole file after every epoch."""
        file = self.folder / HISTORY
        if not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as lines:
            return [float(row[f"valid_{self.monitor}"]) for row in csv.DictReader(lines)]

    def close(self) -> None:
        """Leave the history and the log; the weights of a trial serve nobody."""
        self.process.terminate()
        self.process.wait()
        for name in (CHECKPOINT, WEIGHTS):
            (self.folder / name).unlink(missing_ok=True)


def start_attempt(config: SVIConfig, folder: Path, environment: dict[str, str], lock: int) -> ProcessAttempt:
    """Start a trial, in place of one that was stopped.

    Args:
        config: its flags.
        folder: where it leaves its history and log.
        environment: of its process.
        lock: of the search's folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "experiments.tuning.trial", *words(changes(config)), "--out", str(folder)]
    return ProcessAttempt(folder, config.training.monitor, start(command, folder / LOG, environment, lock))


def changes(config: SVIConfig) -> dict[str, object]:
    """The flags of experiments.svi that differ from its defaults, by name and without dashes."""
    model = config.pair.model
    own = {} if model == PairConfig.model else {"model": model}
    return own | changed_values(default_config(model), config)
