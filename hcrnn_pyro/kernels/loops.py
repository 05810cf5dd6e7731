"""How loops are compiled by Numba, and the activations in them."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, no_type_check

import numba
import numpy as np
from numba.extending import overload

# Sums may be reordered, so that they run in vector registers; infinities and NaN keep their meaning.
OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}
INLINED = OPTIONS | {"forceinline": True}
SOURCES = hashlib.sha1(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at the first call, and keep the result on disk for later processes."""
    # Numba names the file on disk by the function and stamps it by the source of that function alone; what the function
    # calls may stand in another file. So the name takes in all sources: a change of any compiles all anew.
    function.__qualname__ += f"_{SOURCES[:12]}"
    try:
        made = numba.njit(nogil=True, cache=True, **OPTIONS)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        warnings.warn(
            "The compiled loops cannot be kept: neither the package's folder nor a user cache can be written. Every "
            "process compiles them anew (some 10 s); set NUMBA_CACHE_DIR to a folder that can be written.",
            stacklevel=1,  # once, not once a function
        )
        made = numba.njit(nogil=True, **OPTIONS)(function)
    return cast("Callable[..., None]", made)


@no_type_check
def exponential(x):  # noqa: D103 - the two bodies are below
    raise NotImplementedError


@overload(exponential, jit_options=INLINED)
@no_type_check
def _exponential(x):
    """e^x, an argument beyond the type's range counting as its end, so that a product of two results is no NaN."""
    return exponential_float32 if x == numba.float32 else exponential_float64


@no_type_check
def exponential_float32(x):
    """As 2^n e^r with |r| <= ln 2 / 2 and a polynomial, which runs in vector registers; relative error below 2e-7."""
    clamped = min(max(x, np.float32(-87.0)), np.float32(87.0))
    n = np.floor(clamped * np.float32(1 / math.log(2)) + np.float32(0.5))
    r = clamped - n * np.float32(0.693359375) + n * np.float32(0.693359375 - math.log(2))  # ln 2 in two parts
    series = np.float32(1 / 5040)
    series = series * r + np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(1 / 2)
    series = (series * r + np.float32(1.0)) * r + np.float32(1.0)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return series * power if x == x else x


@no_type_check
def exponential_float64(x):
    """The C library's."""
    return math.exp(min(max(x, -708.0), 708.0)) if x == x else x


@no_type_check
def like(number, x):  # noqa: D103 - the body is below
    raise NotImplementedError


@overload(like, jit_options=INLINED)
@no_type_check
def _like(number, x):
    """A number in the type of x: a plain literal would turn what it meets into float64."""
    return (lambda number, x: np.float32(number)) if x == numba.float32 else (lambda number, x: np.float64(number))


@numba.njit(**INLINED)
@no_type_check
def sigmoid(x):
    """1 / (1 + e^-x)."""
    one = like(1, x)
    return one / (one + exponential(-x))
