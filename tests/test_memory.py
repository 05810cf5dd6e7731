"""Freed memory is held for the next step, or goes back to the system."""

import gc
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hcrnn_pyro.memory import return_freed_memory

BLOCK = 25_000  # numbers: 100 kB, which glibc takes from its heap


ONLY_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: it is about its malloc")
STEPS = """
import resource, sys
import torch
from hcrnn_pyro.memory import hold_freed_memory
if sys.argv[1] == "held":
    hold_freed_memory()
def faults(pieces):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in pieces:
        tensors = [torch.ones(size) for _ in range(8)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults([200_000, 300_000])
print(faults([200_000, 300_000] * 20))
"""


@ONLY_GLIBC
def test_what_a_step_frees_is_held_for_the_next_one():
    def faults(how):
        command = [sys.executable, "-c", STEPS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("held") < 200
    if sys.version_info < (3, 12):  # later ones have freed a large piece by then, so that glibc holds all anyway
        assert faults("given back") > 1_000


@ONLY_GLIBC
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
