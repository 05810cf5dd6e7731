"""Every figure is drawn, into new or given axes, and shows the numbers it was given."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior import figures
from hcrnn_pyro.posterior.activity import Activity
from hcrnn_pyro.posterior.reliability import Curve, Reliability

pytestmark = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")

CURVE = Curve(np.array([0.1, 0.5]), np.array([0.0, 0.75]), np.array([10, 10]))
ACTIVITY = Activity(np.array([0.0, 0.2, 0.3]), np.array([0.01, 0.2, 0.1]), 0.31, 0.4, 20)
THETA = np.random.default_rng(0).dirichlet(np.ones(3), size=(10, 2))
CHECK = pd.Series(
    {"statistic": "item_gini", "real": 0.5, "mean": 0.4, "low": 0.3, "high": 0.45, "tail_probability": 0.1}
)
PROFILE = pd.DataFrame({"context": [0, 0, 1, 1], "category": list("abab"), "share": [0.1, 0.9, 1.0, 0.0]})
PREVALENCE = pd.DataFrame({"context": [0, 1], "mean": [0.3, 0.7], "low": [0.2, 0.6], "high": [0.4, 0.8]})
POINTS = pd.DataFrame({"kl": [2.0, 1.0, 0.0], "nll": [5.0, 6.0, 7.0], "label": ["a", "a", "b"]})
DRAWN = {
    "reliability": lambda axes: figures.draw_reliability(Reliability(CURVE, 0.2, CURVE, 0.1, 5.0, 20), axes),
    "prevalence": lambda axes: figures.draw_prevalence(PREVALENCE, axes),
    "activity": lambda axes: figures.draw_activity(ACTIVITY, axes),
    "profile": lambda axes: figures.draw_profile(PROFILE, axes),
    "theta": lambda axes: figures.draw_theta(THETA, ["one", "other"], axes),
    "predictive check": lambda axes: figures.draw_predictive_check(CHECK, axes),
    "k-hat": lambda axes: figures.draw_k_hat(np.array([0.1, 0.3, 0.9, np.inf]), axes),
    "ranks": lambda axes: figures.draw_ranks(np.arange(100) % 20, 19, axes),
    "frontier": lambda axes: figures.draw_frontier(POINTS, axes),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_and_labelled(name, tmp_path):
    axes = DRAWN[name](None)
    axes.figure.savefig(tmp_path / "figure.png", dpi=40)
    assert axes.get_title() and axes.get_xlabel()
    assert DRAWN[name](axes.figure.add_subplot()) is axes.figure.axes[-1 if name != "profile" else -2]


def lines(axes):
    return [line.get_xydata().tolist() for line in axes.get_lines()]


def test_what_is_shown_is_what_was_given():
    assert [[0.5, 0.75]] in lines(DRAWN["reliability"](None))  # no point at an observed 0
    assert [[0.0, 0.7], [1.0, 0.3]] in lines(DRAWN["prevalence"](None))  # the largest first
    axes = DRAWN["activity"](None)
    assert [bar.get_height() for bar in axes.patches] == [0.2, 0.1, 0.01]
    assert axes.get_title() == "2 of 3 contexts active"
    assert "share of the prior" in figures.draw_activity(Activity(np.ones(2), None, 1.0, 0.5, 9)).get_ylabel()
    assert DRAWN["profile"](None).images[0].get_array().tolist() == [[0.1, 1.0], [0.9, 0.0]]
    assert [[0.5, 0.0]] in lines(DRAWN["predictive check"](None))
    assert DRAWN["k-hat"](None).get_title() == "50.0% of 4 posteriors beyond 0.7"  # infinity is beyond
    assert lines(DRAWN["frontier"](None)) == [[[1.0, 6.0], [2.0, 5.0]], [[0.0, 7.0]]]


def test_each_bar_of_ranks_holds_equally_many_of_them():
    axes = figures.draw_ranks(np.arange(1010) % 101, 100, bins=20)  # 101 is prime
    assert len(axes.containers[0]) == 1
    axes = figures.draw_ranks(np.arange(1000) % 100, 99, bins=15)
    assert [bar.get_height() for bar in axes.containers[0]] == [100] * 10


def test_more_sequences_than_colours_are_refused():
    with pytest.raises(UserError, match="at most 6 sequences"):
        figures.draw_theta(np.ones((2, 7, 3)) / 3, list("abcdefg"))
