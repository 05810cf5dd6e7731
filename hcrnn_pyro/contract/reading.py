"""Checks of what is read when: never the future, always the past, and one posterior for one past.

Axes: B rows, T time.
"""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from hcrnn_pyro.contract.closeness import distance, location_and_scale, moved
from hcrnn_pyro.contract.subject import DoesNotApply, Subject, latents, site, traced, values_of
from hcrnn_pyro.contract.toy import OTHER_FIRST_INPUT, OTHER_FUTURE, OTHER_LAST_INPUT, SAME_PAST, SEQUENCES, batch_of
from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.data.batches import Batch, Scope
from hcrnn_pyro.errors import require

CHANGE = f"after x_{SAME_PAST + 1} and what follows were changed"


def the_future_is_not_read(subject: Subject) -> None:
    """Guide, theta and prediction at step t depend on x_1..x_t alone."""
    if "filtering" in subject.scopes:
        _require_causal_guide(subject)
        _require_causal_prior(subject)
    for scope in subject.prediction_scopes:
        before, after = _predictions(subject, scope)
        _require_same_steps(before, after, scope, "the model's prediction")


def _require_causal_guide(subject: Subject) -> None:
    ours, theirs = (traced(subject.guide, batch) for batch in _two("filtering"))
    for name in latents(ours):
        pairs = zip(
            location_and_scale(site(ours, name)["fn"]), location_and_scale(site(theirs, name)["fn"]), strict=True
        )
        for what, (before, after) in zip(("mean", "variance"), pairs, strict=True):
            _require_same_steps(before[0], after[0], "filtering", f"the {what} of the guide's {name}")


def _require_causal_prior(subject: Subject) -> None:
    ours, theirs = _two("filtering")
    values = values_of(traced(subject.model, ours))
    traces = [traced(poutine.condition(subject.model, values), batch) for batch in (ours, theirs)]
    if all("theta" in trace.nodes for trace in traces):
        before, after = (site(trace, "theta")["value"][0] for trace in traces)
        _require_same_steps(before, after, "filtering", "theta, with the same latents,")


def _require_same_steps(before: Tensor, after: Tensor, scope: Scope, what: str) -> None:
    """Values of the first sequence's steps, time first."""
    changed = moved(before[:SAME_PAST], after[:SAME_PAST]).flatten(1).any(1).nonzero().flatten()
    step = int(changed[0]) if len(changed) else 0
    require(
        not len(changed),
        f"At step {step + 1} only x_1..x_{step + 1} may be read; in the {scope} scope {what} at step {step + 1} "
        f"moved by up to {distance(before[step], after[step])} {CHANGE}. Read cumulatively, as the cumsum of "
        "hcrnn_pyro.nn.encoders.BagEncoder does, or mask what lies ahead.",
    )


def the_past_is_read(subject: Subject) -> str | None:
    """A changed input changes later predictions, and the guide of the sequence scope, in its row alone."""
    if has_parameters(subject.model):  # a count of the items, whatever the sequence, reads no past
        for scope in subject.prediction_scopes:
            before, after = _predictions(subject, scope)
            late = slice(SAME_PAST, SAME_PAST + 2)
            require(
                not torch.allclose(before[late], after[late]),
                f"The predictions should read the sequence; in the {scope} scope those of steps {SAME_PAST + 1} and "
                f"{SAME_PAST + 2} stayed the same {CHANGE}.",
            )
    if not subject.has_latent:
        return None
    subject.require_scopes("sequence")
    return _whole_input(subject)


def _whole_input(subject: Subject) -> str | None:
    here, other_first, other_last = (
        traced(subject.guide, batch_of("sequence", sequences))
        for sequences in (SEQUENCES, OTHER_FIRST_INPUT, OTHER_LAST_INPUT)
    )
    reads_last = _moved_rows(here, other_last)
    if not (reads_last | _moved_rows(here, other_first)).any():
        return "The guide reads nothing of the input: its posterior is the same for every row."
    require(
        bool(reads_last[0]),
        "In the sequence scope the guide reads the whole input; its posterior stayed the same after the last input, "
        "x_5, was changed. Read up to batch.lengths - 1, that included.",
    )
    require(not reads_last[1:].any(), "Another sequence's posterior moved when an input of the first was changed.")
    return None


def _moved_rows(before: poutine.Trace, after: poutine.Trace) -> Tensor:
    """The rows in which any latent's posterior differs."""
    laws = [[location_and_scale(site(trace, name)["fn"]) for name in latents(before)] for trace in (before, after)]
    pairs = [pair for site in zip(*laws, strict=True) for pair in zip(*site, strict=True)]
    return torch.stack([moved(*pair).flatten(1).any(1) for pair in pairs]).any(0)


def one_past_has_one_posterior(subject: Subject) -> None:
    """Filtering at step t is the prefix scope on x_1..x_t: the guide has read the same items either way."""
    subject.require_latent()
    subject.require_scopes("prefix", "filtering")
    stepwise, prefixes = subject.runs["filtering"][0], subject.runs["prefix"][0]
    valid = batch_of("filtering").valid
    for name in latents(stepwise):
        laws = (site(trace, name)["fn"] for trace in (stepwise, prefixes))
        for what, (ours, theirs) in zip(
            ("mean", "variance"), zip(*map(location_and_scale, laws), strict=True), strict=True
        ):
            wrong = moved(theirs, ours[valid]).flatten(1).any(1)
            row = int(wrong.nonzero()[0]) if wrong.any() else 0
            length = int(batch_of("prefix").lengths[row])
            require(
                not wrong.any(),
                f"Filtering at step t should be the prefix scope on x_1..x_t; the {what} of the guide's {name} after "
                f"x_1..x_{length} differs by up to {distance(theirs[row], ours[valid][row])}. In both scopes read "
                "the same items in the same way, and give the latent the same law.",
            )


def one_pass_is_exact(subject: Subject) -> None:
    """Without a latent the filtering scope predicts what the prefix scope does."""
    if subject.has_latent:
        raise DoesNotApply("the model has a latent, of which each prefix has a posterior of its own.")
    once, each = subject.predictions["filtering"], subject.predictions["prefix"]
    finite = once.isfinite() | each.isfinite()
    off = moved(each[finite], once[finite])
    require(
        not off.any(),
        "Without a latent one pass over a sequence should predict what its prefixes do one by one; log-"
        f"probabilities differ by up to {distance(each[finite], once[finite])}. After x_t read x_1..x_t alone.",
    )


def _two(scope: Scope) -> tuple[Batch, Batch]:
    return batch_of(scope), batch_of(scope, OTHER_FUTURE)


def _predictions(subject: Subject, scope: Scope) -> tuple[Tensor, Tensor]:
    """Log-probabilities before and after the change, -inf (an item that may not come again) made finite."""
    before, after = subject.predictions[scope], subject.other_predictions[scope]
    return before.nan_to_num(neginf=-1e9), after.nan_to_num(neginf=-1e9)
