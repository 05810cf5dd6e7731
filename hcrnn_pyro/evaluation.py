"""The paper's evaluation: every prefix of every sequence, the whole catalogue, no sampled negatives.

``exact`` gives the guide each prefix x_1..x_{t-1} by itself and runs the recurrence under that prefix's theta, as the
authors do; ``one-pass`` reads a sequence once and lets theta_t follow the items up to t (the filtering scope).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch

from hcrnn_pyro.data.batches import Batch, Scope, batches_by_length
from hcrnn_pyro.data.dataset import DataSet, Part, Sequences
from hcrnn_pyro.distributed import gather, share
from hcrnn_pyro.errors import require
from hcrnn_pyro.metrics import CUTOFFS, rank_among_unseen, rank_targets, ranking_metrics
from hcrnn_pyro.prediction import Scorer
from hcrnn_pyro.seen import seen_items

Method = Literal["exact", "one-pass"]
SCOPE_OF: dict[Method, Scope] = {"exact": "prefix", "one-pass": "filtering"}
POSITIONS_OF: dict[Method, int] = {"exact": 6_400, "one-pass": 1_600}  # rows times time of a batch
SCORES = 2**25  # most scores (predictions times items) at a time
Ties = Literal["strict", "pessimistic", "mean"]
HELD_OUT: tuple[Part, ...] = ("valid", "test")


@dataclass(frozen=True)
class EvaluationConfig:
    """How the trained pair is evaluated."""

    evaluation: Method = "exact"
    """exact: the guide reads every prefix by itself (the authors). one-pass: theta follows the sequence, faster."""
    theta_samples: int = 0
    """0 puts theta at its posterior mean (the authors); S averages the probabilities over S posterior draws."""

    def __post_init__(self) -> None:
        require(self.theta_samples >= 0, f"--theta-samples is a number of at least 0; got {self.theta_samples}.")


def evaluate(
    scorer: Scorer,
    sequences: Sequences,
    method: Method,
    device: torch.device | str = "cpu",
    items: int | None = None,
) -> pd.DataFrame:
    """Rank every next item of a part; under ``torchrun`` the ranks share the batches, and all get the whole table.

    Args:
        scorer: batch -> scores of all items at each scored position.
        sequences: the part; sequences of fewer than two events predict nothing.
        method: how the prefixes are read.
        device: where the scorer runs.
        items: V, which bounds how many predictions are scored at a time; ``None``: the part's largest index.

    Returns:
        One row per prediction, in the order of the part: ``row`` (index of the sequence), ``position`` (of the target
        in its sequence, from 1 for the second event), ``item`` (index), ``log_prob``, ``rank`` and
        ``rank_pessimistic`` over the whole catalogue, ``filtered_rank`` and ``filtered_rank_pessimistic`` over the
        items that the prefix has not shown.
    """
    batches = share(evaluation_batches(sequences, method, items))
    parts = gather([evaluate_batch(scorer, batch.to(device)) for batch in batches])
    return pd.concat(parts).sort_values(["row", "position"], ignore_index=True)


def evaluation_batches(sequences: Sequences, method: Method, items: int | None = None) -> Iterator[Batch]:
    """The batches that :func:`evaluate` reads: every prediction of a part once, not too many at a time.

    Args:
        sequences: the part.
        method: how the prefixes are read.
        items: V, which bounds the predictions of a batch; ``None``: the part's largest index.
    """
    require(sequences.predictions > 0, "Nothing to predict: the part has no sequence of two events or more.")
    most = max(1, SCORES // (items or int(sequences.items.max())))
    batches = batches_by_length(sequences, SCOPE_OF[method], POSITIONS_OF[method])
    return (portion for batch in batches for portion in _portions(batch, most))


def _portions(batch: Batch, most: int) -> Iterator[Batch]:
    """The predictions of a batch in portions of at most ``most``, each with the rows it needs."""
    positions = batch.scored.flatten().nonzero()[:, 0]
    for chosen in positions.split(most) if len(positions) else ():
        scored = torch.zeros_like(batch.scored)
        scored.view(-1)[chosen] = True
        yield replace(batch, scored=scored).take(scored.any(dim=1))


@torch.no_grad()
def evaluate_batch(scorer: Scorer, batch: Batch) -> pd.DataFrame:
    """The predictions of one batch, as :func:`evaluate` gives them."""
    scores = scorer(batch)
    targets = batch.targets[batch.scored]
    raw = rank_targets(scores, targets)
    filtered = rank_among_unseen(raw, scores, targets, seen_items(batch.inputs, batch.queries, batch.scored))
    columns = {
        "row": batch.rows.unsqueeze(1).expand_as(batch.targets)[batch.scored],
        "position": batch.queries[batch.scored] + 1,
        "item": targets,
        "log_prob": scores.gather(1, targets.unsqueeze(1)).squeeze(1),
        "rank": raw.strict,
        "rank_pessimistic": raw.pessimistic,
        "filtered_rank": filtered.strict,
        "filtered_rank_pessimistic": filtered.pessimistic,
    }
    return pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})


def evaluate_parts(
    scorers: Mapping[Part, Scorer], data: DataSet, method: Method, device: torch.device | str = "cpu"
) -> tuple[dict[str, dict[str, float]], pd.DataFrame]:
    """Evaluate the valid and the test part.

    Args:
        scorers: of ``valid`` and of ``test``: the same, unless what is tested was trained on the valid part.
        data: both parts.
        method: how the prefixes are read.
        device: where the scorers run.

    Returns:
        Metrics by column (``valid``, ``test``, ``test_filter_seen``, and ``test`` with pessimistic and mean ties), and
        the ranks of all predictions, with columns ``part``, ``sequence`` (its name) and ``item_id`` added.
    """
    tables = {part: evaluate(scorers[part], data.part(part), method, device, data.catalogue_size) for part in HELD_OUT}
    named = [_with_names(table, data, part) for part, table in tables.items()]
    test = tables["test"]
    metrics = {
        "valid": summarise(tables["valid"]),
        "test": summarise(test),
        "test_filter_seen": summarise(test, filter_seen=True),
        "test_pessimistic_ties": summarise(test, ties="pessimistic"),
        "test_mean_ties": summarise(test, ties="mean"),
    }
    return metrics, pd.concat(named, ignore_index=True)


def _with_names(table: pd.DataFrame, data: DataSet, part: Part) -> pd.DataFrame:
    named = {
        "part": part,
        "sequence": data.part(part).ids[table["row"]],
        "item_id": data.items["item_id"].to_numpy()[table["item"] - 1],
    }
    return table.assign(**named)


def summarise(
    ranks: pd.DataFrame, filter_seen: bool = False, ties: Ties = "strict", cutoffs: tuple[int, ...] = CUTOFFS
) -> dict[str, float]:
    """Metrics in percent over all predictions and their number; unfiltered also ``nll``, in nats per prediction.

    Args:
        ranks: the table of :func:`evaluate`.
        filter_seen: rank among the items that the prefix has not shown.
        ties: ``strict`` counts items scored higher (the paper), ``pessimistic`` those scored at least as high, ``mean``
            is halfway.
        cutoffs: the k of ``recall@k`` and ``mrr@k``.
    """
    prefix = "filtered_rank" if filter_seen else "rank"
    strict, pessimistic = ranks[prefix].to_numpy(), ranks[f"{prefix}_pessimistic"].to_numpy()
    chosen = {"strict": strict, "pessimistic": pessimistic, "mean": (strict + pessimistic) / 2}[ties]
    likelihood = {} if filter_seen else {"nll": float(-np.mean(ranks["log_prob"]))}
    return ranking_metrics(chosen, cutoffs) | likelihood | {"predictions": len(ranks)}
