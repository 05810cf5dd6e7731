"""Where a command computes."""

from __future__ import annotations

from typing import Literal

import torch

from hcrnn_pyro.distributed import local_world_size
from hcrnn_pyro.errors import require

Device = Literal["auto", "cpu", "cuda"]


def torch_device(device: Device) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU when there is one.

    Raises:
        UserError: a GPU is asked for and there is none, or torchrun started more processes than there are GPUs.
    """
    available = torch.cuda.is_available()
    require(device != "cuda" or available, "--device cuda: no CUDA device was found; use --device cpu or auto.")
    if device == "cpu" or not available:
        return "cpu"
    processes, gpus = local_world_size(), torch.cuda.device_count()
    require(
        processes <= gpus,
        f"torchrun started {processes} processes on this machine, which has GPUs for {gpus}. Use "
        f"--nproc-per-node {gpus}, or --device cpu.",
    )
    return "cuda"
