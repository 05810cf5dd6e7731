"""Which fast form runs on a tensor: compiled loops on a CPU, fused kernels on a GPU.

Where neither can, in double precision on a GPU for one, operations on whole tensors do the same.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor


def is_for_loops(tensor: Tensor) -> bool:
    """Whether the loops that Numba compiles can read it."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def is_for_serial_loops(tensor: Tensor) -> bool:
    """Whether loops that run on one thread are right for large products: on several, torch's own use them all."""
    return is_for_loops(tensor) and torch.get_num_threads() == 1


def is_for_fused_kernels(tensor: Tensor) -> bool:
    """Whether the kernels that Triton compiles can read it; Triton comes with torch's CUDA builds for Linux."""
    nvidia = tensor.device.type == "cuda" and torch.version.hip is None  # products in parts of TF32 are its alone
    return nvidia and tensor.dtype == torch.float32 and _has_triton()


@functools.cache
def _has_triton() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    import triton  # there is none for a CPU

    return tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 6)  # the oldest that was tried
