"""Checks of training: a gradient for every parameter, and steps of ``pyro.infer.SVI``."""

from __future__ import annotations

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn

from hcrnn_pyro.contract.subject import DoesNotApply, Subject
from hcrnn_pyro.contract.toy import batch_of
from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.data.batches import Scope
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import require


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """The loss depends on every parameter, in every scope."""
    _require_parameters(subject)
    for scope in subject.scopes:
        dead = _dead(subject.model, subject.guide, scope)
        require(
            not dead,
            f"The loss should depend on every parameter; in the {scope} scope it does not depend on {', '.join(dead)}. "
            "Use them or leave them out; a detach or torch.no_grad on the way stops gradients.",
        )


def pyro_svi_trains_the_pair(subject: Subject) -> None:
    """One step moves every parameter that has a gradient, and none of another pair in the process."""
    _require_parameters(subject)
    for scope in subject.scopes:
        pair, other = subject.another(), subject.another()
        alive = _parameters(*pair).keys() - set(_dead(*pair, scope))
        _step(other, scope)
        before, others = _values(pair), _values(other)
        _step(pair, scope)
        still = [
            name for name, parameter in _parameters(*pair).items() if name in alive and parameter.equal(before[name])
        ]
        require(
            not still,
            f"pyro.infer.SVI should train every parameter; in the {scope} scope it left {', '.join(still)} where they "
            "were. It learns of them from hcrnn_pyro.parameters.announce_parameters('guide', self), first in forward.",
        )
        taken = [name for name, parameter in _parameters(*other).items() if not parameter.equal(others[name])]
        require(
            not taken,
            f"Training one pair should leave another in the process alone; it moved the other's {', '.join(taken)}. "
            "Keep parameters in the module, not in Pyro's global store (pyro.param, pyro.module).",
        )


def _require_parameters(subject: Subject) -> None:
    if not has_parameters(subject.model, subject.guide):
        raise DoesNotApply("the pair has no parameters; it is counted, not trained.")


def _parameters(model: nn.Module, guide: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, each under one name."""
    named = [
        (f"{part}.{name}", p) for part, m in (("model", model), ("guide", guide)) for name, p in m.named_parameters()
    ]
    return {
        name: p for name, p in reversed({id(p): (name, p) for name, p in reversed(named)}.values()) if p.requires_grad
    }


def _values(pair: tuple[nn.Module, nn.Module]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in _parameters(*pair).items()}


def _dead(model: nn.Module, guide: nn.Module, scope: Scope) -> list[str]:
    """Parameters on which the loss does not depend."""
    parameters = _parameters(model, guide)
    for parameter in parameters.values():
        parameter.grad = None
    Objective(model, guide, Trace_ELBO())(batch_of(scope)).loss.backward()
    return [name for name, p in parameters.items() if p.grad is None or not p.grad.abs().sum() > 0]


def _step(pair: tuple[nn.Module, nn.Module], scope: Scope) -> None:
    with pyro.validation_enabled(True):  # as it is where a user trains
        SVI(*pair, PyroOptim(torch.optim.Adam, {"lr": 0.03}), Trace_ELBO()).step(batch_of(scope))
