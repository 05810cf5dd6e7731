"""What the contexts are: the items that lead each of them, how prevalent each is, and which is which in another run.

Axes: K contexts, V items, S draws, B sequences. Column v of an array over items is item index v + 1, as in the rows of
``DataSet.items``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment

from hcrnn_pyro.errors import require

KNOWN = ("title", "categories")  # columns of the items that are shown where they are known


@torch.no_grad()
def context_items(model: Any) -> np.ndarray:
    """How strongly each context speaks for each item, (K, V): the one place that decides it.

    A model that gives every context a law over items, ``context_distributions() -> (K, V + 1)`` probabilities, is read
    by the term score of Blei and Lafferty (2009), p_kv times the logarithm of p_kv over its geometric mean over the
    contexts. Any other is read by its vectors, M_global . item embedding, minus the mean over the contexts. Both leave
    out what an item has in common for all contexts: else the popular items, whose embeddings are long, would lead
    every one of them.

    Args:
        model: a :class:`hcrnn_pyro.contracts.ContextModel`.
    """
    if hasattr(model, "context_distributions"):
        probabilities = model.context_distributions()[:, 1:].double().cpu().numpy()
        logs = np.log(np.maximum(probabilities, np.finfo(float).tiny))
        return probabilities * (logs - logs.mean(axis=0))
    require(hasattr(model, "context_vectors"), f"A {type(model).__name__} has no contexts to look at.")
    vectors = model.context_vectors()
    items = torch.arange(1, model.items + 1, device=vectors.device)
    scores = (vectors @ model.embed(items).T).double().cpu().numpy()
    return scores - scores.mean(axis=0)


def item_contexts(scores: np.ndarray) -> np.ndarray:
    """(V,) the context that speaks most strongly for each item, 0..K-1.

    Args:
        scores: (K, V), as of :func:`context_items`.
    """
    return scores.argmax(axis=0)


def top_items(scores: np.ndarray, top: int) -> np.ndarray:
    """(K, top) item indices 1..V that lead each context, the strongest first; equal scores by index.

    Args:
        scores: (K, V), as of :func:`context_items`.
        top: how many, at most V.
    """
    require(1 <= top <= scores.shape[1], f"Expected 1 to {scores.shape[1]} top items; got {top}.")
    return np.argsort(-scores, axis=1, kind="stable")[:, :top] + 1


def nearest_items(scores: np.ndarray, items: pd.DataFrame, top: int = 10) -> pd.DataFrame:
    """The items that lead each context, by name.

    Args:
        scores: (K, V), as of :func:`context_items`.
        items: the catalogue, V rows, as ``DataSet.items``.
        top: how many of each.

    Returns:
        A row for each context and place: ``context`` (from 0), ``place`` (from 1), ``item_id``, where known ``title``
        and ``categories``, and ``score``.
    """
    _require_catalogue(scores, items)
    leading = top_items(scores, top)
    contexts = np.repeat(np.arange(len(scores)), top)
    shown = items.iloc[leading.ravel() - 1][["item_id", *(name for name in KNOWN if name in items)]]
    shown = shown.reset_index(drop=True)
    shown.insert(0, "context", contexts)
    shown.insert(1, "place", np.tile(np.arange(1, top + 1), len(scores)))
    return shown.assign(score=scores[contexts, leading.ravel() - 1])


def prevalence(theta: np.ndarray, level: float = 0.9) -> pd.DataFrame:
    """How much of all sequences each context takes: the mean of theta_k over the sequences.

    The interval is over draws of that mean: what is not known of these very sequences, given the trained model. It says
    nothing of how far sequences differ from each other.

    Args:
        theta: (S, B, K) draws of the context proportions.
        level: of the central interval.

    Returns:
        A row for each context: ``context``, ``mean``, ``low``, ``high``; the means add up to 1.
    """
    means = theta.mean(axis=1)  # (S, K)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    columns = {"context": np.arange(theta.shape[2]), "mean": means.mean(axis=0), "low": low, "high": high}
    return pd.DataFrame(columns)


class Alignment(NamedTuple):
    """Which context of one run is which of another.

    Attributes:
        partner: (K,) for each context of the first run its partner in the second; no partner comes twice.
        similarity: (K,) their cosine similarity, 1 for the same direction.
    """

    partner: np.ndarray
    similarity: np.ndarray


def align(first: np.ndarray, second: np.ndarray) -> Alignment:
    """Match contexts one to one so that the sum of cosine similarities of their item scores is largest.

    Args:
        first: (K, V) scores of one run, as of :func:`context_items`, or a planted truth, one row for each context.
        second: (L, V) those of another run over the same items, L >= K; L - K of its contexts get no partner.
    """
    fits = first.shape[1] == second.shape[1] and len(first) <= len(second)
    require(fits, f"Expected at least {len(first)} contexts over {first.shape[1]} items; got {second.shape}.")
    similarity = _directions(first) @ _directions(second).T
    rows, partner = linear_sum_assignment(similarity, maximize=True)
    return Alignment(partner, similarity[rows, partner])


def _directions(scores: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    return scores / np.where(lengths > 0, lengths, 1.0)


def _require_catalogue(scores: np.ndarray, items: pd.DataFrame) -> None:
    require(len(items) == scores.shape[1], f"Expected a catalogue of {scores.shape[1]} items; got {len(items)} rows.")
