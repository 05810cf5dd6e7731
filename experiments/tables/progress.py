"""How long the runs that are left will take, judged by those that are done."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from statistics import mean

from experiments.tables.plan import PlannedRun


class TimeLeft:
    """The time left, from the mean time of the finished runs most like each one that is left.

    Args:
        jobs: runs at a time.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.seconds: dict[Hashable, list[float]] = {}

    def add(self, run: PlannedRun, seconds: float) -> None:
        """Note how long a run took."""
        for kind in _kinds(run):
            self.seconds.setdefault(kind, []).append(seconds)

    def of(self, runs: Iterable[PlannedRun]) -> str:
        """The time that runs will take, to follow the words of a line; empty where nothing is left, or known."""
        known = [next((mean(self.seconds[k]) for k in _kinds(run) if k in self.seconds), None) for run in runs]
        seconds = [value for value in known if value is not None]
        return f"; about {duration(sum(seconds) / self.jobs)} left" if seconds else ""


def _kinds(run: PlannedRun) -> tuple[Hashable, ...]:
    """From the most like to the least: the row, the data, the kind of model, any run."""
    return (run.data, run.row.name), (run.data, run.row.counted), (run.row.counted,), ()


def duration(seconds: float) -> str:
    """Seconds as a reader says them: ``42 s``, ``8 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
