"""The loop of a search: begin trials, report each epoch to the pruner, and keep how each one ends."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from optuna.trial import Trial

from experiments.children import POLL
from experiments.options import words
from experiments.svi import SVIConfig
from experiments.tables.progress import duration
from experiments.tuning.attempt import Attempt, Ending
from experiments.tuning.study import Study, Tried
from hcrnn_pyro.errors import UserError

HOPELESS = 3  # trials of a search that fail before one does better
Begin = Callable[[int, SVIConfig], Attempt]


@dataclass
class Running:
    """A trial at work, and how many of its epochs the pruner knows."""

    trial: Trial
    attempt: Attempt
    started: float
    reported: int = 0

    def advance(self) -> Ending | None:
        """Report the new epochs in their order, so that nothing depends on when they are seen."""
        ending = self.attempt.ending()  # asked first: what has ended has left all its values
        for value in self.attempt.values()[self.reported :]:
            self.trial.report(value, self.reported)
            self.reported += 1
            if self.trial.should_prune():
                return Ending("pruned")
        return ending


def search(study: Study, begin: Begin, trials: int, jobs: int, monitor: str) -> None:
    """Make trials until there are as many as asked for, with a line for each one that ends.

    Args:
        study: what was tried, and what is tried next.
        begin: number and flags of a trial -> the trial at work.
        trials: how many in all, those of earlier commands included.
        jobs: how many at a time.
        monitor: name of the metric.

    Raises:
        UserError: nothing but failures.
    """
    running: list[Running] = []
    done = study.tried()
    before = len(done)

    def end(trial: Trial, ending: Ending, seconds: float) -> None:
        done.append(study.tell(trial, ending, seconds))
        best = study.ranked()[:1] == done[-1:]
        print(f"[{len(done)}/{trials}] {_told(done[-1], monitor, best)}", flush=True)
        _refuse_hopeless(done[before:])

    while running or len(done) < trials:
        while len(running) < jobs and len(done) + len(running) < trials:
            trial = study.ask()
            try:
                config = study.configuration(trial.params)
            except UserError as error:
                end(trial, Ending("refused", str(error)), 0.0)
            else:
                running.append(Running(trial, begin(trial.user_attrs["number"], config), time.monotonic()))
        time.sleep(POLL)
        for one in list(running):
            if ending := one.advance():
                running.remove(one)
                one.attempt.close()
                end(one.trial, ending, time.monotonic() - one.started)


def _told(tried: Tried, monitor: str, best: bool) -> str:
    result = _result(tried, monitor) + (", the best so far" if best else "")
    return f"trial {tried.number}: {result}, {duration(tried.seconds)}: {shlex.join(words(tried.drawn))}"


def _result(tried: Tried, monitor: str) -> str:
    if tried.outcome == "complete":
        return f"{monitor} {tried.value:.3f} at epoch {tried.epoch}"
    if tried.outcome == "pruned":
        return f"pruned after {tried.epochs} epoch(s), {monitor} {tried.value:.3f}"
    return f"{tried.outcome} ({tried.why})"


def _refuse_hopeless(tried: list[Tried]) -> None:
    if len(tried) == HOPELESS and all(one.outcome in ("refused", "failed") for one in tried):
        raise UserError(f"The first {HOPELESS} trials all came to nothing, so the search ends here. {tried[-1].why}")
