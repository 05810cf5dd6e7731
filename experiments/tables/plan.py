"""Which runs a table needs, which of them are there, and how each of the others is started or taken up again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.options import changed_flags, from_dict, parse
from experiments.svi import COMMAND, SVIConfig, default_config
from experiments.tables.rows import Row
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.errors import require
from hcrnn_pyro.pool_folder import read_pool
from hcrnn_pyro.runs import CHECKPOINT, CONFIG, METRICS, check_data, read_config


@dataclass(frozen=True)
class PlannedRun:
    """One run of the table: a row, a data set and a seed.

    Attributes:
        row: what is trained.
        data: name of the data set.
        source: the flags that name its source.
        seed: of everything random.
        out: folder of the table.
        needs: the runs that it pools, refits or gives a memory; none where it is trained by itself.
    """

    row: Row
    data: str
    source: tuple[str, ...]
    seed: int
    out: Path
    needs: tuple[PlannedRun, ...] = ()

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.out / "runs" / self.data / self.row.name / str(self.seed)

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.out / "logs" / self.data / self.row.name / f"{self.seed}.log"

    @property
    def finished(self) -> bool:
        """Whether its numbers are there."""
        return (self.folder / METRICS).is_file()

    @property
    def ready(self) -> bool:
        """Whether all that it needs is there."""
        return all(needed.finished for needed in self.needs)

    @property
    def resumes(self) -> bool:
        """Whether a stopped run can be taken up again."""
        return (self.folder / CHECKPOINT).is_file()

    @property
    def flags(self) -> list[str]:
        """What it asks of ``python -m experiments.svi``; of a refit and with a memory, what the first run asked."""
        if self.row.refits or self.row.remembers:
            return self.needs[0].flags
        return ["--model", self.row.model, *self.source, *self.row.flags_on(self.data), "--seed", str(self.seed)]

    @property
    def configuration(self) -> SVIConfig:
        """What these flags come to."""
        return parse(SVIConfig, COMMAND, self.flags, default=default_config(self.row.model))

    @property
    def command(self) -> list[str]:
        """The process that makes it, or that goes on with it."""
        out = ["--out", str(self.folder)]
        needed = [str(run.folder) for run in self.needs]
        if self.row.pooled:
            return [sys.executable, "-m", "experiments.pool", "--runs", *needed, *out]
        anew = ["--refit", *needed] if self.row.refits else self.flags
        if self.row.remembers:
            names = ("--run", "--selected")
            given = [word for pair in zip(names, needed, strict=False) for word in pair]
            return [sys.executable, "-m", "experiments.remember", *given, *out]
        start = ["--resume"] if self.resumes else anew
        return [sys.executable, "-m", "experiments.svi", *start, *out]

    def __str__(self) -> str:
        return f"{self.data} {self.row.name} {self.seed}"


def plan(
    rows: Sequence[Row], sources: Mapping[str, tuple[str, ...]], seeds: Sequence[int], out: Path
) -> list[PlannedRun]:
    """All runs of a table; every row with the first seed comes before any with the second, and ensembles at the end.

    So a table that is stopped half way has few seeds, not few rows.

    Args:
        rows: the table's rows; one that needs others comes after them.
        sources: name of a data set -> the flags that name its source.
        seeds: a run for each; a row that only counts has one run, under the first.
        out: folder of the table.

    Raises:
        UserError: a row pools more seeds than there are.
    """
    for row in rows:
        require(
            row.seeds <= len(seeds),
            f"A run of {row.name} pools {row.seeds} seeds, and --seeds has {len(seeds)}. Give more, or leave it out.",
        )
    runs: dict[tuple[str, str, int], PlannedRun] = {}
    for ensembles, number, data in product((False, True), range(len(seeds)), sources):
        circle = [*seeds[number:], *seeds[:number]]
        for row in rows:
            if (row.seeds > 1) == ensembles and (number == 0 or not row.counted):
                places = [(data, name, seed) for name, seed in _needed(row, circle)]
                # What only counts was run under the first seed alone.
                needs = tuple(runs.get(place) or runs[data, place[1], seeds[0]] for place in places)
                runs[data, row.name, circle[0]] = PlannedRun(row, data, sources[data], circle[0], out, needs)
    return list(runs.values())


def _needed(row: Row, circle: Sequence[int]) -> list[tuple[str, int]]:
    """Names and seeds of the runs that a run of a row needs.

    Args:
        row: the row.
        circle: the table's seeds, from the run's own on.
    """
    ensemble = [(name, seed) for name in row.needs[:1] for seed in circle[: row.seeds]]
    return ensemble + [(name, circle[0]) for name in row.needs[1:]]


def check(run: PlannedRun, data: DataSet) -> None:
    """Refuse a run folder that was made with other flags or data than the table now asks for.

    Raises:
        UserError: naming the flags.
    """
    if not (run.finished or run.resumes):
        return
    if run.row.pooled:
        _check_pool(run, data)
        return
    check_data(run.folder, data)
    content = read_config(run.folder)
    asked = run.configuration
    known = content if content["pair"] == vars(asked.pair) else content | {"settings": {}}
    stored = from_dict(SVIConfig, known | {"settings": from_dict(type(asked.settings), known["settings"])})
    # Where the run lies, how it was started and where its data lie change nothing; the data themselves were compared.
    stored = replace(stored, out=None, resume=False, data=replace(stored.data, data_dir=None))
    if run.row.refits or run.row.remembers:
        key, what = ("refits", "refit") if run.row.refits else ("remembers", "memory")
        _check_made_of(run, content, key, what)
        stored = replace(stored, refit=None, training=replace(stored.training, epochs=asked.training.epochs))
    changed = changed_flags(stored, asked)
    require(
        not changed,
        f"{run.folder} was made with another {', '.join(changed)} than the row {run.row.name} has now. Move it away to "
        "have the run made anew, or choose another --out.",
    )


def _check_made_of(run: PlannedRun, content: dict[str, Any], key: str, what: str) -> None:
    first, made_of = run.needs[0], content.get(key)
    require(
        made_of is not None and (run.folder / made_of).resolve() == first.folder.resolve(),
        f"{run.folder} is no {what} of {first.folder}, which the row {run.row.name} asks for. Move it away.",
    )


def _check_pool(run: PlannedRun, data: DataSet) -> None:
    content = read_pool(run.folder)
    same_runs = [member.folder.resolve() for member in content.members] == [m.folder.resolve() for m in run.needs]
    require(
        same_runs and content.data_sha1 == data.fingerprint and all(member.unchanged for member in content.members),
        f"{run.folder} pools other runs or data than the row {run.row.name} does now. Move it away.",
    )


def say_what_is_there(runs: Sequence[PlannedRun]) -> None:
    """Print how many runs are finished, and how many go on."""
    finished, resumed = (sum(getattr(run, what) for run in runs) for what in ("finished", "resumes"))
    going_on = f"; {resumed} go on where they were stopped" if resumed else ""
    print(f"Of {len(runs)} run(s), {finished} are finished{going_on}.", flush=True)


def clear(run: PlannedRun) -> None:
    """Remove what a run left that was killed before its first checkpoint."""
    if (run.folder / CONFIG).is_file() and not (run.finished or run.resumes):
        shutil.rmtree(run.folder)
