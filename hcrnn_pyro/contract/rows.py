"""Checks that a row is the same row in any batch: with more padding, and without the company of the others.

Axes: B rows, T time.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.contract.closeness import distance, is_a_point, location_and_scale, moved
from hcrnn_pyro.contract.subject import Subject, latents, traced, values_of
from hcrnn_pyro.contract.toy import batch_of, row_of, with_padding
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import require
from hcrnn_pyro.prediction import PosteriorPredictive

EXTRA = 5


def padding_changes_nothing(subject: Subject) -> None:
    """Neither posterior, density nor prediction depends on how much padding there is."""
    for scope in subject.scopes:
        batch = batch_of(scope)
        told = (
            f"{EXTRA} more padded steps should change nothing; in the {scope} scope they change {{}}. Leave out what "
            "batch.valid marks as padding: sums over it, means that count it, the last position instead of "
            "batch.lengths - 1, a missing hcrnn_pyro.sites.over_steps."
        )
        _require_same_rows(subject, with_padding(batch, EXTRA), batch, slice(None), told)


def company_changes_nothing(subject: Subject) -> None:
    """A row alone is the row in company."""
    for scope in subject.scopes:
        batch = batch_of(scope)
        for row in range(batch.size):
            told = (
                f"A row alone should be the same as the row in a batch; in the {scope} scope row {row} alone changes {{}}. "
                "Compute nothing across the rows of a batch: no mean over dimension 0, no batch normalisation."
            )
            _require_same_rows(subject, batch, row_of(scope, row), slice(row, row + 1), told)


def _require_same_rows(subject: Subject, larger: Batch, smaller: Batch, rows: slice, told: str) -> None:
    """The rows of the larger batch that the smaller has too, with the same latents in both."""
    inferred = traced(subject.guide, larger)
    inside = values_of(inferred)
    cut = {name: _cut(value, smaller, rows) for name, value in inside.items()}
    again = traced(poutine.condition(subject.guide, cut), smaller)
    for name in latents(inferred):
        _require_same_posterior(name, inferred.nodes[name], again.nodes[name], smaller, rows, told)
    drawn = traced(poutine.condition(subject.model, inside), larger)
    redrawn = traced(poutine.condition(subject.model, cut), smaller)
    for name in [*latents(inferred), "next_item"]:
        if name in drawn.nodes and name in redrawn.nodes:
            pair = drawn.nodes[name]["log_prob"][rows], redrawn.nodes[name]["log_prob"]
            _require_same(*pair, told, f"the model's log-density of {name} by up to {{}}")
    if smaller.scope != "sequence":
        _require_same_predictions(subject, larger, smaller, rows, told)


def _require_same_posterior(name: str, before: Any, after: Any, smaller: Batch, rows: slice, told: str) -> None:
    pairs = zip(location_and_scale(before["fn"]), location_and_scale(after["fn"]), strict=True)
    for what, (whole, part) in zip(("mean", "variance"), pairs, strict=True):
        pair = _cut(whole, smaller, rows), part
        if smaller.scope == "filtering":
            pair = pair[0][smaller.valid], pair[1][smaller.valid]
        _require_same(*pair, told, f"the {what} of the guide's {name} by up to {{}}")
    if not is_a_point(before["fn"]):
        _require_same(
            before["log_prob"][rows], after["log_prob"], told, f"the guide's log-density of {name} by up to {{}}"
        )


def _require_same_predictions(subject: Subject, larger: Batch, smaller: Batch, rows: slice, told: str) -> None:
    predict = PosteriorPredictive(subject.model, subject.guide)
    owner = larger.scored.nonzero()[:, 0]
    chosen = torch.isin(owner, torch.arange(larger.size)[rows])
    _require_same(predict(larger)[chosen], predict(smaller), told, "the predictions, log-probabilities by up to {}")


def _require_same(before: Tensor, after: Tensor, told: str, what: str) -> None:
    require(
        before.shape == after.shape,
        told.format(f"a shape: {what.format(f'{tuple(before.shape)} to {tuple(after.shape)}')}"),
    )
    finite = before.isfinite() | after.isfinite()  # an item that may not come again has log-probability -inf in both
    before, after = before[finite], after[finite]
    require(not moved(before, after).any(), told.format(what.format(distance(before, after))))


def _cut(value: Tensor, smaller: Batch, rows: slice) -> Tensor:
    """Of a value with a first axis of rows, and in the filtering scope a second of steps, what the smaller batch has."""
    value = value[rows]
    return value[:, : smaller.inputs.shape[1]] if smaller.scope == "filtering" else value
