"""The embedded data set: drawn from a known process, so that every estimate can be held against the truth.

Axes: U users (one sequence each), T events of a sequence, V items, K contexts.

    eta_u   ~ Normal(0, s^2 I_K),  theta_u = softmax(eta_u)          planted context proportions
    z_1     ~ Categorical(theta_u)
    z_t     = z_{t-1} with probability 1 - d, else ~ Categorical(theta_u)    a change of z is a planted drift point
    x_t     ~ with probability r an item of the sequence so far, uniformly (0 where nothing repeats);
              else Categorical(e_z) among the items not yet in the sequence
    e_z     = (1 - n) Zipf over the items of context z + n Zipf over all items

The process is a hidden Markov model given theta, and :class:`hcrnn_pyro.data.truth.Truth` predicts from it as well as
anyone can who knows everything but theta and z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.data.truth import Truth

NAMES = ("adventure", "comedy", "drama", "horror", "musical", "western", "mystery", "romance", "war", "fantasy")
REPEATS = 0.2  # share of repeated events in the variant with repeats


@dataclass(frozen=True)
class SyntheticProcess:
    """The process with all its numbers.

    Attributes:
        users: U, of whom 72 % are train, 8 % valid and 20 % test.
        items: V, spread evenly over the contexts.
        contexts: K, at most as many as there are names.
        shortest, longest: lengths are uniform between these.
        proportion_scale: s; larger makes theta more concentrated.
        drift_probability: d.
        noise: n, share of items drawn from anywhere.
        zipf: exponent of the popularity inside a context.
        repeat_probability: r.
    """

    users: int = 1000
    items: int = 240
    contexts: int = 6
    shortest: int = 10
    longest: int = 30
    proportion_scale: float = 1.5
    drift_probability: float = 0.1
    noise: float = 0.05
    zipf: float = 1.0
    repeat_probability: float = 0.0

    def draw(self, seed: int = 0) -> DataSet:
        """Draw a data set; the same seed gives the same data."""
        random = np.random.default_rng(seed)
        context_of_item = random.permutation(np.arange(self.items) % self.contexts)
        emissions = self.emissions(context_of_item, random)
        thetas = _softmax(self.proportion_scale * random.standard_normal((self.users, self.contexts)))
        lengths = random.integers(self.shortest, self.longest + 1, size=self.users)
        drawn = [
            self._sequence(random, theta, int(length), emissions) for theta, length in zip(thetas, lengths, strict=True)
        ]
        cuts = (int(0.72 * self.users), int(0.8 * self.users))
        users = dict(zip(("train", "valid", "test"), np.split(np.arange(self.users), cuts), strict=True))
        parts: dict[str, Any] = {name: _part(drawn, rows) for name, rows in users.items()}
        truth = Truth(
            emissions=emissions,
            context_of_item=np.concatenate([[-1], context_of_item]),
            drift_probability=self.drift_probability,
            repeat_probability=self.repeat_probability,
            proportion_scale=self.proportion_scale,
            theta={name: thetas[rows] for name, rows in users.items()},
            contexts={name: np.concatenate([drawn[user][1] for user in rows]) for name, rows in users.items()},
        )
        return DataSet(
            name="synthetic",
            items=self._catalogue(context_of_item),
            description=f"drawn from hcrnn_pyro.data.synthetic, seed {seed}: {self.contexts} planted contexts, "
            f"drift probability {self.drift_probability:g}, "
            + (f"{self.repeat_probability:.0%} repeats" if self.repeat_probability else "no repeats"),
            truth=truth,
            **parts,
        )

    def emissions(self, context_of_item: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """e_z: (K, V + 1) item probabilities of each context, column 0 (padding) 0."""
        rank = np.argsort(random.permuted(np.arange(self.items))) + 1
        popularity = 1.0 / rank**self.zipf
        own = np.where(context_of_item == np.arange(self.contexts)[:, None], popularity, 0.0)
        mixed = (1 - self.noise) * own / own.sum(axis=1, keepdims=True) + self.noise * popularity / popularity.sum()
        return np.concatenate([np.zeros((self.contexts, 1)), mixed], axis=1)

    def _sequence(
        self, random: np.random.Generator, theta: np.ndarray, length: int, emissions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items and contexts of one sequence."""
        items = np.zeros(length, dtype=np.int32)
        contexts = np.zeros(length, dtype=np.int64)
        unseen = np.ones(emissions.shape[1], dtype=bool)
        for t in range(length):
            redraw = t == 0 or random.random() < self.drift_probability
            contexts[t] = random.choice(self.contexts, p=theta) if redraw else contexts[t - 1]
            if t > 0 and random.random() < self.repeat_probability:
                items[t] = random.choice(np.flatnonzero(~unseen))
            else:
                weights = emissions[contexts[t]] * unseen
                items[t] = random.choice(len(weights), p=weights / weights.sum())
            unseen[items[t]] = False
        return items, contexts

    def _catalogue(self, context_of_item: np.ndarray) -> pd.DataFrame:
        names = [NAMES[context] for context in context_of_item]
        count = dict.fromkeys(NAMES, 0)
        titles = []
        for name in names:
            count[name] += 1
            titles.append(f"{name} {count[name]}")
        ids = [f"item-{index + 1}" for index in range(self.items)]
        return pd.DataFrame({"item_id": ids, "title": titles, "categories": names})


def synthetic(seed: int = 0, repeats: bool = False) -> DataSet:
    """The embedded default data set.

    Args:
        seed: the same seed gives the same data.
        repeats: let a fifth of the events repeat an earlier item of their sequence.
    """
    return SyntheticProcess(repeat_probability=REPEATS if repeats else 0.0).draw(seed)


def _part(drawn: list[tuple[np.ndarray, np.ndarray]], users: np.ndarray) -> Sequences:
    sequences = [drawn[user][0].tolist() for user in users]
    return Sequences.from_lists(sequences, ids=[f"user-{user}" for user in users])


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
