"""Which values a flag takes, read from the types of the dataclasses that the flags come from."""

from __future__ import annotations

import dataclasses
import math
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def kinds_of(config: Any) -> dict[str, Any]:
    """Flag, without its dashes -> type, of a dataclass and of all that are in it."""
    hints = get_type_hints(type(config))
    kinds: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            kinds |= kinds_of(value)
        else:
            kinds[field.name.replace("_", "-")] = hints[field.name]
    return kinds


def fits(value: Any, kind: Any) -> bool:
    """Whether a flag of this kind takes a value; a whole number is a number too."""
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return kind in WORDS and type(value) is kind


def plain(value: Any, kind: Any) -> Any:
    """A value that fits, as the flag has it: a whole number becomes a float where the flag is one."""
    return float(value) if type(value) is int and fits(0.5, kind) else value


def expectation(kind: Any) -> str:
    """What fits, in words."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(expectation(part) for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return WORDS.get(kind, "what a file cannot say")
