"""Memory that was freed: what the C library holds for later, and what it gives back to the system."""

from __future__ import annotations

import ctypes
import sys

import torch

LARGEST_PIECE = 31 * 2**20  # bytes: glibc learns from pieces of up to 32 MB


def hold_freed_memory() -> None:
    """Have glibc hold up to some 62 MB that a training step frees for the next one; other C libraries are left alone.

    glibc gives memory back once more is free than twice the largest piece that was freed so far, at first 128 kB. Steps
    of ever other sizes then have pages taken and given back all the time, which is 4 % of a small model's epoch. So one
    large piece is freed here (mallopt(3), M_MMAP_THRESHOLD).
    """
    if sys.platform == "linux":
        torch.empty(LARGEST_PIECE, dtype=torch.uint8)


def return_freed_memory() -> None:
    """Give what is free back to the system, where the C library is glibc; elsewhere nothing happens.

    Batches of ever other lengths leave glibc's heap full of gaps that the next batch does not fit into: without this a
    run with wide layers grows by some 100 MB an epoch.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
