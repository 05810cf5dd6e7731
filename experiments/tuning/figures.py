"""The figures of a search, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.tuning.study import Tried
from hcrnn_pyro.figures import COLOURS


def draw_importance(importances: Mapping[str, float], axes: Any = None) -> Any:
    """A bar for each flag, the most important on top.

    Args:
        importances: flag -> its share.
        axes: where to draw; ``None`` makes a figure.

    Returns:
        The axes.
    """
    axes = axes or _axes(height=1.2 + 0.35 * len(importances))
    flags = list(importances)
    axes.barh(flags, [100 * importances[flag] for flag in flags], color=COLOURS[0])
    axes.invert_yaxis()
    axes.set_xlabel("importance, %")
    return axes


def draw_history(tried: Sequence[Tried], monitor: str, lower_is_better: bool, axes: Any = None) -> Any:
    """The best value of each trial that has one, and a line of the best so far among the complete ones.

    Args:
        tried: the trials, by their numbers.
        monitor: name of the metric.
        lower_is_better: its direction.
        axes: where to draw; ``None`` makes a figure.

    Returns:
        The axes.
    """
    axes = axes or _axes(height=3.6)
    for number, (outcome, marker) in enumerate((("complete", "o"), ("pruned", "x"), ("diverged", "^"))):
        chosen = [one for one in tried if one.outcome == outcome and one.value is not None]
        if chosen:
            points = [one.number for one in chosen], [one.value for one in chosen]
            axes.plot(*points, marker, color=COLOURS[number], label=outcome)
    complete = [one for one in tried if one.outcome == "complete"]
    best = (np.minimum if lower_is_better else np.maximum).accumulate(np.array([one.value for one in complete]))
    axes.step([one.number for one in complete], best, where="post", color=COLOURS[0], label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(f"valid {monitor}")
    axes.legend(frameon=False)
    return axes


def _axes(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, height), layout="constrained").subplots()
