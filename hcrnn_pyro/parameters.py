"""How a plain ``torch.nn.Module`` tells Pyro which tensors ``pyro.infer.SVI`` trains.

``Trace_ELBO()(model, guide)`` finds the parameters of modules by itself; ``pyro.infer.SVI`` learns of them only from
the ``param`` messages of a run. Pyro's own ``pyro.module`` sends these through a global store, in which a second
model of the same name silently trains the first one's tensors. The messages sent here name the tensors and keep
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyro.distributions import constraints
from pyro.poutine.runtime import effectful
from torch import Tensor, nn

_wanted = ContextVar("_wanted", default=True)


@contextmanager
def unannounced() -> Iterator[None]:
    """Send no messages here: whoever trains has the parameters already, and each message costs some 20 microseconds."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def announce_parameters(name: str, module: nn.Module) -> None:
    """Send one Pyro ``param`` message for every trainable parameter of ``module``.

    Args:
        name: prefix of the parameters' names, e.g. ``"model"``.
        module: its parameters are announced, those of its submodules included.
    """
    if not _wanted.get():
        return
    for parameter_name, parameter in module.named_parameters():
        if parameter.requires_grad:
            _announce(f"{name}.{parameter_name}", parameter)


def _announce(name: str, parameter: Tensor) -> None:
    alias: Any = parameter.detach()  # carries what pyro.infer.SVI asks for, so that the parameter stays as it is
    alias.unconstrained = lambda: parameter
    message: Any = effectful(type="param")(lambda *_args, **_kwargs: alias)
    message(name, alias, constraint=constraints.real, name=name)
