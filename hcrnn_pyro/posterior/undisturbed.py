"""Looking at a pair while it is trained, and leaving no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def undisturbed(*parts: Any, seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, the parts are in evaluation mode and random numbers start from a seed; afterwards all is as it was.

    Args:
        parts: model and guide; those that are no modules have no mode.
        seed: of the random numbers drawn inside.
        device: where they are drawn.
    """
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    training = [module for module in modules if module.training]
    for module in training:  # one by one: a guide may share modules with its model, each in a mode of its own
        module.training = False
    try:
        with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        for module in training:
            module.training = True
