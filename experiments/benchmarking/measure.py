"""How costs are measured: a clock that fits the device, the peak of allocated memory, and runs in turns."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]
Reading = TypeVar("Reading")
MIB = 2**20
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler writes two lines to stderr each time, else


@dataclass(frozen=True)
class Clock:
    """Seconds that a piece of work takes: CPU seconds of the process, or wall seconds of a GPU until it has finished.

    Attributes:
        device: where the work runs.
    """

    device: str

    @property
    def unit(self) -> str:
        """What a reading means."""
        return "CPU s" if self.device == "cpu" else "wall s"

    def __call__(self, work: Work) -> float:
        """Run ``work`` once."""
        if self.device == "cpu":
            start = time.process_time()
            work()
            return time.process_time() - start
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start


def in_turns(measures: Mapping[str, Callable[[], Reading]], repeats: int) -> dict[str, list[Reading]]:
    """Readings of several measures, taken round robin, so that a slow minute of the machine meets all of them alike.

    Args:
        measures: name -> one reading.
        repeats: rounds that count; one more goes before them and does not.
    """
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(repeats + 1)]
    return {name: [readings[name] for readings in rounds[1:]] for name in measures}


def peak_memory(work: Work, device: str) -> float:
    """MiB that torch holds at the worst moment of ``work``, above what it holds before.

    On the CPU torch reports every allocation and release of its own allocator to its profiler; their running sum is
    what ``torch.cuda.max_memory_allocated`` is for a GPU. Unlike the resident size of a fresh process it repeats to
    the byte, and knows nothing of pages that the C library keeps after their release.
    """
    if device != "cpu":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    changes = [event["args"]["Bytes"] for event in _memory_events(profiler)]
    held = peak = 0
    for change in changes:
        held += change
        peak = max(peak, held)
    return peak / MIB


def _memory_events(profiler: profile) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    return sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])


@dataclass(frozen=True)
class Row:
    """One line of a table for all systems.

    Attributes:
        what: what was measured.
        unit: its unit.
        runs: the readings of every system.
    """

    what: str
    unit: str
    runs: Mapping[str, list[float]]

    def median(self, system: str) -> float:
        """The median of a system's readings."""
        return statistics.median(self.runs[system])

    def ratio(self, system: str, reference: str) -> float | None:
        """A system's median over another's; none where either is missing."""
        if system not in self.runs or reference not in self.runs or self.median(reference) == 0:
            return None
        return self.median(system) / self.median(reference)

    def records(self, reference: str) -> list[dict[str, Any]]:
        """One JSON record per system.

        Args:
            reference: the system that ratios refer to.
        """
        return [
            {
                "what": self.what,
                "system": system,
                "median": self.median(system),
                "unit": self.unit,
                f"ratio_to_{reference.lower()}": self.ratio(system, reference),
                "runs": runs,
            }
            for system, runs in self.runs.items()
        ]
