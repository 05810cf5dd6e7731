"""The softmax over the catalogue and its gradients in compiled loops, for scores that are few enough to keep.

The scores lie in strips of some items for all predictions. Then each of the three products reads numbers that lie side
by side, and the loops that a product by tiles consists of find most of them in the nearest cache.

Axes: N predictions, V items, E embedding, S strips, W items of a strip (the last one is filled up).
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels.exponentials import LEAST
from hcrnn_pyro.kernels.loops import compiled, exponential
from hcrnn_pyro.kernels.tiles import add_outer_products, add_product, put_product
from hcrnn_pyro.seen import SeenItems

WIDTH = 48  # items of a strip: two tiles, and their embeddings stay in the nearest cache
PANEL = 64  # predictions at a time, for the same reason


NOTHING_SEEN = tuple(torch.empty(shape, dtype=torch.int64) for shape in ((0, 0), 0, 0))


class Exponentials(NamedTuple):
    """exp(score - offset) of all items at all predictions.

    Attributes:
        strips: the exponentials; 0 for excluded items and behind the last one.
        offset: each prediction's largest score; the least finite number where all items are excluded.
        total: the sum of its exponentials.
    """

    strips: Float[Tensor, "strips predictions width"]
    offset: Float[Tensor, "predictions 1"]
    total: Float[Tensor, "predictions 1"]


def exponentials(
    features: Float[Tensor, "predictions embedding"],
    items: Float[Tensor, "items embedding"],
    seen: SeenItems | None,
) -> Exponentials:
    """Of the scores f_n . w_v.

    Args:
        features: f.
        items: w, without a row for padding.
        seen: items of probability 0 at each prediction; item v + 1 has row v of ``items``.
    """
    predictions, strips = len(features), -(-len(items) // WIDTH)
    made = Exponentials(
        strips=features.new_empty(strips, predictions, WIDTH),
        offset=features.new_empty(predictions, 1),
        total=features.new_empty(predictions, 1),
    )
    columns = features.new_empty(strips, items.shape[1], WIDTH)
    _lay_out(_array(items), columns.numpy())
    which = NOTHING_SEEN if seen is None else (seen.items, seen.rows, seen.positions)
    arrays = [_array(tensor) for tensor in (features, columns, *which, *made)]
    _exponentials(*arrays, len(items), LEAST[features.dtype])
    return made


def products(
    made: Exponentials,
    items: Float[Tensor, "items embedding"],
    shares: Float[Tensor, "predictions embedding"],
    to_features: Float[Tensor, "predictions embedding"],
    to_items: Float[Tensor, "items embedding"],
) -> None:
    """Write exponentials @ items to ``to_features``, and exponentials.T @ shares to ``to_items``; both contiguous."""
    strips = _array(made.strips)
    _products(strips, _array(items), _array(shares), to_features.numpy(), to_items.numpy())


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


@compiled
@no_type_check
def _lay_out(items, columns):
    """Write the item embeddings as columns, strip by strip; zeros fill the last one up."""
    columns[-1, :, len(items) - (len(columns) - 1) * WIDTH :] = 0
    for v in range(len(items)):
        strip = columns[v // WIDTH]
        for e in range(items.shape[1]):
            strip[e, v % WIDTH] = items[v, e]


@compiled
@no_type_check
def _exponentials(features, columns, events, rows, positions, strips, offset, total, items, least):
    for start in range(0, len(features), PANEL):
        stop = min(start + PANEL, len(features))
        for s in range(len(strips)):
            put_product(start, stop, features, 0, columns[s], strips[s], 0)
        strips[-1, start:stop, items - (len(strips) - 1) * WIDTH :] = -np.inf
        if len(rows) > 0:
            forbid(start, stop, items, events, rows, positions, strips)
        exponentiate(start, stop, least, strips, offset, total)


@compiled
@no_type_check
def forbid(start, stop, items, events, rows, positions, strips):
    """Give minus infinity to what the predictions have seen."""
    for n in range(start, stop):
        for t in range(positions[n] + 1):
            item = events[rows[n], t] - 1
            if 0 <= item < items:
                strips[item // WIDTH, n, item % WIDTH] = -np.inf


@compiled
@no_type_check
def exponentiate(start, stop, least, strips, offset, total):
    """Put the exponentials in the place of the scores; that of what is below ``least`` is 0."""
    zero, some = strips.dtype.type(0), np.empty(WIDTH, strips.dtype)
    for n in range(start, stop):
        some[:] = np.finfo(strips.dtype).min  # where all are excluded: -inf - -inf would not be a number
        for s in range(len(strips)):
            row = strips[s, n]
            for c in range(WIDTH):
                some[c] = row[c] if row[c] > some[c] else some[c]
        largest = some.max()
        sums = zero
        for s in range(len(strips)):
            row = strips[s, n]
            for c in range(WIDTH):
                x = row[c] - largest
                value = zero if x < least else exponential(x)
                row[c] = value
                sums += value
        offset[n, 0], total[n, 0] = largest, sums


@compiled
@no_type_check
def _products(strips, items, shares, to_features, to_items):
    to_features[:] = 0
    for s in range(len(strips)):
        some = slice(s * WIDTH, (s + 1) * WIDTH)
        add_product(0, len(to_features), strips[s], 0, items[some], to_features, 0)
        to_items[some] = 0
        add_outer_products(0, len(to_items[some]), strips[s], shares, to_items[some])
