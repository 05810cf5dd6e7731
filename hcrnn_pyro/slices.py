"""Where a recommender is good: the metrics over slices of the test predictions.

Axes: N predictions, V items.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import count
from hcrnn_pyro.data.audit import sequence_hashes, time_gaps
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import summarise
from hcrnn_pyro.published import METRICS
from hcrnn_pyro.side_information import categories_change

PLACES = {"2-5": 5, "6-10": 10, "11-20": 20, "21-50": 50, "51+": np.inf}  # name: the last place, counted from 1
HEAD, TAIL = 0.25, 0.75  # shares of the training events, from the most popular item on
POPULARITIES: pd.Index = pd.Index(["head", "mid", "tail", "unseen"])
NO_YES: pd.Index = pd.Index(["no", "yes"])
TURNS: pd.Index = pd.Index(["new", "pair", "triple"])


def label_predictions(ranks: pd.DataFrame, data: DataSet) -> pd.DataFrame:
    """The slices that each test prediction belongs to.

    Args:
        ranks: rows of the test part of the table of :func:`hcrnn_pyro.evaluation.evaluate`, any of them in any order.
        data: the data set that they were counted on.

    Returns:
        The index of ``ranks`` and a categorical column for each slice, missing where it cannot be told:

        - ``position``: the target's place in its sequence, counted from 1: 2-5, 6-10, 11-20, 21-50, 51+.
        - ``length``: events of the whole sequence, in the same bins.
        - ``popularity``: of the target's item. Items are lined up by how often they occur in training, and equally
          popular ones share a label: an item is ``head`` where less than a quarter of all training events belong to
          strictly more popular items, ``mid`` where less than three quarters do, else ``tail``; and ``unseen`` where
          training lacks it.
        - ``copy``: whether the whole sequence, item by item, also is one of the training part.
        - ``turn``: the longest stretch of items that ends with the target and that the train part has as well: it and
          the two items before it (``triple``), it and the one before (``pair``), or neither (``new``).
        - ``tied``: whether the target's time equals that of the event before it; missing where one is unknown.
        - ``genre_change``: whether the prediction directly follows a change of genre: the last two items before the
          target share no category. Missing for the first target of a sequence, which only one item precedes, and
          where either item has no known category. The target's own genre plays no part, as no model can see it.

    Raises:
        UserError: the ranks are not of this data's test part.
    """
    events = _events_of(ranks, data.test)
    rows = ranks["row"].to_numpy()
    gaps = time_gaps(data.test)[events]
    copies = np.isin(sequence_hashes(data.test), sequence_hashes(data.train))
    labels = {
        "position": _binned(ranks["position"].to_numpy() + 1),
        "popularity": _popularity(data)[data.test.items[events]],
        "length": _binned(data.test.lengths[rows]),
        "copy": _no_yes(copies[rows]),
        "turn": _turn(data)[events],
        "tied": _no_yes(gaps == 0, known=~np.isnan(gaps)),
        "genre_change": _genre_change(data, events, ranks["position"].to_numpy()),
    }
    return pd.DataFrame(labels, index=ranks.index)


def slice_metrics(ranks: pd.DataFrame, labels: pd.DataFrame, filter_seen: bool = False) -> pd.DataFrame:
    """The metrics of every slice that has predictions.

    Args:
        ranks: the table of ranks.
        labels: the slices of the same rows, as of :func:`label_predictions`; a missing label belongs to no slice.
        filter_seen: rank among the items that the prefix has not shown.

    Returns:
        A row for each value of each slice: ``slice``, ``value``, ``predictions``, and recall and MRR at 3 and at 20 in
        percent.
    """
    require(ranks.index.equals(labels.index), "Expected labels of the very rows of the ranks; their indices differ.")
    rows = [
        {"slice": name, "value": value, **summarise(group, filter_seen)}
        for name in labels
        for value, group in ranks.groupby(labels[name], observed=True)
    ]
    return pd.DataFrame(rows, columns=["slice", "value", "predictions", *METRICS])


def _events_of(ranks: pd.DataFrame, test: Sequences) -> np.ndarray:
    """(N,) index of each target among the events of the part, checked by its item."""
    rows, positions = ranks["row"].to_numpy(), ranks["position"].to_numpy()
    inside = bool(np.all((rows >= 0) & (rows < len(test)))) and bool(np.all(positions < test.lengths[rows]))
    parts = set(ranks["part"]) if "part" in ranks else {"test"}
    events = test.offsets[rows] + positions if inside else np.zeros(0, dtype=np.int64)
    fits = inside and parts <= {"test"} and np.array_equal(test.items[events], ranks["item"].to_numpy())
    require(fits, "Expected ranks of the test part of this data set; got rows that are not its predictions.")
    return events


def _binned(places: np.ndarray) -> pd.Categorical:
    return pd.cut(places, [0, *PLACES.values()], labels=list(PLACES))


def _no_yes(flags: np.ndarray, known: np.ndarray | None = None) -> pd.Categorical:
    """Flags as ``no`` and ``yes``, missing where not known."""
    codes = flags.astype(np.int8) if known is None else np.where(known, flags, -1)
    return pd.Categorical.from_codes(codes, categories=NO_YES)


def _popularity(data: DataSet) -> pd.Categorical:
    """The (V + 1,) labels of the items, that of padding unused."""
    counts = count(data.train.items, data.catalogue_size + 1)
    descending = np.sort(counts)[::-1]
    more_popular = np.searchsorted(-descending, -counts)  # how many items are
    share = np.concatenate([[0], np.cumsum(descending)])[more_popular] / max(1, data.train.events)
    codes = np.where(counts == 0, 3, np.searchsorted([HEAD, TAIL], share, side="right"))
    return pd.Categorical.from_codes(codes, categories=POPULARITIES)


def _turn(data: DataSet) -> pd.Categorical:
    """The longest stretch up to each event of the test part that the train part has too."""
    items = np.concatenate([data.train.items, data.test.items]).astype(np.int64)
    places = np.concatenate([_places(data.train), _places(data.test)])
    stretches, codes = items, np.zeros(data.test.events, dtype=np.int8)
    for length in (2, 3):
        # The stretch up to the event before, and this event; -1 where its sequence has not so many.
        longer = np.where(places >= length - 1, np.roll(stretches, 1) * (data.catalogue_size + 1) + items, -1)
        train, test = np.split(longer, [data.train.events])
        codes += np.isin(test, train) & (test >= 0)
        stretches = np.unique(longer, return_inverse=True)[1]  # small numbers again
    return pd.Categorical.from_codes(codes, categories=TURNS)


def _places(sequences: Sequences) -> np.ndarray:
    """(E,) the place of each event in its sequence, from 0."""
    return np.arange(sequences.events) - np.repeat(sequences.offsets[:-1], sequences.lengths)


def _genre_change(data: DataSet, events: np.ndarray, positions: np.ndarray) -> pd.Categorical:
    """Whether the two items before each target share no category."""
    earlier, last = (data.test.items[np.maximum(events - back, 0)] for back in (2, 1))
    changes = categories_change(data.items, earlier, last)
    known = (positions >= 2) & ~np.asarray(changes.isna())
    return _no_yes(changes.to_numpy(dtype=bool, na_value=False), known)
