"""Checks of keeping: copies of a pair stand by themselves, and its weights come back from a file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pyro import poutine
from torch import Tensor, nn

from hcrnn_pyro.contract.closeness import distance, location_and_scale, moved
from hcrnn_pyro.contract.subject import Subject, latents, site, traced
from hcrnn_pyro.contract.toy import batch_of
from hcrnn_pyro.errors import require
from hcrnn_pyro.runs import load_weights, save_weights

Pair = tuple[nn.Module, nn.Module]


def a_copy_stands_by_itself(subject: Subject, copied: Callable[[Pair], Pair] = copy.deepcopy) -> None:
    """A pair copied after a run computes with its own weights: the guide's model among them.

    Args:
        subject: the pair.
        copied: how it is copied.
    """
    pair = subject.another()
    for part in reversed(pair):
        part(batch_of(subject.scopes[0]))
    twin = copied(pair)
    with torch.no_grad():
        for parameter in [*twin[0].parameters(), *twin[1].parameters()]:
            parameter.mul_(1.5)
    fresh = subject.another()
    for part, weights in zip(fresh, twin, strict=True):
        part.load_state_dict(weights.state_dict())
    _require_same(
        subject,
        twin,
        fresh,
        "A copied pair should compute with the copied weights; it differs from a new pair with these weights by {}. "
        "Keep no lambda that holds the old model; a bound method (self.embed = model.embed) is copied along.",
    )


def weights_come_back(subject: Subject) -> None:
    """Saved to safetensors and loaded into a new pair, the weights compute the same."""
    fresh = subject.make()
    fresh = (fresh[0].double(), fresh[1].double())
    with TemporaryDirectory() as folder:
        save_weights(Path(folder), subject.model, subject.guide)
        load_weights(Path(folder), *fresh)
    _require_same(
        subject,
        (subject.model, subject.guide),
        fresh,
        "A pair loaded from its weights should compute the same; it differs by {}. What is learned or counted belongs "
        "into parameters and persistent buffers (register_buffer), which are saved.",
    )


def _require_same(subject: Subject, one: Pair, other: Pair, told: str) -> None:
    ours, theirs = _computed(subject, one), _computed(subject, other)
    for name, before in ours.items():
        off = moved(before, theirs[name])
        require(not off.any(), told.format(f"up to {distance(before, theirs[name])} in {name}"))


def _computed(subject: Subject, pair: Pair) -> dict[str, Tensor]:
    """The guide's posterior of each latent, and the log-densities under the model at its mean."""
    batch = batch_of(subject.scopes[0])
    inferred = traced(pair[1], batch)
    laws = {name: location_and_scale(site(inferred, name)["fn"]) for name in latents(inferred)}
    means = {name: mean for name, (mean, _) in laws.items()}
    drawn = traced(poutine.condition(pair[0], means), batch)
    found = {f"the guide's {name}": torch.cat([part.flatten() for part in law]) for name, law in laws.items()}
    scored = {f"the log-density of {name}": site(drawn, name)["log_prob"] for name in [*laws, "next_item"]}
    return found | scored
