"""Contexts against what a catalogue knows of its items: their categories, such as a film's genres.

Axes: V items, G categories, K contexts, n top items, N things (items or sequences) that have a context each.

An item of several categories belongs to each of them with an equal share of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import require


def category_memberships(items: pd.DataFrame) -> pd.DataFrame:
    """Share with which each item belongs to each category.

    Args:
        items: the catalogue with its column ``categories``: names joined by ``|``.

    Returns:
        (V, G), a column for each category in alphabetical order; a row adds up to 1, or to 0 where none is known.
    """
    require(
        "categories" in items, "This data set's items have no categories, so contexts have none to be held against."
    )
    flags = items["categories"].fillna("").str.get_dummies("|").astype(float).reset_index(drop=True)
    flags = flags.drop(columns="", errors="ignore")  # some versions of pandas take no name for a name
    return flags.div(flags.sum(axis=1).clip(lower=1.0), axis=0)


def sequence_memberships(sequences: Sequences, memberships: pd.DataFrame) -> pd.DataFrame:
    """(S, G) share of each category in each sequence: the mean over its events.

    Args:
        sequences: of one event or more each.
        memberships: of the items, as of :func:`category_memberships`.
    """
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    events = memberships.iloc[sequences.items - 1].reset_index(drop=True)
    return events.groupby(rows).mean()


def category_profile(top: np.ndarray, items: pd.DataFrame) -> pd.DataFrame:
    """Which categories the top items of each context have.

    Args:
        top: (K, n) item indices 1..V of each context, as of :func:`hcrnn_pyro.posterior.contexts.top_items`.
        items: the catalogue with its column ``categories``.

    Returns:
        A row for each context and category: ``context``, ``category``, ``share`` (of the top items that have the
        category, among others: a context's shares may add up to more than 1) and ``lift`` (that share over the share
        of the whole catalogue; 1: as many as by chance).
    """
    flags = category_memberships(items) > 0
    catalogue = flags.mean().to_numpy()  # (G,), all above 0
    shares = flags.to_numpy()[top - 1].mean(axis=1)  # (K, G)
    rows = pd.MultiIndex.from_product([range(len(top)), flags.columns], names=["context", "category"])
    columns = {"share": shares.ravel(), "lift": (shares / catalogue).ravel()}
    return pd.DataFrame(columns, index=rows).reset_index()


@dataclass(frozen=True)
class GenreInformation:
    """How much contexts and categories tell of each other.

    Attributes:
        nmi: normalised mutual information, 0 for nothing.
        chance_mean: its mean where contexts are dealt out at random: well above 0 for small data.
        chance_95: its 95th percentile there.
        p_value: share of the random deals, this one included, that reach ``nmi``.
        things: how many items or sequences have a category and so were counted.
    """

    nmi: float
    chance_mean: float
    chance_95: float
    p_value: float
    things: int


def genre_information(
    contexts: np.ndarray, memberships: pd.DataFrame, permutations: int = 1000, seed: int = 0
) -> GenreInformation:
    """Mutual information of the context of a random thing and of one of its categories, drawn by its shares.

    The joint law is p(k, g) = (1 / N) sum over the things i of context k of their share in category g, and
    NMI = 2 I(k; g) / (H(k) + H(g)). Where things have several categories, no contexts can reach 1. The baseline deals
    the same contexts out at random.

    Args:
        contexts: (N,) the context of each thing, 0..K-1.
        memberships: (N, G) shares, as of :func:`category_memberships`; rows of zeros are left out.
        permutations: number of random deals.
        seed: of these deals.
    """
    shares = memberships.to_numpy()
    require(len(contexts) == len(shares), f"Expected a context for each of {len(shares)} rows; got {len(contexts)}.")
    known = shares.sum(axis=1) > 0
    require(bool(known.any()), "No item has a known category, so contexts have none to be held against.")
    contexts, shares = contexts[known], shares[known] / shares[known].sum(axis=1, keepdims=True)
    observed = _nmi(contexts, shares)
    random = np.random.default_rng(seed)
    chance = np.array([_nmi(random.permutation(contexts), shares) for _ in range(permutations)])
    reached = int(np.sum(chance >= observed - 1e-12))  # deals that only differ by rounding are as good
    return GenreInformation(
        nmi=observed,
        chance_mean=float(chance.mean()),
        chance_95=float(np.quantile(chance, 0.95)),
        p_value=(1 + reached) / (1 + permutations),
        things=len(shares),
    )


def _nmi(contexts: np.ndarray, shares: np.ndarray) -> float:
    joint = np.zeros((int(contexts.max()) + 1, shares.shape[1]))
    np.add.at(joint, contexts, shares / len(shares))
    of_context, of_category = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    if of_context + of_category == 0:
        return 0.0  # one context and one category: nothing to tell
    return 2 * max(0.0, of_context + of_category - _entropy(joint.ravel())) / (of_context + of_category)


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log(positive)))
