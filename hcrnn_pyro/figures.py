"""Figures, drawn with matplotlib: ``pip install 'hcrnn_pyro[plots]'``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd

from hcrnn_pyro.errors import require
from hcrnn_pyro.files import whole_file

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)  # Okabe and Ito's, safe for the colour-blind
MARKERS = ("o", "s", "D", "^", "v", "P")
HOW = "pip install 'hcrnn_pyro[plots]'"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_dots(points: pd.DataFrame, title: str, file: Path) -> None:
    """A dot for each name in each panel, with its range, and a hollow one where somebody else reported a value.

    Args:
        points: columns ``name``, ``group`` (its colour and marker), ``panel``, ``mean``, ``low``, ``high`` and
            ``published`` (NaN where there is none); names are drawn from top to bottom in their order.
        title: what is shown.
        file: the picture; its ending says the format.

    Raises:
        UserError: when matplotlib is not installed.
    """
    require(can_draw(), f"A figure needs matplotlib: {HOW}.")
    from matplotlib.figure import Figure

    names, panels, groups = (list(points[column].unique()) for column in ("name", "panel", "group"))
    figure = Figure(figsize=(2.2 + 2.6 * len(panels), 1.6 + 0.27 * len(names)), layout="constrained")
    figure.suptitle(title)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        shown = points[points["panel"] == panel]
        for number, group in enumerate(groups):
            of_group = shown[shown["group"] == group]
            heights = of_group["name"].map(names.index)
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axes.hlines(heights, of_group["low"], of_group["high"], color=colour, linewidth=2)
            axes.plot(of_group["mean"], heights, marker, color=colour, markersize=5, label=group)
        published = shown.dropna(subset="published")
        heights = published["name"].map(names.index)
        axes.plot(
            published["published"], heights, "o", color="black", fillstyle="none", markersize=8, label="published"
        )
        axes.set_title(panel, fontsize="medium")
        axes.set_xlim(left=min(0.0, -0.03 * axes.get_xlim()[1]))  # the whole marker of a 0
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="y", length=0)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].set_ylim(len(names) - 0.5, -0.5)  # from top to bottom
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with whole_file(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
