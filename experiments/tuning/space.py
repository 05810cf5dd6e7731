"""The space of a search: a TOML file of flags of ``python -m experiments.svi`` with values, ranges and choices.

patience = 5                                        a fixed value
lr = { low = 5e-4, high = 5e-3, log = true }        a range; of whole numbers where the flag is one
dropout-in = { low = 0.2, high = 0.6, step = 0.05 } a range in steps
batch-size = { choices = [16, 32] }                 choices
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.options import with_values
from experiments.svi import SVIConfig, default_config, refuse_idle
from experiments.tuning.kinds import expectation, fits, kinds_of, plain
from hcrnn_pyro.errors import UserError, require, unknown_choice

REFUSED = {
    **dict.fromkeys(("model", "seed", "device", "monitor", "out"), "is a flag of the search itself: --{flag}"),
    **dict.fromkeys(("resume", "refit"), "has no meaning in a trial"),
    "preset": "stands for several flags; name those",
    **dict.fromkeys(
        ("evaluation", "theta-samples", "guide-epochs"), "comes after the validation, which it cannot change"
    ),
}
OF_DATA = "says which data there are, and every trial needs the same"
RANGE, OPTIONS = ("low", "high", "log", "step"), ("choices",)


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, in steps or on a logarithmic scale if need be."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether it has whole numbers alone."""
        return isinstance(self.low, int)

    @property
    def probes(self) -> tuple[float, ...]:
        """Its ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Choices:
    """Some values without an order."""

    values: tuple[Any, ...]

    @property
    def probes(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


@dataclass(frozen=True)
class Space:
    """What a search may do.

    Attributes:
        fixed: flag, without its dashes -> the value of every trial.
        searched: flag -> where its values come from.
    """

    fixed: dict[str, Any]
    searched: dict[str, Range | Choices]

    def configuration(self, base: SVIConfig, drawn: Mapping[str, Any]) -> SVIConfig:
        """The flags of a trial.

        Args:
            base: the flags that the space says nothing of.
            drawn: the values of those that are searched.

        Raises:
            UserError: they do not go together.
        """
        values = self.fixed | {flag: tidy(value) for flag, value in drawn.items()}
        config = with_values(base, {flag.replace("-", "_"): value for flag, value in values.items()})
        refuse_idle(config, default_config(config.pair.model))
        return config

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"fixed": self.fixed, "searched": {flag: asdict(domain) for flag, domain in self.searched.items()}}


def read_space(file: Path, base: SVIConfig) -> Space:
    """Read a space, and refuse what no trial could be made with.

    Args:
        file: in TOML.
        base: the flags that it says nothing of.

    Raises:
        UserError: naming file and key, with what was expected.
    """
    kinds = kinds_of(base)
    fixed, searched = {}, {}
    for key, entry in _content(file).items():
        flag = key.replace("_", "-")
        try:
            _refuse(flag, base, kinds)
            require(flag not in fixed and flag not in searched, "is given twice.")
            if isinstance(entry, dict):
                searched[flag] = _domain(entry, kinds[flag])
            else:
                fixed[flag] = _value(entry, kinds[flag])
        except UserError as error:
            raise UserError(f"{file}: {key}: {error}") from error
    require(bool(searched), f"{file} has no range and no choices, so there is nothing to search.")
    space = Space(fixed, searched)
    _try(space, file, base)
    return space


def tidy(value: Any) -> Any:
    """A drawn value as a person would write it: four digits that count are as good as seventeen."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _content(file: Path) -> dict[str, Any]:
    require(file.is_file(), f"--space: there is no file {file}.")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}.") from error


def _refuse(flag: str, base: SVIConfig, kinds: Mapping[str, Any]) -> None:
    if flag in kinds_of(base.data):
        raise UserError(f"{OF_DATA}; leave it out.")
    if flag in REFUSED:
        raise UserError(f"{REFUSED[flag].format(flag=flag)}; leave it out.")
    if flag not in kinds:
        legal = set(kinds) - set(kinds_of(base.data)) - set(REFUSED)
        raise unknown_choice(f"flag of {base.pair.model}", flag, legal)


def _domain(entry: Mapping[str, Any], kind: Any) -> Range | Choices:
    names = OPTIONS if "choices" in entry else RANGE
    wrong = set(entry) - set(names)
    complete = "choices" in entry or {"low", "high"} <= set(entry)
    require(
        complete and not wrong,
        "expected { low = ..., high = ... }, perhaps with log = true or step = ..., or { choices = [...] }; got "
        f"{', '.join(entry) or 'nothing'}.",
    )
    return _choices(entry["choices"], kind) if "choices" in entry else _range(entry, kind)


def _choices(values: Any, kind: Any) -> Choices:
    require(isinstance(values, list), f"choices are a list; got {values!r}.")
    own = tuple(_value(value, kind) for value in values)
    require(len(own) >= 2, f"expected at least two choices; got {len(own)}. A single value is written without braces.")
    require(len(set(own)) == len(own), f"the choices have something twice: {', '.join(map(str, own))}.")
    return Choices(own)


def _range(entry: Mapping[str, Any], kind: Any) -> Range:
    require(fits(1, kind), f"a range needs a flag of numbers, and this is {expectation(kind)}; use choices.")
    low, high = _value(entry["low"], kind), _value(entry["high"], kind)
    log, step = entry.get("log", False), entry.get("step")
    require(low < high, f"the range is empty: low must be below high; got {low} and {high}.")
    require(isinstance(log, bool), f"log is true or false; got {log!r}.")
    require(not log or low > 0, f"a logarithmic range needs a low above 0; got {low}.")
    require(not log or step is None, "a logarithmic range has no step; leave log or step out.")
    if step is not None:
        step = _value(step, kind)
        require(step > 0, f"step is above 0; got {step}.")
        steps = (high - low) / step
        require(abs(steps - round(steps)) < 1e-6, f"steps of {step} from {low} do not end at {high}.")
    return Range(low, high, log, step)


def _value(value: Any, kind: Any) -> Any:
    require(fits(value, kind), f"expected {expectation(kind)}; got {value!r}.")
    return plain(value, kind)


def _try(space: Space, file: Path, base: SVIConfig) -> None:
    """Refuse values that are illegal whatever the other flags of the file say."""
    probes = [{flag: value} for flag, domain in space.searched.items() for value in domain.probes]
    for probe in probes:
        error = _error(space, base, probe)
        if error is not None and all(_error(space, base, other | probe) for other in probes):
            raise UserError(f"{file}: {', '.join(probe)}: {error}") from error


def _error(space: Space, base: SVIConfig, drawn: Mapping[str, Any]) -> UserError | None:
    try:
        space.configuration(base, drawn)
    except UserError as error:
        return error
    return None
