"""Where files are looked for: the folder the user names, then the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pooch

from hcrnn_pyro.errors import UserError

ENVIRONMENT_VARIABLE = "HCRNN_DATA"


def cache_folder() -> Path:
    """The user's cache folder, where downloads are kept (``~/.cache/hcrnn_pyro`` on Linux)."""
    return Path(pooch.os_cache("hcrnn_pyro"))


def user_folder(data_dir: Path | None) -> Path | None:
    """The folder the user points at: ``data_dir``, else ``$HCRNN_DATA``, else none.

    Raises:
        UserError: it is not a folder.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if data_dir is None and not named:
        return None
    folder, origin = (data_dir, "--data-dir") if data_dir is not None else (Path(named), f"${ENVIRONMENT_VARIABLE}")
    if not folder.is_dir():
        raise UserError(f"{origin} must name a folder that exists; got {folder}.")
    return folder


def find(names: Iterable[str], data_dir: Path | None) -> Path | None:
    """The first of ``names`` (paths relative to a data folder) that is a file in the user's folder, then in the cache.

    Args:
        names: the places to look within each folder, in order.
        data_dir: the folder given by the user; see :func:`user_folder`.
    """
    names = tuple(names)
    folders = [folder for folder in (user_folder(data_dir), cache_folder()) if folder is not None]
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
