"""Flags from frozen config dataclasses, and the same dataclasses to and from JSON."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

T = TypeVar("T")


def parse(config: type[T], command: str, argv: list[str] | None = None, default: T | None = None) -> T:
    """Read flags: one per field of the nested dataclasses, without the outer names.

    Args:
        config: the outer dataclass.
        command: what a user types before the flags.
        argv: the arguments; ``None`` takes those of the process.
        default: values of the flags that are not given; ``None`` takes the dataclass's own.
    """
    return tyro.cli(
        config,
        prog=command,
        args=argv,
        default=default if default is not None else tyro.MISSING_NONPROP,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def first_look(command: str, argv: list[str] | None, **flags: Any) -> argparse.Namespace:
    """Read some flags alone, which decide what the others are; mistakes are left to :func:`parse`.

    Args:
        command: what a user types before the flags.
        argv: the arguments; ``None`` takes those of the process.
        flags: names and defaults; a default of ``False`` makes a switch.
    """
    parser = argparse.ArgumentParser(command, add_help=False, allow_abbrev=False)
    for name, default in flags.items():
        if default is False:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", nargs="?", default=default, const=default)
    return parser.parse_known_args(argv)[0]


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON-able dicts."""
    return dataclasses.asdict(config, dict_factory=lambda pairs: {name: _plain(value) for name, value in pairs})


def from_dict(config: type[T], content: dict[str, Any]) -> T:
    """A config dataclass from what :func:`to_dict` made of it."""
    hints = get_type_hints(config)
    values = {name: _restored(hints[name], value) for name, value in content.items() if name in hints}
    return config(**values)


def changed_flags(before: Any, after: Any) -> list[str]:
    """Flags whose value differs between two configs of one type."""
    return [f"--{flag}" for flag in changed_values(before, after)]


def changed_values(before: Any, after: Any) -> dict[str, Any]:
    """Flag, without its dashes -> its new value, where two configs of one type differ."""
    old, new = _flat(to_dict(before)), _flat(to_dict(after))
    return {name.replace("_", "-"): new[name] for name in old if old[name] != new[name]}


def words(values: Mapping[str, Any]) -> list[str]:
    """Values of flags as words of a command."""
    return [word for flag, value in values.items() for word in _words(flag, value)]


def with_values(config: T, values: Mapping[str, Any]) -> T:
    """A config with some fields set, wherever in it they lie; each dataclass takes all of its own at once.

    Args:
        config: a dataclass, perhaps of dataclasses.
        values: name of a field -> its value; names that no field has are passed over.
    """
    own: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            own[field.name] = with_values(value, values)
        elif field.name in values:
            own[field.name] = values[field.name]
    return dataclasses.replace(config, **own)  # type: ignore[type-var]


def _words(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _restored(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    if value is not None and "Path" in str(hint):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
