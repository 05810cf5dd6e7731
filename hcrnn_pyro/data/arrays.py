"""Flat arrays of any size, made and read block by block: small ones in memory, large ones in files without a name.

A file without a name lies in the cache folder, is read from disk on demand, and is gone with the array or the program,
however that ends.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from hcrnn_pyro.data.locate import cache_folder
from hcrnn_pyro.errors import UserError

BLOCK = 1_000_000  # numbers that a pass over an array handles at a time
IN_MEMORY = 5_000_000  # numbers of an array that is still kept in memory


class Spool:
    """An array that grows block by block.

    Attributes:
        dtype: type of its numbers; may be structured.
        in_memory: numbers up to which it stays in memory; ``IN_MEMORY`` by default.
    """

    def __init__(self, dtype: DTypeLike, in_memory: int | None = None):
        self.dtype = np.dtype(dtype)
        self.in_memory = IN_MEMORY if in_memory is None else in_memory
        self._length = 0
        self._blocks: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def append(self, block: np.ndarray) -> None:
        """Put a block at the end.

        Raises:
            UserError: the cache folder cannot be written to or is full.
        """
        self._blocks.append(np.ascontiguousarray(block, dtype=self.dtype))
        self._length += len(block)
        if self._length <= self.in_memory:
            return
        try:
            if self._file is None:
                cache_folder().mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            for waiting in self._blocks:
                self._file.write(waiting.view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            remedy = "Make room there, or name another place by the environment variable XDG_CACHE_HOME."
            raise UserError(f"Large data need room in the cache folder {cache_folder()}: {error}. {remedy}") from error
        self._blocks.clear()

    def array(self) -> np.ndarray:
        """(N,) all that was appended, read-only; the spool takes no more."""
        if self._file is None:
            whole = np.concatenate(self._blocks) if self._blocks else np.zeros(0, self.dtype)
        else:
            # As a plain array: slicing a np.memmap costs as much as copying a short sequence.
            whole = np.asarray(np.memmap(self._file, dtype=self.dtype, mode="r", shape=(self._length,)))
        whole.flags.writeable = False
        return whole


def blocks(length: int) -> Iterator[slice]:
    """Slices of at most ``BLOCK`` numbers that cover an array of ``length``."""
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def stack(parts: Iterable[np.ndarray], dtype: DTypeLike) -> np.ndarray:
    """The parts end to end, in memory or on disk by their size."""
    spool = Spool(dtype)
    for part in parts:
        spool.append(part)
    return spool.array()


def lookup(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``table[indices]``, in memory or on disk by its size."""
    return stack((table[indices[block]] for block in blocks(len(indices))), table.dtype)


def count(indices: np.ndarray, size: int) -> np.ndarray:
    """(size,) int64, how often each of 0..size-1 occurs."""
    counts = np.zeros(size, dtype=np.int64)
    for block in blocks(len(indices)):
        np.add.at(counts, indices[block], 1)
    return counts


def first_positions(indices: np.ndarray, size: int) -> np.ndarray:
    """(size,) int64, where each of 0..size-1 occurs first; N where it does not."""
    first = np.full(size, len(indices), dtype=np.int64)
    for block in reversed(list(blocks(len(indices)))):
        first[indices[block][::-1]] = np.arange(block.start, block.stop)[::-1]  # of equal indices the last one stays
    return first
