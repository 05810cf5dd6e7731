"""Named settings, ``--preset NAME``: the best that were found for a data set, on its validation part."""

from __future__ import annotations

import shlex

from hcrnn_pyro.errors import unknown_choice

MODEL = "hcrnn3-bi"
NEAR_SPECTRAL = "--likelihood without-replacement --item-embeddings spectral --item-scale 0.04 --averaging 0.99"
LONG = "--patience 6 --epochs 45"
HELD = f"{NEAR_SPECTRAL} --hidden 200 --lr 0.001"
"""A wide model whose item embeddings a prior holds near the spectral ones: it learns slowly and long."""
DENSE = f"{HELD} --dropout-in 0.4 --dropout-out 0.6 --batch-size 32 --head-layers 2 {LONG}"
"""The same where every item has many events."""
TIME_FLAG = "--time-intervals"
PRESETS = {"citeulike": f"{HELD} --dropout-in 0.5 --dropout-out 0.7 {LONG}", "movielens": f"{DENSE} {TIME_FLAG}"}
"""Data set -> flags of ``python -m experiments.svi`` besides ``--data`` and ``--model``."""


def preset_flags(name: str) -> list[str]:
    """What ``--preset`` stands for.

    Raises:
        UserError: there is none of that name.
    """
    if name not in PRESETS:
        raise unknown_choice("preset", name, PRESETS)
    return ["--data", name, "--model", MODEL, *shlex.split(PRESETS[name])]
