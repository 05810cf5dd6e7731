"""A model with its prior and guide, chosen by name or by path, and made."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from torch import nn

from hcrnn_pyro.components import Kind, find, registry, with_whole_path
from hcrnn_pyro.contracts import has_latent
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.sites import SupportMismatch

NONE = "none"  # the prior and the guide of a model without a latent
DEFAULTS: dict[Kind, str] = {"prior": "logistic-normal", "guide": "bag-of-items"}
AUTOGUIDES = "pyro.infer.autoguide"  # on the command line, auto for short
AMORTIZED = {  # what says as much as one of Pyro's autoguides, of every sequence
    "AutoNormal": "bag-of-items",
    "AutoDiagonalNormal": "bag-of-items",
    "AutoLowRankMultivariateNormal": "low-rank",
    "AutoMultivariateNormal": "low-rank",
    "AutoIAFNormal": "flow",
    "AutoNormalizingFlow": "flow",
    "AutoDelta": "point",
}


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
        _refuse_autoguide(self.guide)
        make_model = find("model", self.model)
        latent = has_latent(make_model)
        for kind, default in (DEFAULTS | getattr(make_model, "defaults", {})).items():
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
            latents; the message names the guides that can, and the priors that this one serves.
    """
    latent = {} if pair.prior == NONE else {"make_prior": find("prior", pair.prior)}
    model = find("model", pair.model)(items=items, **latent, **settings)
    try:
        guide = find("guide", pair.guide)(model)
    except SupportMismatch as error:
        raise UserError(f"{error} {_alternatives(pair, settings)}") from error
    for flag, part in (("--model", model), ("--guide", guide)):
        require(isinstance(part, nn.Module), f"{flag} must make a torch.nn.Module; got a {type(part).__name__}.")
    return model, guide


def fits(pair: PairConfig, settings: dict[str, Any]) -> bool:
    """Whether a guide can infer the latents of a prior, tried on a model of one item.

    Args:
        pair: model, prior and guide.
        settings: the model's own settings.
    """
    model = find("model", pair.model)(items=1, make_prior=find("prior", pair.prior), **settings)
    try:
        find("guide", pair.guide)(model)
    except SupportMismatch:
        return False
    return True


def _alternatives(pair: PairConfig, settings: dict[str, Any]) -> str:
    """The legal choices next to a pair whose guide cannot live where its prior does."""
    guides = [name for name in registry("guide") if name != NONE and fits(replace(pair, guide=name), settings)]
    priors = [name for name in registry("prior") if fits(replace(pair, prior=name), settings)]
    return (
        f"Guides for --prior {pair.prior}: {', '.join(guides) or NONE}. "
        f"Priors for --guide {pair.guide}: {', '.join(priors) or NONE}."
    )


def _refuse_autoguide(guide: str) -> None:
    location, _, name = guide.rpartition(":")
    if location != "auto" and not location.startswith(AUTOGUIDES):
        return
    amortized = [name for name in registry("guide") if name != NONE]
    choice = f"--guide {AMORTIZED[name]}" if name in AMORTIZED else f"one of the guides {', '.join(amortized)}"
    raise UserError(
        f"--guide {guide}: Pyro's autoguides learn one factor for every row of the data they are fitted to, and say "
        f"nothing of a new sequence. What reads a sequence and says as much is {choice}."
    )
