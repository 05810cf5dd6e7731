"""One file from the web into one place on disk, whole and verified, or a sentence that says what to do instead."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from hcrnn_pyro.errors import UserError

Verify = Callable[[Path], None]


@dataclass(frozen=True)
class Patience:
    """How long a download tries before it gives up."""

    attempts: int = 4
    """Transfers begun in all; each starts the file anew."""
    pause: float = 1.0
    """Seconds before the second attempt, doubled before each further one."""
    timeout: float = 30.0
    """Seconds to wait for a connection, and for the next bytes of a transfer."""


def fetch(url: str, destination: Path, verify: Verify, progress: bool = True, patience: Patience | None = None) -> Path:
    """Download ``url`` to ``destination``, which appears only when it is whole and verified.

    Args:
        url: where the file is.
        destination: the file to write; its folder is made.
        verify: called with the downloaded file before it takes its name; raises :class:`UserError` to refuse it.
        progress: whether to show a progress bar on standard error.
        patience: attempts and waiting times.

    Raises:
        UserError: the file cannot be reached, breaks off at every attempt, cannot be written or is refused.
    """
    patience = patience or Patience()
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _transfer(url, partial, progress, patience)
        verify(partial)
        partial.replace(destination)
    except requests.RequestException as error:
        raise UserError(f"Could not download {url}: {_reason(error)}. {_remedy(destination)}") from error
    except OSError as error:
        raise UserError(f"Could not write {destination}: {error.strerror or error}. {_remedy(destination)}") from error
    except UserError as error:
        raise UserError(f"Refused the file downloaded from {url}: {error} {_remedy(destination)}") from error
    finally:
        if partial.exists():
            partial.unlink()
    return destination


def git_blob_sha1(expected: str) -> Verify:
    """Build the check of a file against the SHA-1 that git gives it: of ``blob <size>``, a zero byte, the content."""

    def verify(path: Path) -> None:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        _compare("git blob SHA-1", expected, _hex_of(path, digest))

    return verify


def md5(expected: str) -> Verify:
    """Build the check of a file against its MD5 sum."""

    def verify(path: Path) -> None:
        _compare("MD5", expected, _hex_of(path, hashlib.md5(usedforsecurity=False)))

    return verify


def read_md5(path: Path) -> str:
    """The sum in a publisher's ``.md5`` file, whichever of the usual two layouts it has.

    Raises:
        UserError: the file holds no MD5 sum.
    """
    found = re.search(rb"\b[0-9a-fA-F]{32}\b", path.read_bytes())
    if found is None:
        raise UserError(f"Expected an MD5 sum of 32 hexadecimal digits in {path.name}; found none.")
    return found.group().decode().lower()


def _transfer(url: str, partial: Path, progress: bool, patience: Patience) -> None:
    """Write ``url`` to ``partial``; after a failure that may pass, wait and begin again."""
    for attempt in range(1, patience.attempts + 1):
        try:
            _transfer_once(url, partial, progress, patience.timeout)
            return
        except requests.RequestException as error:
            if attempt == patience.attempts or not _may_pass(error):
                raise
        time.sleep(patience.pause * 2 ** (attempt - 1))


def _transfer_once(url: str, partial: Path, progress: bool, timeout: float) -> None:
    # Uncompressed, so that the announced length is the file's own: the bar is right, and a short transfer is noticed.
    identity = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=timeout, headers=identity) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        bar = tqdm(total=total, desc=url.rsplit("/", 1)[-1], unit="B", unit_scale=True, disable=not progress)
        with bar, partial.open("wb") as file:
            for block in response.iter_content(chunk_size=1 << 16):
                file.write(block)
                bar.update(len(block))


def _may_pass(error: requests.RequestException) -> bool:
    """Whether another attempt could succeed: all failures but the server's plain refusals (4xx)."""
    status = error.response.status_code if error.response is not None else None
    return status is None or status >= 500 or status in (408, 429)


def _reason(error: requests.RequestException) -> str:
    """The failure in a few words; the libraries' own texts nest three exceptions."""
    text = str(error).lower()
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "the server sent nothing for too long"
    if "incompleteread" in text or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off before its end"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error)


def _remedy(destination: Path) -> str:
    return f"Put the file at {destination} by hand, or use --data synthetic, which needs no download."


def _hex_of(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _compare(kind: str, expected: str, got: str) -> None:
    if got != expected:
        raise UserError(f"expected {kind} {expected}, got {got}.")
