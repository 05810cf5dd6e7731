"""Checks of the ELBO: draws of it under an outer plate, and what it is where nothing is latent.

Axes: S draws, B rows.
"""

from __future__ import annotations

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from hcrnn_pyro.contract.closeness import distance, is_a_point, moved
from hcrnn_pyro.contract.subject import DoesNotApply, Subject, traced
from hcrnn_pyro.contract.toy import batch_of
from hcrnn_pyro.data.batches import Scope
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.draws import Draws, draw

DRAWS = 2


def draws_vectorise(subject: Subject) -> None:
    """S draws under an outer plate have the densities that each has by itself."""
    subject.require_latent()
    scopes = [scope for scope in subject.scopes if scope != "filtering"]  # whose draws no analysis asks for
    if not scopes:
        raise DoesNotApply("draws have one theta a row, and the parts serve the filtering scope alone.")
    for scope in scopes:
        draws = draw(subject.model, subject.guide, batch_of(scope), DRAWS)
        for s in range(DRAWS):
            _require_same_densities(subject, draws, s, scope)


def _require_same_densities(subject: Subject, draws: Draws, s: int, scope: Scope) -> None:
    """Of draw s, against a run with its values and no outer plate."""
    batch = batch_of(scope)
    values = {name: value[s] for name, value in draws.latents.items()}
    inferred, drawn = (traced(poutine.condition(part, values), batch) for part in (subject.guide, subject.model))
    pairs = {
        "the guide's latents": (draws.log_guide, inferred, list(values)),
        "the prior's latents": (draws.log_prior, drawn, list(values)),
        "next_item": (draws.log_likelihood, drawn, ["next_item"]),
    }
    if any(is_a_point(site["fn"]) for name, site in inferred.nodes.items() if name in values):
        del pairs["the guide's latents"]
    for what, (together, trace, names) in pairs.items():
        alone: Tensor = torch.stack([trace.nodes[name]["log_prob"] for name in names]).sum(0)
        require(
            not moved(alone, together[s]).any(),
            f"Under an outer plate of {DRAWS} draws each should have the density that it has by itself; in the {scope} "
            f"scope that of {what} differs by up to {distance(alone, together[s])}. Pyro adds dimensions on the left: "
            "count from the right (dim=-1), and name no shape (batch, contexts) that leaves them out.",
        )


def the_elbo_is_the_likelihood(subject: Subject) -> None:
    """Without a latent the KL term is 0 and the ELBO the log-likelihood, whatever the weight."""
    if subject.has_latent:
        raise DoesNotApply("the model has a latent.")
    terms = Objective(subject.model, subject.guide, Trace_ELBO())(batch_of("sequence"), kl_weight=0.1)
    prefixes = batch_of("prefix")
    log_probs = subject.predictions["prefix"].gather(1, prefixes.targets)
    loss, expected = terms.loss.detach(), -log_probs.sum()
    require(
        float(terms.kl) == 0.0 and not moved(expected, loss).any(),
        f"Without a latent the loss of the sequences should be the negative log-probability of their items, "
        f"{float(expected):.6g}, and the KL term 0; they are {float(loss):.6g} and {float(terms.kl):.3g}. The observed "
        "next_item should be the law that predicts.",
    )
