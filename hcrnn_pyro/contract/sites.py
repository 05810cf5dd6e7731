"""Checks of the sites: names, shapes, supports, densities, and theta.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions.constraints import Constraint

from hcrnn_pyro.checks import require_same_names
from hcrnn_pyro.contract.subject import Subject, latents, site
from hcrnn_pyro.contract.toy import batch_of
from hcrnn_pyro.data.batches import Batch, Scope
from hcrnn_pyro.errors import UserError, require

DRAWS = 20


def scopes_are_served(subject: Subject) -> str | None:
    """At least one scope is served; a part may refuse others, by a sentence."""
    refused = "; ".join(f"{scope}: {sentence}" for scope, sentence in subject.refusals.items())
    require(bool(subject.scopes), f"The parts should serve at least one scope; they refuse all of them. {refused}")
    return f"Checked in {', '.join(subject.scopes)}. Refused: {refused}" if refused else None


def sites_match(subject: Subject) -> None:
    """Guide and prior draw the same latents; the guide observes nothing, the model the next items."""
    for scope in subject.scopes:
        inferred, drawn = subject.runs[scope]
        require_same_names(drawn, inferred)
        observed = [name for name, node in drawn.nodes.items() if node["type"] == "sample" and node["is_observed"]]
        require("next_item" in observed, f"The model should observe next_item; in the {scope} scope it does not.")
        extra = [name for name in observed if name in inferred.nodes]
        require(not extra, f"The guide should issue latents alone; in the {scope} scope it observes {_list(extra)}.")


def shapes_fit(subject: Subject) -> None:
    """Every site has one density a row, and a guide's latent the shape of the prior's."""
    for scope in subject.scopes:
        batch = batch_of(scope)
        inferred, drawn = subject.runs[scope]
        for name in latents(inferred):
            ours, theirs = (tuple(site(trace, name)["fn"].event_shape) for trace in (drawn, inferred))
            require(
                ours == theirs,
                f"In the {scope} scope the guide's {name} should have the event shape of the prior's, {ours}; it has "
                f"{theirs}. Call .to_event(1) on what lies inside a row, and hcrnn_pyro.sites.over_steps on the whole.",
            )
        sites = [("guide", inferred, name) for name in latents(inferred)]
        sites += [("model", drawn, name) for name in [*latents(drawn), "next_item"]]
        for part, trace, name in sites:
            got = tuple(site(trace, name)["log_prob"].shape)
            require(
                got == (batch.size,),
                f"In the {scope} scope the {part}'s {name} should have one density for each of {batch.size} rows, "
                f"shape ({batch.size},); it has {got}. Sample it in the plate over sequences, through "
                "hcrnn_pyro.sites.over_steps.",
            )


def draws_lie_in_the_support(subject: Subject) -> None:
    """What the guide draws, the prior can have drawn."""
    subject.require_latent()
    for scope in subject.scopes:
        inferred, drawn = subject.runs[scope]
        for name in latents(inferred):
            support = site(drawn, name)["fn"].support
            values = site(inferred, name)["fn"].sample(torch.Size([DRAWS]))
            inside = support.check(values)
            if inside.all():
                continue
            outside = values[~inside]
            raise UserError(
                f"In the {scope} scope the guide's draws of {name} should lie in the prior's support, "
                f"{_named(support)}; {len(outside)} of {inside.numel()} do not, with values from {_range(outside)}. "
                "hcrnn_pyro.families.on_support takes draws from the reals to any support."
            )


def densities_are_finite(subject: Subject) -> None:
    """Log-densities of the guide's draws and of the observed items are numbers."""
    for scope in subject.scopes:
        inferred, drawn = subject.runs[scope]
        sites = [("guide", inferred, name) for name in latents(inferred)]
        sites += [("model", drawn, name) for name in [*latents(drawn), "next_item"]]
        for part, trace, name in sites:
            density: Tensor = site(trace, name)["log_prob"]
            wrong = (~density.isfinite()).nonzero().flatten().tolist()
            require(
                not wrong,
                f"In the {scope} scope the {part}'s log-density of {name} should be finite; in row {wrong[:1]} it is "
                f"{density[wrong[:1]].tolist()} ({len(wrong)} of {len(density)} rows). Look at its parameters: scales "
                "and concentrations must stay above 0, see hcrnn_pyro.families.SMALLEST_SCALE.",
            )


def theta_is_a_proportion(subject: Subject) -> None:
    """Theta is a point on the simplex for every row, or for every step in the filtering scope."""
    subject.require_latent()
    for scope in subject.scopes:
        drawn = subject.runs[scope][1]
        require(
            "theta" in drawn.nodes,
            "The model should record the context proportions by pyro.deterministic('theta', ...).",
        )
        _require_simplex(site(drawn, "theta")["value"], batch_of(scope), scope)


def _require_simplex(theta: Tensor, batch: Batch, scope: Scope) -> None:
    rows = tuple(batch.inputs.shape if scope == "filtering" else batch.inputs.shape[:1])
    require(
        tuple(theta.shape[:-1]) == rows,
        f"In the {scope} scope theta should have shape {rows} and the contexts last; it has {tuple(theta.shape)}.",
    )
    off, lowest = float((theta.sum(-1) - 1.0).abs().max()), float(theta.min())
    require(
        lowest >= 0.0 and off < 1e-6,
        f"In the {scope} scope theta should be proportions, at least 0 and with sum 1; the prior returned some as low "
        f"as {lowest:.3g}, and sums that are off by up to {off:.3g}. End with .softmax(dim=-1), or divide by the sum.",
    )


def _named(support: Constraint) -> str:
    """The constraint on single values, without the words for the axes that belong together."""
    return _named(support.base_constraint) if isinstance(support, constraints.independent) else str(support)


def _list(names: list[str]) -> str:
    return ", ".join(names)


def _range(values: Tensor) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"
