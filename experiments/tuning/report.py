"""What a search ends with: the best trials, the command of the best, what mattered, and the files."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.options import words
from experiments.svi import COMMAND, SVIConfig
from experiments.tables.markdown import table
from experiments.tuning.attempt import changes
from experiments.tuning.figures import draw_history, draw_importance
from experiments.tuning.study import FEWEST_FOR_IMPORTANCE, Study, Tried
from hcrnn_pyro.figures import HOW, can_draw
from hcrnn_pyro.files import whole_file, write_json

SHOWN = 5
TRIALS, BEST, HISTORY, IMPORTANCE = "trials.csv", "best.json", "history.png", "importance.png"


def write_report(study: Study, configuration: Callable[[Mapping[str, Any]], SVIConfig], out: Path) -> str:
    """Write the files, and return what the command prints.

    Args:
        study: what was tried.
        configuration: what a trial has drawn -> all flags, those of the data included, for a run of its own.
        out: folder of the search.
    """
    tried, ranked, monitor = study.tried(), study.ranked(), study.base.training.monitor
    _write_trials(tried, out)
    if not ranked:
        return f"No trial is complete yet, so there is no best one. Kept in {out}: {TRIALS}"
    best, importances = ranked[0], study.importances()
    flags = changes(configuration(best.drawn))
    command = shlex.join([*COMMAND.split(), *words(flags), "--out", str(out / "best")])
    content = {"trial": best.number, "monitor": monitor, "value": best.value, "epoch": best.epoch}
    write_json(out / BEST, content | {"flags": flags, "command": command})
    drawn = _draw(study, tried, importances, out)
    return "\n".join(
        [
            f"The best of {_counted(tried)}, by {monitor} on the valid part; epochs are counted from 0:",
            "",
            *_table(ranked[:SHOWN], monitor),
            _importance(importances, monitor),
            "",
            "The test part was not read. Read it once, with the best flags:",
            command,
            "",
            f"Kept in {out}: {', '.join([TRIALS, BEST, *drawn])}" + ("" if drawn else f" (figures: {HOW})"),
        ]
    )


def _counted(tried: Sequence[Tried]) -> str:
    counts = Counter(one.outcome for one in tried)
    return f"{len(tried)} trial(s) ({', '.join(f'{number} {outcome}' for outcome, number in counts.items())})"


def _table(ranked: Sequence[Tried], monitor: str) -> list[str]:
    header = ["trial", monitor, "epoch", *ranked[0].drawn]
    rows = [[str(one.number), f"{one.value:.3f}", str(one.epoch), *map(str, one.drawn.values())] for one in ranked]
    return table(header, rows)


def _importance(importances: Mapping[str, float], monitor: str) -> str:
    if not importances:
        return f"Which flags matter can be told from {FEWEST_FOR_IMPORTANCE} complete trials on."
    shares = ", ".join(f"{flag} {100 * share:.0f} %" for flag, share in importances.items())
    return f"What mattered for {monitor}: {shares}."


def _draw(study: Study, tried: Sequence[Tried], importances: Mapping[str, float], out: Path) -> list[str]:
    if not can_draw():
        return []
    figures = {HISTORY: draw_history(tried, study.base.training.monitor, study.lower_is_better)}
    if importances:
        figures[IMPORTANCE] = draw_importance(importances)
    for name, axes in figures.items():
        with whole_file(out / name) as temporary:
            axes.figure.savefig(temporary, format="png", dpi=150)
    return list(figures)


def _write_trials(tried: Sequence[Tried], out: Path) -> None:
    names = ("number", "outcome", "value", "epoch", "epochs", "seconds", "why")
    rows = [{name: getattr(one, name) for name in names} | one.drawn for one in tried]
    frame = pd.DataFrame(rows, columns=None if rows else list(names)).astype({"epoch": "Int64"})
    frame = frame.rename(columns={"number": "trial"})
    frame = frame[[*(name for name in frame if name != "why"), "why"]]
    with whole_file(out / TRIALS) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
