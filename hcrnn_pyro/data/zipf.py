"""Large event logs without structure, for measuring what size costs: popularity is all there is to learn.

Axes: N events, S sequences, V items.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import blocks, stack
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import require

SHORTEST = 2  # events of a sequence: one to read and one to predict
SHARES = (0.72, 0.8)  # where train ends and where valid ends, as in the paper's splits


def zipf_data(
    events: int, items: int = 100_000, mean_length: int = 50, exponent: float = 1.0, seed: int = 0
) -> DataSet:
    """Draw a data set of independent events, vectorised; 10^7 events take seconds.

    The item of popularity rank r has probability proportional to r^-exponent, whatever came before it, and ranks are
    spread over the item indices at random. Lengths are 2 plus a share of what is left, in proportion to exponential
    draws: nearly geometric. Items repeat inside sequences.

    Args:
        events: N, over all three parts together and exactly.
        items: V, all of them in the catalogue, drawn or not.
        mean_length: N / S, at least 2.
        exponent: of Zipf's law; 0 makes all items equally popular.
        seed: the same seed gives the same data.

    Returns:
        72 % of the sequences as train, 8 % as valid and 20 % as test; no times, no truth.

    Raises:
        UserError: fewer than 2 items, a mean length below 2, or too few events for ten sequences.
    """
    require(items >= 2, f"Expected at least 2 items; got {items}.")
    require(mean_length >= SHORTEST, f"Expected a mean length of at least {SHORTEST}; got {mean_length}.")
    count = events // mean_length
    require(count >= 10, f"Expected events for ten sequences of {mean_length}, {10 * mean_length}; got {events}.")
    random = np.random.default_rng(seed)
    shares = random.standard_exponential(count)
    lengths = SHORTEST + random.multinomial(events - SHORTEST * count, shares / shares.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    drawn = _zipf(random, items, events, exponent)
    cuts = [0, *(int(share * count) for share in SHARES), count]
    train, valid, test = (_rows(drawn, offsets, start, end) for start, end in pairwise(cuts))
    return DataSet(
        name="zipf",
        train=train,
        valid=valid,
        test=test,
        items=pd.DataFrame({"item_id": np.arange(1, items + 1).astype(str).astype(object)}),
        description=f"{events:,} independent events, popularity Zipf({exponent:g}), seed {seed}",
    )


def _zipf(random: np.random.Generator, items: int, events: int, exponent: float) -> np.ndarray:
    """(N,) int32 item indices 1..V."""
    cumulative = np.cumsum(np.arange(1, items + 1, dtype=np.float64) ** -exponent)
    item_of = (1 + random.permutation(items)).astype(np.int32)  # of each popularity rank

    def draw(count: int) -> np.ndarray:
        return item_of[np.searchsorted(cumulative[:-1], random.random(count) * cumulative[-1], side="right")]

    return stack((draw(block.stop - block.start) for block in blocks(events)), np.int32)


def _rows(drawn: np.ndarray, offsets: np.ndarray, start: int, end: int) -> Sequences:
    """Sequences ``start`` to ``end`` (exclusive), named by their numbers."""
    ids = np.arange(start, end).astype(str).astype(object)
    return Sequences(drawn[offsets[start] : offsets[end]], offsets[start : end + 1] - offsets[start], ids)
