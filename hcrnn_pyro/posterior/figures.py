"""Figures of the posterior, drawn with matplotlib: ``pip install 'hcrnn_pyro[plots]'``.

Every function draws into the given axes, or into those of a new figure, and returns them: ``axes.figure.savefig(...)``.

Axes: S draws, B sequences, K contexts, N numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hcrnn_pyro.errors import require
from hcrnn_pyro.figures import COLOURS, HOW, MARKERS, can_draw
from hcrnn_pyro.posterior.activity import ACTIVE_KL, ACTIVE_SHARE, Activity
from hcrnn_pyro.posterior.predictive_checks import STATISTIC_NAMES
from hcrnn_pyro.posterior.reliability import Reliability

BLUE, ORANGE, GREEN = COLOURS[:3]
GREY = "0.55"
K_HAT_LIMITS = (0.7, "above 0.7: not to be trusted")  # Vehtari et al. 2024


def draw_reliability(result: Reliability, axes: Any = None) -> Any:
    """Promised against kept probability, for the top item and over all items, on logarithmic axes."""
    axes = _axes(axes, 4.8, 4.6)
    named = {
        f"all items (misplaced: {result.misplaced:.1%})": result.items,
        f"top item (ECE: {result.ece:.1%})": result.top,
    }
    smallest = min(float(curve.predicted[curve.predicted > 0].min()) for curve in named.values())
    axes.plot([smallest, 1], [smallest, 1], color=GREY, linewidth=1, label="perfect")
    for number, (name, curve) in enumerate(named.items()):
        seen = curve.observed > 0  # a logarithmic axis has no 0
        axes.plot(
            curve.predicted[seen],
            curve.observed[seen],
            MARKERS[number],
            color=COLOURS[number],
            markersize=4,
            label=name,
        )
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="observed frequency")
    axes.set_title(f"Calibration of {result.predictions:,} predictions")
    return _finish(axes)


def draw_prevalence(prevalence: pd.DataFrame, axes: Any = None) -> Any:
    """The share of each context, largest first, with its interval; columns as of ``contexts.prevalence``."""
    shown = prevalence.sort_values("mean", ascending=False)
    axes = _axes(axes, _width(len(shown)), 3.2)
    places = np.arange(len(shown))
    axes.vlines(places, shown["low"], shown["high"], color=BLUE, linewidth=2)
    axes.plot(places, shown["mean"], "o", color=BLUE, markersize=4, label="mean and interval")
    axes.axhline(1 / len(shown), color=GREY, linewidth=1, linestyle="--", label="uniform, 1 / K")
    _name_contexts(axes, shown["context"])
    axes.set(ylabel="mean context proportion", title="Prevalence of the contexts")
    axes.set_ylim(bottom=0)
    return _finish(axes)


def draw_activity(activity: Activity, axes: Any = None) -> Any:
    """KL of each context where it is known, else the variance share; those above the threshold stand out."""
    known = activity.context_kl is not None
    values = activity.context_kl if activity.context_kl is not None else activity.variance_share
    threshold = ACTIVE_KL if known else ACTIVE_SHARE
    order = np.argsort(-values, kind="stable")
    axes = _axes(axes, _width(len(order)), 3.2)
    colours = np.where(values[order] >= threshold, BLUE, GREY)
    axes.bar(np.arange(len(order)), values[order], color=colours, width=0.75)
    axes.axhline(threshold, color=ORANGE, linewidth=1, linestyle="--", label=f"active from {threshold:g}")
    _name_contexts(axes, order)
    axes.set_ylabel("KL(q || p), nats per sequence" if known else "share of the prior's variance")
    axes.set_title(f"{np.sum(values >= threshold)} of {len(values)} contexts active")
    return _finish(axes)


def draw_profile(profile: pd.DataFrame, axes: Any = None) -> Any:
    """Share of each category among the leading items of each context; columns as of ``categories.category_profile``."""
    table = profile.pivot(index="category", columns="context", values="share")
    axes = _axes(axes, 1.6 + _width(table.shape[1]), 1.4 + 0.22 * len(table))
    image = axes.imshow(table, cmap="cividis", aspect="auto", vmin=0.0, vmax=1.0)
    axes.set_yticks(range(len(table)), table.index)
    _name_contexts(axes, table.columns)
    axes.set_xlim(-0.5, table.shape[1] - 0.5)
    axes.set_title("Categories of the items that lead each context")
    axes.figure.colorbar(image, ax=axes, label="share of the leading items")
    return axes


def draw_theta(theta: np.ndarray, names: list[str], axes: Any = None, level: float = 0.9) -> Any:
    """Context proportions of a few sequences with central intervals.

    Args:
        theta: (S, B, K) draws, for at most six sequences.
        names: B names of the sequences.
        axes: where to draw.
        level: of the intervals.
    """
    most = min(len(COLOURS), len(MARKERS))
    require(len(names) == theta.shape[1] <= most, f"Expected {theta.shape[1]} names of at most {most} sequences.")
    contexts = np.arange(theta.shape[2])
    axes = _axes(axes, _width(len(contexts)), 3.4)
    low, high = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2], axis=0)
    for row, name in enumerate(names):
        places = contexts + 0.6 * ((row + 0.5) / len(names) - 0.5)
        axes.vlines(places, low[row], high[row], color=COLOURS[row], linewidth=1.5)
        mean = theta[:, row].mean(axis=0)
        axes.plot(places, mean, MARKERS[row], color=COLOURS[row], markersize=4, label=name)
    axes.axhline(1 / len(contexts), color=GREY, linewidth=1, linestyle="--")
    _name_contexts(axes, contexts)
    axes.set(ylabel="context proportion", title=f"Context proportions, mean and {level:.0%} interval")
    axes.set_ylim(bottom=0)
    return _finish(axes)


def draw_predictive_check(check: pd.Series, axes: Any = None) -> Any:
    """One statistic: its interval under the model and the real value; a row as of ``predictive_checks``."""
    axes = _axes(axes, 5.4, 1.9)
    axes.hlines(0, check["low"], check["high"], color=BLUE, linewidth=3, label="model, 95 % interval")
    axes.plot(check["mean"], 0, "o", color=BLUE, label="model, mean")
    axes.plot(check["real"], 0, "D", color=ORANGE, label="real")
    axes.set_yticks([])
    axes.set_ylim(-1, 2)  # room for the legend
    axes.set_xlabel(STATISTIC_NAMES.get(check["statistic"], check["statistic"]))
    axes.set_title(f"Tail probability {check['tail_probability']:.2g}", fontsize="medium")
    axes.margins(x=0.1)
    return _finish(axes, columns=3)


def draw_k_hat(k_hat: np.ndarray, axes: Any = None) -> Any:
    """Histogram of the Pareto k-hat of each sequence, (N,)."""
    axes = _axes(axes, 5.0, 3.2)
    finite = k_hat[np.isfinite(k_hat)]
    limit, meaning = K_HAT_LIMITS
    axes.hist(finite, bins="auto", color=BLUE, edgecolor="white")
    axes.axvline(limit, color=ORANGE, linestyle="--", label=meaning)
    bad = float(np.mean(~(k_hat <= limit)))
    axes.set(xlabel="Pareto k-hat of the importance weights", ylabel="sequences")
    axes.set_title(f"{bad:.1%} of {len(k_hat):,} posteriors beyond {limit}")
    return _finish(axes)


def draw_ranks(ranks: np.ndarray, draws: int, axes: Any = None, bins: int = 20) -> Any:
    """Histogram of simulation-based calibration with the band of 95 % of the bars, were the posterior exact.

    Args:
        ranks: (N,) of the true value among its posterior draws, 0..draws.
        draws: L.
        axes: where to draw.
        bins: how many at most; each holds equally many of the L + 1 ranks, so their number divides L + 1.
    """
    from scipy.stats import binom

    bins = max(number for number in range(1, bins + 1) if (draws + 1) % number == 0)
    axes = _axes(axes, 5.0, 3.2)
    low, high = binom.ppf([0.025, 0.975], len(ranks), 1 / bins)
    axes.axhspan(low, high, color="0.88", label="95 % of the bars, if exact")
    axes.axhline(len(ranks) / bins, color=GREY, linewidth=1)
    heights, _, _ = axes.hist(ranks, bins=np.linspace(-0.5, draws + 0.5, bins + 1), color=BLUE, edgecolor="white")
    axes.set_ylim(0, 1.2 * max(high, heights.max()))  # room for the legend
    axes.set(xlabel=f"rank of the truth among {draws} draws", ylabel="simulations")
    axes.set_title(f"Simulation-based calibration, {len(ranks):,} simulations")
    return _finish(axes)


def draw_frontier(points: pd.DataFrame, axes: Any = None) -> Any:
    """What theta costs against what it buys; columns ``kl`` and ``nll``, nats per sequence, and ``label``."""
    axes = _axes(axes, 5.4, 4.0)
    for number, (label, group) in enumerate(points.groupby("label", sort=False)):
        shown = group.sort_values("kl")
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(shown["kl"], shown["nll"], marker=marker, color=colour, linewidth=1, label=label)
    axes.set(xlabel="rate: KL(q || p), nats per sequence", ylabel="distortion: -log p(y | theta), nats per sequence")
    axes.set_title("Rate and distortion")
    return _finish(axes)


def _axes(axes: Any, width: float, height: float) -> Any:
    """The given axes, or those of a new figure of this size in inches."""
    if axes is not None:
        return axes
    require(can_draw(), f"A figure needs matplotlib: {HOW}.")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150).subplots()


def _width(contexts: int) -> float:
    return float(np.clip(2.4 + 0.14 * contexts, 4.8, 12.0))


def _name_contexts(axes: Any, contexts: Any) -> None:
    small = "x-small" if len(contexts) > 20 else "small"
    axes.set_xticks(range(len(contexts)), [str(context) for context in contexts], fontsize=small)
    axes.set_xlabel("context")
    axes.set_xlim(-0.6, len(contexts) - 0.4)


def _finish(axes: Any, columns: int = 1) -> Any:
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", ncols=columns)
    return axes
