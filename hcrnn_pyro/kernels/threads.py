"""Compiled loops on as many threads as torch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch


def share_out(loops: Callable[..., None], blocks: int, *arguments: Any) -> None:
    """Run loops over all blocks, each thread over some that lie together.

    Args:
        loops: called as ``loops(first, last, *arguments)``, for the blocks ``first`` to ``last`` - 1. That its result
            is the same on any number of threads, a block's must not depend on the others.
        blocks: how many.
        arguments: of the loops.
    """
    threads = min(torch.get_num_threads(), blocks)
    if threads <= 1:
        loops(0, blocks, *arguments)
        return
    ends = [blocks * thread // threads for thread in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        done = [pool.submit(loops, *part, *arguments) for part in pairwise(ends)]
    for part in done:
        part.result()  # raises what the part raised
