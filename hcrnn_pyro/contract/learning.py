"""Checks of training: a gradient for every parameter, and steps of ``pyro.infer.SVI``."""

from __future__ import annotations

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn

from hcrnn_pyro.contract.subject import DoesNotApply, Subject, named_parameters
from hcrnn_pyro.contract.toy import batch_of
from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.data.batches import Scope
from hcrnn_pyro.errors import require


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """The loss depends on every parameter, in every scope."""
    _require_parameters(subject)
    for scope, dead in subject.without_gradient.items():
        require(
            not dead,
            f"The loss should depend on every parameter; in the {scope} scope it does not depend on {', '.join(dead)}. "
            "Use them or leave them out; a detach or torch.no_grad on the way stops gradients.",
        )


def pyro_svi_trains_the_pair(subject: Subject) -> None:
    """A step moves every parameter that has a gradient, and none of another pair that was trained in the process."""
    _require_parameters(subject)
    pair, other = subject.another(), subject.another()
    _step(other, subject.scopes[0])
    others = _values(other)
    for scope, dead in subject.without_gradient.items():
        before = _values(pair)
        _step(pair, scope)
        still = [name for name in _unmoved(pair, before) if name not in dead]
        require(
            not still,
            f"pyro.infer.SVI should train every parameter; in the {scope} scope it left {', '.join(still)} where they "
            "were. It learns of them from hcrnn_pyro.parameters.announce_parameters('guide', self), first in forward.",
        )
    taken = sorted(others.keys() - set(_unmoved(other, others)))
    require(
        not taken,
        f"Training one pair should leave another in the process alone; it moved the other's {', '.join(taken)}. "
        "Keep parameters in the module, not in Pyro's global store (pyro.param, pyro.module).",
    )


def _require_parameters(subject: Subject) -> None:
    if not has_parameters(subject.model, subject.guide):
        raise DoesNotApply("the pair has no parameters; it is counted, not trained.")


def _values(pair: tuple[nn.Module, nn.Module]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in named_parameters(*pair).items()}


def _unmoved(pair: tuple[nn.Module, nn.Module], before: dict[str, Tensor]) -> list[str]:
    return [name for name, parameter in named_parameters(*pair).items() if parameter.equal(before[name])]


def _step(pair: tuple[nn.Module, nn.Module], scope: Scope) -> None:
    with pyro.validation_enabled(True):  # as it is where a user trains
        SVI(*pair, PyroOptim(torch.optim.Adam, {"lr": 0.03}), Trace_ELBO()).step(batch_of(scope))
