"""Posterior predictive checks: do sequences drawn from the trained model look like the real ones?

Axes: N events, S sequences, V items, K contexts, R replications.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import count
from hcrnn_pyro.data.dataset import Sequences, count_repeats
from hcrnn_pyro.errors import require

LEVEL = 0.95  # of the central intervals
STATISTIC_NAMES = {
    "repeated_share": "repeated events, share",
    "distinct_items": "different items per sequence",
    "log_popularity": "popularity, mean log(1 + training count)",
    "item_gini": "Gini coefficient of item counts",
    "context_switches": "switches of context, share of neighbours",
    "context_run": "events in a row of one context, mean",
    "longest_run": "longest such run per sequence, mean",
    "known_neighbours": "neighbours known from training, share",
}


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sequences -> their statistics by name; made once from what the statistics look things up in.

    Attributes:
        counts: (V + 1,) how often training shows each item; padding never.
        neighbours: rising codes of the ordered pairs of items that are neighbours somewhere in training.
        contexts: (V,) the context of each item, as of :func:`hcrnn_pyro.posterior.contexts.item_contexts`.
    """

    counts: np.ndarray
    neighbours: np.ndarray
    contexts: np.ndarray

    @classmethod
    def of(cls, train: Sequences, contexts: np.ndarray) -> Statistics:
        """Prepare them.

        Args:
            train: the training part.
            contexts: (V,) the context of each item of the catalogue.
        """
        counts = count(train.items, len(contexts) + 1)
        return cls(counts, np.unique(_pairs(train, len(contexts))), contexts)

    def __call__(self, sequences: Sequences) -> dict[str, float]:
        """The statistics of some sequences, one of which has two events or more.

        - ``repeated_share``: share of events whose item occurred earlier in its sequence.
        - ``distinct_items``: mean over sequences of the number of different items.
        - ``log_popularity``: mean over events of log(1 + how often training shows the item).
        - ``item_gini``: Gini coefficient of how often each item of the catalogue occurs; 0: all equally often.
        - ``context_switches``: share of neighbouring events whose items belong to different contexts.
        - ``context_run``: mean number of events in a row whose items belong to one context.
        - ``longest_run``: mean over sequences of the longest such run.
        - ``known_neighbours``: share of neighbouring events whose items, in that order, are neighbours in training.
        """
        pairs = _pairs(sequences, len(self.contexts))
        require(len(pairs) > 0, "Neighbouring events are compared, but no sequence has two.")
        contexts = self.contexts[sequences.items - 1]
        runs, owners = _runs(contexts, sequences)
        repeats = count_repeats(sequences)
        longest = np.zeros(len(sequences))
        np.maximum.at(longest, owners, runs)
        occurrences = count(sequences.items, len(self.contexts) + 1)[1:]
        return {
            "repeated_share": repeats / sequences.events,
            "distinct_items": (sequences.events - repeats) / len(sequences),
            "log_popularity": float(np.log1p(self.counts[sequences.items]).mean()),
            "item_gini": gini(occurrences),
            "context_switches": (len(runs) - len(np.unique(owners))) / len(pairs),
            "context_run": float(runs.mean()),
            "longest_run": float(longest.mean()),
            "known_neighbours": float(np.isin(pairs, self.neighbours).mean()),
        }


def predictive_checks(real: Sequences, simulated: Iterable[Sequences], statistics: Statistics) -> pd.DataFrame:
    """Hold every statistic of the real sequences against its law under the model.

    Args:
        real: the sequences.
        simulated: R replications of them, each drawn from the trained model.
        statistics: what to compute.

    Returns:
        A row for each statistic: ``statistic``, ``real``, ``mean``, ``low`` and ``high`` (95 % interval over the
        replications), and ``tail_probability``, two-sided: 2 min(P(T <= real), P(T >= real)), each side as (1 + how
        many replications) / (1 + R), at most 1. Near 0: the model does not produce such sequences. With R replications
        it cannot fall below 2 / (1 + R).
    """
    observed = statistics(real)
    replicated = pd.DataFrame([statistics(sequences) for sequences in simulated])
    require(len(replicated) > 0, "A check needs one simulated replication or more; got none.")
    values = replicated.to_numpy()  # (R, statistics)
    truth = np.array(list(observed.values()))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    sides = np.stack([(values <= truth).sum(axis=0), (values >= truth).sum(axis=0)])
    tail = np.minimum(1.0, 2 * (1 + sides.min(axis=0)) / (1 + len(values)))
    columns = {"real": truth, "mean": values.mean(axis=0), "low": low, "high": high, "tail_probability": tail}
    return pd.DataFrame({"statistic": list(observed), **columns})


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of non-negative numbers: half their mean absolute difference over their mean.

    Args:
        counts: (V,) numbers, not all 0.
    """
    rising = np.sort(counts).astype(float)
    ranks = np.arange(1, len(rising) + 1)
    return float(np.sum((2 * ranks - len(rising) - 1) * rising) / (len(rising) * rising.sum()))


def _pairs(sequences: Sequences, items: int) -> np.ndarray:
    """A number for each pair of neighbouring events of one sequence, which tells their items and order."""
    inside = np.ones(max(sequences.events - 1, 0), dtype=bool)
    ends = sequences.offsets[1:-1]
    inside[ends[(ends > 0) & (ends < sequences.events)] - 1] = False
    flat = sequences.items.astype(np.int64)
    return (flat[:-1] * (items + 1) + flat[1:])[inside]


def _runs(contexts: np.ndarray, sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the runs of one context inside a sequence, and the sequence that each belongs to."""
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    changes = (contexts[1:] != contexts[:-1]) | (rows[1:] != rows[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return np.diff(np.append(starts, len(contexts))), rows[starts]
