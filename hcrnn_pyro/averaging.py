"""Averages of the weights over the last steps of training, which predict better than the weights of any one step.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, with exponential forgetting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARM_UP = (
    10  # after n steps at most (1 + n) / (WARM_UP + n) of the average is kept, so that the start is soon forgotten
)


class WeightAverage(nn.Module):
    """average <- decay * average + (1 - decay) * weights, after every step; part of its owner's checkpoint.

    Args:
        module: whose trainable parameters are averaged.
        decay: share of the average that a step keeps, in [0, 1); 0 makes the average the weights themselves.
    """

    steps: Tensor

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.weights = [parameter for parameter in module.parameters() if parameter.requires_grad] if decay else []
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        for index, weight in enumerate(self.weights):
            self.register_buffer(f"average{index}", weight.detach().clone())

    @property
    def averages(self) -> list[Tensor]:
        """The averages, in the order of the module's trainable parameters."""
        return [self.get_buffer(f"average{index}") for index in range(len(self.weights))]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        if not self.weights:
            return
        self.steps += 1
        steps = int(self.steps)
        kept = min(self.decay, (1 + steps) / (WARM_UP + steps))
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.lerp_(weight, 1.0 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averages for its weights inside the block, and the weights of the last step after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self.weights, self.averages, strict=True):
            last = weight.clone()
            weight.copy_(average)
            average.copy_(last)
