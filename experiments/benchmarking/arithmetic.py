"""The least that a training step must calculate, and how fast this machine could.

Axes: B rows, T time, N scored predictions, V items, H = E hidden and embedding size, K contexts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from experiments.benchmarking.measure import Clock
from hcrnn_pyro.data.batches import Batch

TRAINING = 3  # a product is made once forward, and twice backward: for the gradients of both factors
PRODUCT_SIZE = 1024  # rows and columns of the matrices whose product shows the peak
SIGMOIDS = 2**14  # few enough to stay in cache
READINGS = 10


@dataclass(frozen=True)
class Operations:
    """Arithmetic of one pass, forward.

    Attributes:
        products: multiplications and additions of matrix products.
        sigmoids: sigmoids inside the attention scores, which are the only elementwise work that grows as fast.
    """

    products: float
    sigmoids: float = 0.0


def hcrnn_operations(batch: Batch, items: int, size: int, contexts: int) -> dict[str, Operations]:
    """Forward arithmetic of HCRNN-3+Bi on a batch of the sequence scope, by part; padding counts nothing.

    Args:
        batch: B rows.
        items: V.
        size: H = E.
        contexts: K.
    """
    steps = int(batch.lengths.sum())
    pairs = int((batch.lengths * (batch.lengths + 1)).sum()) // 2  # a query and a key that is not behind it
    predictions = int(batch.scored.sum())
    square = 2 * size**2
    projected = steps * 3 + min(steps, size)  # vectors: W_ca1 W_ca2^T in one where that is cheaper
    return {
        "guide": Operations(batch.size * (square + 2 * 2 * size * contexts)),
        "recurrence": Operations(
            contexts * square + steps * (12 * square + 2 * 2 * contexts * size), steps * contexts * size
        ),
        "readout": Operations(projected * square + pairs * 4 * 2 * size, pairs * size),
        "output layer": Operations(predictions * (3 * square + 2 * size * items)),
    }


@dataclass(frozen=True)
class Peak:
    """What a device reaches on nothing but products or sigmoids, in float32.

    Attributes:
        products: multiplications and additions a second.
        sigmoids: sigmoids a second, each with its derivative.
    """

    products: float
    sigmoids: float

    def seconds(self, forward: Operations) -> float:
        """The least time for training, forward and backward."""
        return TRAINING * forward.products / self.products + forward.sigmoids / self.sigmoids


def measure_peak(device: str) -> Peak:
    """The best of some readings, on the threads that torch has now; seconds as :class:`Clock` counts them."""
    clock = Clock(device)
    left, right = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device) for _ in range(2))
    values, gradient = (torch.randn(SIGMOIDS if device == "cpu" else 2**26, device=device) for _ in range(2))

    def sigmoids() -> None:
        for _ in range(100):
            torch.ops.aten.sigmoid_backward(gradient, values.sigmoid())

    product = min(clock(lambda: left @ right) for _ in range(READINGS))
    sigmoid = min(clock(sigmoids) for _ in range(READINGS))
    return Peak(2 * PRODUCT_SIZE**3 / product, 100 * len(values) / sigmoid)
