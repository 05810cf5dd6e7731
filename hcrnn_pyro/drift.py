"""Does HCRNN notice that an interest drifts? What its gates decide at each event, held against what drift may be.

The paper's assumption: where an item and the local context disagree, x_t * c_t is small, r_t and G_t^d fall, and h_t
looks at the item instead of h_{t-1}. What is read here are means over the units of a gate.

Axes: B rows, T time, N events, H hidden, E embedding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from pyro import poutine
from torch import Tensor, nn

from hcrnn_pyro.data.audit import time_gaps
from hcrnn_pyro.data.batches import Batch, batches_by_length
from hcrnn_pyro.data.dataset import DataSet, Part, Sequences
from hcrnn_pyro.detection import clustered_auc
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import evaluate
from hcrnn_pyro.kernels.reference import ScanResult
from hcrnn_pyro.prediction import PosteriorPredictive, posterior_means
from hcrnn_pyro.side_information import categories_change

POSITIONS = 1_600  # rows times time of a batch
FALLS = ("history_kept", "reset_gate", "drift_gate", "agreement")
RISES = ("update_gate", "local_gate", "surprise", "seconds")
SIGNALS = FALLS + RISES
NO_GATES = "A {} has no gates to read; take a run of an HCRNN."
DRIFTS = ("planted", "genre", "pause")


@runtime_checkable
class GatedModel(Protocol):
    """A model whose recurrence has the gates of HCRNN."""

    def reading(self, batch: Batch, theta: Tensor) -> ScanResult:
        """The states after every step, with what each gate decided."""
        ...

    def embed(self, items: Tensor) -> Tensor:
        """Item indices -> their embeddings."""
        ...


def drift_signals(
    model: nn.Module,
    guide: nn.Module,
    sequences: Sequences,
    device: torch.device | str = "cpu",
    items: int | None = None,
) -> pd.DataFrame:
    """What the model decides and thinks at each event, in one pass: theta_t is the posterior mean given x_1..x_t.

    Args:
        model: a trained HCRNN, in evaluation mode.
        guide: its guide.
        sequences: the part to read.
        device: where both are.
        items: V, which bounds how many predictions are made at a time; ``None``: the part's largest index.

    Returns:
        A row for each event but the first and the last of a sequence (the model reads no event that none follows):
        ``row`` (index of the sequence), ``position`` (of the event in it, 1 for the second), ``item`` (index), and

        - ``history_kept``: mean of r_t * G_t^d over the units, the paper's measure; in (0, 1). It falls at a drift.
        - ``reset_gate``, ``drift_gate``: means of r_t and of G_t^d (1 in HCRNN-1 and -2, which have none).
        - ``agreement``: cosine of the item's embedding and the local context c_t.
        - ``update_gate``, ``local_gate``: means of z_t and of G_t^c, how much of h_t and c_t is new. They rise.
        - ``surprise``: -log p(x_t | x_1..x_{t-1}), nats, which any recommender has: what a gate should do better than.
          NaN where the part does not predict the event.

    Raises:
        UserError: the model has no such gates, or no sequence has three events.
    """
    require(isinstance(model, GatedModel), NO_GATES.format(type(model).__name__))
    require(bool((sequences.lengths >= 3).any()), "No sequence has an event between its first and its last one.")
    frames = [
        _of_batch(model, guide, batch.to(device)) for batch in batches_by_length(sequences, "filtering", POSITIONS)
    ]
    ranks = evaluate(PosteriorPredictive(model, guide), sequences, "one-pass", device, items)
    surprise = ranks[["row", "position"]].assign(surprise=-ranks["log_prob"])
    events = pd.concat(frames).merge(surprise, how="left", on=["row", "position"])
    return events.sort_values(["row", "position"], ignore_index=True)


@torch.no_grad()
def _of_batch(model: Any, guide: nn.Module, batch: Batch) -> pd.DataFrame:
    conditioned = poutine.condition(model, data=posterior_means(guide, batch))
    none_predicted = replace(batch, scored=torch.zeros_like(batch.scored))
    nodes: Any = poutine.trace(conditioned).get_trace(none_predicted).nodes
    states = model.reading(batch, nodes["theta"]["value"])
    gates = states.gates
    require(gates is not None, NO_GATES.format(type(model).__name__))
    signals = {
        "history_kept": (gates.reset_gate * gates.drift_gate).mean(dim=-1),
        "reset_gate": gates.reset_gate.mean(dim=-1),
        "drift_gate": gates.drift_gate.mean(dim=-1),
        "agreement": nn.functional.cosine_similarity(model.embed(batch.inputs), states.local_context, dim=-1),
        "update_gate": gates.update_gate.mean(dim=-1),
        "local_gate": gates.local_gate.mean(dim=-1),
    }
    steps = torch.arange(batch.inputs.shape[1], device=batch.inputs.device).expand_as(batch.inputs)
    columns = {"row": batch.rows[:, None].expand_as(steps), "position": steps, "item": batch.inputs, **signals}
    chosen = batch.valid & (steps > 0)
    return pd.DataFrame({name: column[chosen].cpu().numpy() for name, column in columns.items()})


def possible_drifts(data: DataSet, part: Part, pause: float) -> pd.DataFrame:
    """What may be a drift of interest, of each event of a part, whatever any model says.

    Args:
        data: the data set.
        part: the part.
        pause: seconds from which on an interval counts as a pause.

    Returns:
        ``row`` and ``position`` of each event but the first of a sequence; ``seconds`` since the event before, NaN
        where unknown; and nullable booleans, missing where it cannot be told, of those that the data tell of:

        - ``planted``: the event comes from another context than the one before (data drawn from a known process).
        - ``genre``: the item shares no category with the one before.
        - ``pause``: at least ``pause`` seconds went by since the event before.
    """
    sequences = data.part(part)
    position = np.arange(sequences.events) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    later = np.flatnonzero(position > 0)
    seconds = time_gaps(sequences)[later]
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)[later]
    labels = pd.DataFrame({"row": rows, "position": position[later], "seconds": seconds})
    if data.truth is not None:
        labels["planted"] = pd.array(data.truth.drift_points(part, sequences.offsets)[later], dtype="boolean")
    changes = categories_change(data.items, sequences.items[later - 1], sequences.items[later])
    if not changes.isna().all():
        labels["genre"] = changes
    if not np.isnan(seconds).all():
        labels["pause"] = pd.array(seconds >= pause, dtype="boolean")
        labels.loc[np.isnan(seconds), "pause"] = pd.NA
    return labels


def detection(events: pd.DataFrame) -> pd.DataFrame:
    """How well each signal tells where a drift is.

    Args:
        events: of :func:`drift_signals`, with the drifts of :func:`possible_drifts`.

    Returns:
        A row for each drift that is known at some events and not at all of them, and each signal that varies,
        ``seconds`` among them, which needs no model: ``drift``, ``events`` (whose kind and signal are known), ``share``
        of drifts in them, ``signal``, ``at_drift`` and ``elsewhere`` (its means), and ``auc``, ``low``,
        ``high``: the chance that it points to a drift rather than to another event, with a 95 % interval over
        sequences. 0.5: it tells nothing; below: it points the other way.
    """
    rows = []
    for drift in (name for name in DRIFTS if name in events):
        for signal in SIGNALS:
            known = events[events[drift].notna() & events[signal].notna()]
            is_drift, values = known[drift].to_numpy(dtype=bool), known[signal].to_numpy(dtype=np.float64)
            # A pause is nothing but a number of seconds.
            if (drift, signal) == ("pause", "seconds") or min(len(np.unique(is_drift)), len(np.unique(values))) < 2:
                continue
            area = clustered_auc(-values if signal in FALLS else values, is_drift, known["row"].to_numpy())
            means = {"at_drift": values[is_drift].mean(), "elsewhere": values[~is_drift].mean()}
            found = {"auc": area.value, "low": area.low, "high": area.high}
            rows.append(
                {"drift": drift, "events": len(known), "share": is_drift.mean(), "signal": signal, **means, **found}
            )
    columns = ["drift", "events", "share", "signal", "at_drift", "elsewhere", "auc", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
