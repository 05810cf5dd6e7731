"""What every test stands on: checked tensor shapes, one thread, a clean parameter store and a fixed seed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch
from jaxtyping import install_import_hook

# Annotations are checked at every call in tests, and only there; the hook sees only what is imported after it.
install_import_hook(["hcrnn_pyro", "models", "guides"], "beartype.beartype")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # kernels for a GPU run on the CPU; read when they are imported


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """No test sees another's parameters, random state or threads."""
    torch.set_num_threads(1)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets that $HCRNN_DATA names; the test is skipped where there is none."""
    name = os.environ.get("HCRNN_DATA")
    if not name:
        pytest.skip("needs real data: set HCRNN_DATA to a folder that holds it")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        pytest.skip(f"needs real data: HCRNN_DATA names {name}, which is no folder")
    return folder.resolve()
