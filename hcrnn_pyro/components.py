"""Models, priors and guides by name, or by the path of a user's own file.

The library imports no named model or guide; it finds them here, at run time. In a checkout they are the top-level
packages ``models`` and ``guides``; an installed wheel carries them as ``hcrnn_pyro.models`` and
``hcrnn_pyro.guides``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hcrnn_pyro.errors import UserError, unknown_choice

Kind = Literal["model", "prior", "guide"]
REGISTRIES: dict[Kind, tuple[str, str]] = {
    "model": ("models", "MODELS"),
    "prior": ("models", "PRIORS"),
    "guide": ("guides", "GUIDES"),
}


def registry(kind: Kind) -> Mapping[str, Callable[..., Any]]:
    """The dict of one kind: name -> factory."""
    package, attribute = REGISTRIES[kind]
    names: Mapping[str, Callable[..., Any]] = getattr(importlib.import_module(_full_name(package)), attribute)
    return names


def _full_name(package: str) -> str:
    """``models`` only where that name finds the checkout's folder, and not somebody else's package."""
    here = Path(__file__).resolve().parent
    in_wheel = (here / package).is_dir()
    spec = importlib.util.find_spec(package)
    in_checkout = spec is not None and spec.origin == str(here.parent / package / "__init__.py")
    return package if in_checkout and not in_wheel else f"hcrnn_pyro.{package}"


def find(kind: Kind, name: str) -> Callable[..., Any]:
    """The factory behind a name.

    Args:
        kind: what is looked for.
        name: a registered name, ``my_file:my_function`` (``my_file.py`` in the current folder, or a longer path), or
            ``installed.module:function``.

    Raises:
        UserError: when there is no such name, file, module or attribute.
    """
    known = registry(kind)
    if name in known:
        return known[name]
    if ":" not in name:
        raise unknown_choice(kind, name, known, hint=f"Your own {kind}: --{kind} my_file:my_{kind}.")
    location, attribute = name.rsplit(":", 1)
    module = _load(kind, location)
    found = getattr(module, attribute, None)
    if found is None:
        raise unknown_choice(f"attribute of {location}", attribute, [n for n in vars(module) if not n.startswith("_")])
    if not callable(found):
        raise UserError(f"--{kind} {name} must be a callable; {attribute} is a {type(found).__name__}.")
    factory: Callable[..., Any] = found
    return factory


def with_whole_path(name: str) -> str:
    """The same name, with the whole path where it names a user's file."""
    location, _, attribute = name.rpartition(":")
    file = _file(location)
    return f"{file.resolve()}:{attribute}" if location and file.is_file() else name


def _file(location: str) -> Path:
    return Path(location if location.endswith(".py") else f"{location}.py")


def _load(kind: Kind, location: str) -> ModuleType:
    file = _file(location)
    if file.is_file():
        return _execute(file.resolve(), file.stat().st_mtime_ns)
    if "/" not in location and importlib.util.find_spec(location.split(".")[0]) is not None:
        return importlib.import_module(location)
    raise UserError(f"--{kind} {location}:... names neither the file {file} nor an installed module.")


@cache
def _execute(file: Path, _changed: int) -> ModuleType:
    """A user's file as a module, run once for each of its versions."""
    spec = importlib.util.spec_from_file_location(f"user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} could not be read as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module
