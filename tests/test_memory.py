"""Freed memory goes back to the system."""

import gc
import platform
import resource
from pathlib import Path

import pytest
import torch

from hcrnn_pyro.memory import return_freed_memory

BLOCK = 25_000  # numbers: 100 kB, which glibc takes from its heap


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: other C libraries have no malloc_trim")
def test_gaps_between_blocks_in_use_are_returned():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    blocks = [torch.ones(BLOCK) for _ in range(2_000)]
    kept = blocks[::2]
    before = resident()
    del blocks
    gc.collect()
    return_freed_memory()
    assert before - resident() > 0.8 * 1_000 * BLOCK * 4
    assert all(block.sum() == BLOCK for block in kept)
