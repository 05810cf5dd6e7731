"""Products of small matrices by tiles of the result that stay in vector registers, compiled by Numba.

A tile is some rows by some vectors of columns of the result: it is loaded, all terms are added, and it is stored.

Axes: B rows, I terms of a sum, N columns.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, no_type_check

from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.vectors import INDEX, Array, Vectors, require_contiguous

MANY_REGISTERS = get_host_cpu_features().get("avx512vl", False)  # thirty-two of them, sixteen otherwise
ROWS = 8 if MANY_REGISTERS else 4
FEW_ROWS = 4
VECTORS = 3  # with 4 rows: twelve sums, three vectors of weights and a number; twice as many sums with 8 rows
TERMS = 64  # of a long sum at a time: the weights of so many stay in the nearest cache


def make_band(rows: int, adds: bool) -> Callable[..., None]:
    """A function for compiled code that makes all columns of ``rows`` rows of a product.

    It is called as ``band(left, row, left_column, weight, result, column)``:
    result[row + r, column + n] = sum_i left[row + r, left_column + i] weight[i, n], or += this.

    Args:
        rows: of the band.
        adds: whether to add to what the result holds.
    """

    @intrinsic
    @no_type_check
    def band(typing_context, left, row, left_column, weight, result, column):
        require_contiguous("weight and result of a product by tiles", left.dtype, weight, result)

        def generate(context, builder, signature, arguments):
            _write_band(context, builder, signature.args, arguments, rows, adds)
            return context.get_dummy_value()

        return types.void(left, row, left_column, weight, result, column), generate

    return band


def _write_band(context: Any, builder: Any, kinds: Any, arguments: Any, rows: int, adds: bool) -> None:
    """The tiles of a band, one after the other."""
    vectors = Vectors(context, builder, kinds[0].dtype)
    left, weight, result = (Array(context, builder, kinds[i], arguments[i]) for i in (0, 3, 4))
    row, left_column, first = (context.cast(builder, arguments[i], kinds[i], types.int64) for i in (1, 2, 5))
    band = [builder.add(row, INDEX(r)) for r in range(rows)]
    left_rows, result_rows = [left.at(r, left_column) for r in band], [result.at(r, first) for r in band]
    terms, columns = weight.shape
    for column, group, width in vectors.over_columns(columns, VECTORS):
        ahead = [INDEX(width * v) for v in range(group)]
        places = [vectors.behind(vectors.behind(r, column), v) for r in result_rows for v in ahead]
        nothing = vectors.constant(0.0, width)
        sums = [vectors.variable(vectors.load(place, width) if adds else nothing) for place in places]
        with cgutils.for_range(builder, terms, intp=INDEX) as loop:
            start = vectors.behind(weight.at(loop.index), column)
            weights = [vectors.load(vectors.behind(start, v), width) for v in ahead]
            term = builder.mul(loop.index, left.strides[1])
            lefts = [vectors.spread(builder.gep(r, [term]), width) for r in left_rows]
            for total, (number, some) in zip(sums, product(lefts, weights), strict=True):
                builder.store(vectors.add_product(number, some, builder.load(total)), total)
        for total, place in zip(sums, places, strict=True):
            vectors.store(builder.load(total), place)


add_some_rows, add_few_rows, add_one_row = (make_band(rows, adds=True) for rows in (ROWS, FEW_ROWS, 1))
put_some_rows, put_few_rows, put_one_row = (make_band(rows, adds=False) for rows in (ROWS, FEW_ROWS, 1))


@compiled
@no_type_check
def put_product(start, stop, left, left_column, weight, result, column):
    """Write left @ weight to the rows ``start`` to ``stop`` - 1 of result; see :func:`add_product`."""
    some = stop - (stop - start) % ROWS
    few = stop - (stop - start) % FEW_ROWS
    for r in range(start, some, ROWS):
        put_some_rows(left, r, left_column, weight, result, column)
    for r in range(some, few, FEW_ROWS):
        put_few_rows(left, r, left_column, weight, result, column)
    for r in range(few, stop):
        put_one_row(left, r, left_column, weight, result, column)


@compiled
@no_type_check
def add_product(start, stop, left, left_column, weight, result, column):
    """Add left @ weight to the rows ``start`` to ``stop`` - 1 of result; all of one dtype.

    Args:
        start: first row.
        stop: end of the rows.
        left: (B, .) read from ``left_column`` on, as many columns as weight has rows; of any layout.
        left_column: see there.
        weight: (I, N).
        result: (B, .) N columns from ``column`` on are added to.
        column: see there.
    """
    some = stop - (stop - start) % ROWS
    few = stop - (stop - start) % FEW_ROWS
    for r in range(start, some, ROWS):
        add_some_rows(left, r, left_column, weight, result, column)
    for r in range(some, few, FEW_ROWS):
        add_few_rows(left, r, left_column, weight, result, column)
    for r in range(few, stop):
        add_one_row(left, r, left_column, weight, result, column)


@compiled
@no_type_check
def add_outer_products(start, stop, left, right, result):
    """Add left.T @ right to the rows ``start`` to ``stop`` - 1 of result, as the gradient of a weight is made.

    Args:
        start: first row.
        stop: end of the rows.
        left: (I, B) of any layout.
        right: (I, N).
        result: (B, N), added to.
    """
    for term in range(0, len(left), TERMS):
        add_product(start, stop, left.T, term, right[term : term + TERMS], result, 0)
