"""A model with its prior and guide, chosen by name or by path, and made."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any

from torch import nn

from hcrnn_pyro.components import Kind, find, registry, with_whole_path
from hcrnn_pyro.contracts import has_latent
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.sites import SupportMismatch

NONE = "none"  # the prior and the guide of a model without a latent
DEFAULTS: dict[Kind, str] = {"prior": "logistic-normal", "guide": "bag-of-items"}


@dataclass(frozen=True)
class PairConfig:
    """Which model, prior and guide; names of the registries or paths of your own (my_file:my_guide)."""

    model: str = "hcrnn3-bi"
    """Model: a registered name (README lists them), or my_file:MyModel. Each has settings of its own: see --help
    together with --model."""
    prior: str = ""
    """Prior on the context proportions: a name, or my_file:my_prior; none for a model without them."""
    guide: str = ""
    """Amortized guide: a name, or my_file:my_guide; none for a model without context proportions."""

    def __post_init__(self) -> None:
        latent = has_latent(find("model", self.model))
        for kind, default in DEFAULTS.items():
            name = getattr(self, kind) or (default if latent else NONE)
            if latent:
                require(name != NONE, f"{self.model} has a latent variable, so it needs a {kind}; got --{kind} none.")
                find(kind, name)
            else:
                require(
                    name == NONE, f"{self.model} has no latent variable, so it takes no {kind}: leave --{kind} out."
                )
            object.__setattr__(self, kind, name)
        for kind in ("model", "prior", "guide"):  # a run must load from any folder
            object.__setattr__(self, kind, with_whole_path(getattr(self, kind)))


def default_settings(model: str) -> Any:
    """The settings of a model with their defaults: an instance of the dataclass that its factory names.

    Args:
        model: a registered name or a path.

    Raises:
        UserError: when there is no such model, or it names no settings.
    """
    config = getattr(find("model", model), "config", None)
    if not (isinstance(config, type) and is_dataclass(config)):
        raise UserError(f"--model {model} needs an attribute config: the dataclass of its settings, defaults included.")
    return config()


def build_pair(pair: PairConfig, settings: dict[str, Any], items: int) -> tuple[nn.Module, nn.Module]:
    """Make a model and its guide.

    Args:
        pair: what to make.
        settings: the model's own settings, e.g. ``{"hidden": 100, "contexts": 50}``.
        items: V.

    Raises:
        UserError: for an unknown name, a prior or guide that cannot be made, or a guide that cannot infer the prior's
            latents; the message names those that can.
    """
    latent = {} if pair.prior == NONE else {"make_prior": find("prior", pair.prior)}
    model = find("model", pair.model)(items=items, **latent, **settings)
    guide = _make_guide(pair, model)
    for flag, part in (("--model", model), ("--guide", guide)):
        require(isinstance(part, nn.Module), f"{flag} must make a torch.nn.Module; got a {type(part).__name__}.")
    return model, guide


def _make_guide(pair: PairConfig, model: nn.Module) -> Any:
    try:
        return find("guide", pair.guide)(model)
    except SupportMismatch as error:
        fitting = [name for name in registry("guide") if name != NONE and _fits(name, model)]
        raise UserError(f"{error} Guides for --prior {pair.prior}: {', '.join(fitting)}.") from error


def _fits(guide: str, model: nn.Module) -> bool:
    try:
        find("guide", guide)(model)
    except SupportMismatch:
        return False
    return True
