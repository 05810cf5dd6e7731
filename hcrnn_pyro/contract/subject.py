"""The pair under test: made in double precision, in evaluation mode, with the scopes that its parts serve.

Axes: B rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from hcrnn_pyro.contract.toy import OTHER_FUTURE, SEQUENCES, batch_of
from hcrnn_pyro.contracts import Prepared
from hcrnn_pyro.data.batches import SCOPES, Batch, Scope
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.sites import is_latent

MakePair = Callable[[], tuple[nn.Module, nn.Module]]
"""Makes a new model and its guide, untrained and unprepared, for :data:`hcrnn_pyro.contract.toy.ITEMS` items."""


class DoesNotApply(Exception):
    """A check asks what this pair does not have; the message says what."""


class Subject:
    """A model and its guide, and what several checks want to know of them.

    Args:
        make: makes a pair; called again wherever a check would leave its mark on one.
    """

    def __init__(self, make: MakePair) -> None:
        self.make = make
        self.model, self.guide = self.another()

    def another(self) -> tuple[nn.Module, nn.Module]:
        """A pair made anew: prepared, and with something in every parameter.

        A layer that starts at zero would hide what it is going to read, and stop the gradients of those before it.
        """
        model, guide = self.make()
        if isinstance(model, Prepared):
            model.prepare(SEQUENCES)
        for parameter in [*model.parameters(), *guide.parameters()]:
            if parameter.requires_grad and not parameter.any():
                parameter.data.normal_(std=0.1)
        return model.double().eval(), guide.double().eval()

    @cached_property
    def refusals(self) -> dict[Scope, str]:
        """The scopes that the prior or the guide refuses, with what it says."""
        said = {scope: self._refusal(batch_of(scope)) for scope in SCOPES}
        return {scope: sentence for scope, sentence in said.items() if sentence is not None}

    @torch.no_grad()
    def _refusal(self, batch: Batch) -> str | None:
        prior = getattr(self.model, "prior", None)
        try:
            if prior is not None:
                with sequences_plate(batch):
                    prior(batch)
            self.guide(batch)
        except UserError as refusal:
            return str(refusal)
        except Exception:  # no refusal but a defect: every check that runs the part meets it again, and says so
            return None
        return None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that all parts serve."""
        return tuple(scope for scope in SCOPES if scope not in self.refusals)

    @property
    def prediction_scopes(self) -> tuple[Scope, ...]:
        """Those of them in which items are predicted."""
        return tuple(scope for scope in self.scopes if scope != "sequence")

    @cached_property
    def has_latent(self) -> bool:
        """Whether guide or model draws anything."""
        batch = batch_of(self.scopes[0])
        return any(latents(traced(part, batch)) for part in (self.guide, self.model))

    def require_latent(self) -> None:
        """Leave a check that is about latents."""
        if not self.has_latent:
            raise DoesNotApply("the model has no latent.")

    def require_scopes(self, *scopes: Scope) -> None:
        """Leave a check that needs scopes which a part refuses."""
        for scope in scopes:
            if scope in self.refusals:
                raise DoesNotApply(f"a part refuses the {scope} scope.")

    @cached_property
    def runs(self) -> dict[Scope, tuple[poutine.Trace, poutine.Trace]]:
        """The traces of the guide, and of the model that replays it, on the toy data."""
        return {scope: self._run(batch_of(scope)) for scope in self.scopes}

    @cached_property
    def predictions(self) -> dict[Scope, Tensor]:
        """Log-probabilities of the next items on the toy data."""
        predict = PosteriorPredictive(self.model, self.guide)
        return {scope: predict(batch_of(scope)) for scope in self.prediction_scopes}

    @cached_property
    def other_predictions(self) -> dict[Scope, Tensor]:
        """The same where the first sequence has another future."""
        predict = PosteriorPredictive(self.model, self.guide)
        return {scope: predict(batch_of(scope, OTHER_FUTURE)) for scope in self.prediction_scopes}

    @cached_property
    def without_gradient(self) -> dict[Scope, list[str]]:
        """Names of the parameters on which the loss does not depend."""
        return {scope: self._without_gradient(scope) for scope in self.scopes}

    def _without_gradient(self, scope: Scope) -> list[str]:
        parameters = named_parameters(self.model, self.guide)
        for parameter in parameters.values():
            parameter.grad = None
        Objective(self.model, self.guide, Trace_ELBO())(batch_of(scope)).loss.backward()
        return [name for name, p in parameters.items() if p.grad is None or not p.grad.abs().sum() > 0]

    def _run(self, batch: Batch) -> tuple[poutine.Trace, poutine.Trace]:
        inferred = traced(self.guide, batch)
        return inferred, traced(poutine.replay(self.model, inferred), batch)


def named_parameters(model: nn.Module, guide: nn.Module) -> dict[str, Tensor]:
    """What is trained, each under one name: that of the model, where a guide holds it too."""
    names: dict[Tensor, str] = {}
    for part, module in (("model", model), ("guide", guide)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                names.setdefault(parameter, f"{part}.{name}")
    return {name: parameter for parameter, name in names.items()}


@torch.no_grad()
def traced(part: Callable[[Batch], object], batch: Batch) -> poutine.Trace:
    """Run a part on a batch, and score every site."""
    trace = poutine.trace(part).get_trace(batch)
    trace.compute_log_prob()
    return trace


def latents(trace: poutine.Trace) -> list[str]:
    """Names of the latent sites, in their order."""
    return [name for name, node in trace.nodes.items() if is_latent(node)]


def values_of(trace: poutine.Trace) -> dict[str, Tensor]:
    """The value of every latent site."""
    return {name: site(trace, name)["value"] for name in latents(trace)}


def site(trace: poutine.Trace, name: str) -> Any:
    """One site of a trace."""
    return trace.nodes[name]
