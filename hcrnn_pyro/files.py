"""Files that are either whole or not there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hcrnn_pyro.errors import require


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes ``path``'s place when the block ends well, and vanishes otherwise.

    Raises:
        OSError: naming ``path``, when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:  # a library may have failed at some temporary file of its own
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_own_folder(folder: Path, files: Collection[str], maker: str) -> None:
    """Look whether results may go to a folder: it is not there, or has nothing but earlier ones.

    Args:
        folder: where to.
        files: names of all that the maker writes.
        maker: what writes them, for the sentence: ``which no ... wrote``.

    Raises:
        UserError: it holds anything else, or is no folder.
    """
    require(not folder.exists() or folder.is_dir(), f"--out: {folder} is not a folder.")
    found = {file.name for file in folder.iterdir()} if folder.exists() else set()
    others = sorted(found - {*files} - {f".{name}.part" for name in files})  # the latter of one that was killed
    require(not others, f"--out: {folder} holds {', '.join(others[:3])}, which no {maker} wrote. Choose another --out.")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
