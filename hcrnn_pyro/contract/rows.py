"""Checks that a row is the same row in any batch: with more padding, and without the company of the others.

Axes: B rows, T time, N predictions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.contract.closeness import distance, is_a_point, location_and_scale, moved
from hcrnn_pyro.contract.subject import Subject, latents, site, traced, values_of
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
        _require_same_rows(subject, _seen(subject, with_padding(batch, EXTRA)), batch, slice(None), told)


def company_changes_nothing(subject: Subject) -> None:
    """A row alone is the row in company; a short one in the middle has neighbours and padding to lose."""
    for scope in subject.scopes:
        batch = batch_of(scope)
        company = _Seen(batch, *subject.runs[scope], subject.predictions.get(scope))
        row = batch.size // 2
        told = (
            f"A row alone should be the same as the row in a batch; in the {scope} scope row {row} alone changes "
            "{}. Compute nothing across the rows of a batch: no mean over dimension 0, no batch normalisation."
        )
        _require_same_rows(subject, company, row_of(scope, row), slice(row, row + 1), told)


class _Seen(NamedTuple):
    """What the parts make of a batch."""

    batch: Batch
    inferred: poutine.Trace
    drawn: poutine.Trace
    predicted: Tensor | None


def _seen(subject: Subject, batch: Batch, values: dict[str, Tensor] | None = None) -> _Seen:
    """The guide's and the model's densities at the given values, or at those that the guide draws."""
    inferred = traced(subject.guide if values is None else poutine.condition(subject.guide, values), batch)
    values = values_of(inferred) if values is None else values
    drawn = traced(poutine.condition(subject.model, values), batch)
    predict = PosteriorPredictive(subject.model, subject.guide)
    return _Seen(batch, inferred, drawn, None if batch.scope == "sequence" else predict(batch))


def _require_same_rows(subject: Subject, larger: _Seen, smaller: Batch, rows: slice, told: str) -> None:
    """The rows of the larger batch that the smaller has too, with the same latents in both."""
    names = latents(larger.inferred)
    values = {name: _cut(value, smaller, rows) for name, value in values_of(larger.inferred).items()}
    again = _seen(subject, smaller, values)
    for name in names:
        _require_same_posterior(name, larger, again, rows, told)
    for name in [*names, "next_item"]:
        densities = site(larger.drawn, name)["log_prob"][rows], site(again.drawn, name)["log_prob"]
        _require_same(*densities, told, f"the model's log-density of {name}")
    if larger.predicted is not None and again.predicted is not None:
        owners = larger.batch.scored.nonzero()[:, 0]
        chosen = torch.isin(owners, torch.arange(larger.batch.size)[rows])
        _require_same(larger.predicted[chosen], again.predicted, told, "the log-probabilities of the next items")


def _require_same_posterior(name: str, larger: _Seen, smaller: _Seen, rows: slice, told: str) -> None:
    before, after = site(larger.inferred, name), site(smaller.inferred, name)
    laws = zip(location_and_scale(before["fn"]), location_and_scale(after["fn"]), strict=True)
    for what, (whole, part) in zip(("mean", "variance"), laws, strict=True):
        cut = _cut(whole, smaller.batch, rows)
        if smaller.batch.scope == "filtering":
            cut, part = (steps[smaller.batch.valid] for steps in (cut, part))
        _require_same(cut, part, told, f"the {what} of the guide's {name}")
    if not is_a_point(before["fn"]):
        _require_same(before["log_prob"][rows], after["log_prob"], told, f"the guide's log-density of {name}")


def _require_same(before: Tensor, after: Tensor, told: str, what: str) -> None:
    shapes = f"the shape of {what}, from {tuple(before.shape)} to {tuple(after.shape)}"
    require(before.shape == after.shape, told.format(shapes))
    finite = before.isfinite() | after.isfinite()  # an item that may not come again has log-probability -inf in both
    before, after = before[finite], after[finite]
    require(not moved(before, after).any(), told.format(f"{what} by up to {distance(before, after)}"))


def _cut(value: Tensor, smaller: Batch, rows: slice) -> Tensor:
    """What the smaller batch has of a value whose first axis is rows and, when filtering, whose second is steps."""
    value = value[rows]
    return value[:, : smaller.inputs.shape[1]] if smaller.scope == "filtering" else value
