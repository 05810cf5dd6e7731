"""Products of small matrices by tiles of the result that stay in vector registers, compiled by Numba.

LLVM vectorises the innermost of three loops alone, and then the sums travel to memory and back while their terms are
added. So a tile's loop is written in LLVM's own vectors: some rows by some vectors of columns are loaded, all terms are
added, and they are stored.

Axes: B rows, I terms of a sum, N columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from hcrnn_pyro.kernels.loops import compiled

ROWS = 4
VECTORS = 3  # with ROWS rows: twelve sums, three vectors of weights and a number in the sixteen registers of AVX2
REGISTER = 32  # bytes of a register of AVX2
INDEX = ir.IntType(64)


def make_band(rows: int) -> Callable[..., None]:
    """A function for compiled code that adds to all columns of ``rows`` rows of a product.

    It is called as ``band(left, row, left_column, weight, result, column)``:
    result[row + r, column + n] += sum_i left[row + r, left_column + i] weight[i, n].

    Args:
        rows: of the band.
    """

    @intrinsic
    @no_type_check
    def band(typing_context, left, row, left_column, weight, result, column):
        if any(array.layout != "C" or array.dtype != left.dtype for array in (left, weight, result)):
            raise TypingError("A product by tiles takes arrays of one dtype whose rows are contiguous (layout C).")

        def generate(context, builder, signature, arguments):
            _Band(context, builder, signature.args, arguments, rows).add()
            return context.get_dummy_value()

        return types.void(left, row, left_column, weight, result, column), generate

    return band


class _Band:
    """Writes the LLVM instructions of a band: tiles of full width, then ever narrower ones for the columns left."""

    def __init__(self, context: Any, builder: Any, kinds: Any, arguments: Any, rows: int) -> None:
        self.build, self.rows = builder, rows
        self.number = context.get_value_type(kinds[0].dtype)
        self.bytes = kinds[0].dtype.bitwidth // 8
        left, self.weight, result = (context.make_array(kinds[i])(context, builder, arguments[i]) for i in (0, 3, 4))
        row, left_column, column = (context.cast(builder, arguments[i], kinds[i], types.int64) for i in (1, 2, 5))
        band = [builder.add(row, INDEX(r)) for r in range(rows)]
        self.lefts = [self._entry(left, each, left_column) for each in band]
        self.results = [self._entry(result, each, column) for each in band]
        self.terms, self.columns = cgutils.unpack_tuple(builder, self.weight.shape)

    def add(self) -> None:
        """Go over the columns."""
        lanes, done = REGISTER // self.bytes, INDEX(0)
        for vectors, width in ((VECTORS, lanes), (1, lanes), (1, lanes // 2), (1, 1)):
            step = INDEX(vectors * width)
            left_over = self.build.urem(self.build.sub(self.columns, done), step)
            end = self.build.sub(self.columns, left_over)
            with cgutils.for_range_slice(self.build, done, end, step, intp=INDEX) as (column, _):
                self._tile(column, vectors, ir.VectorType(self.number, width))
            done = end

    def _tile(self, column: Any, vectors: int, kind: Any) -> None:
        """Load the sums, add one term of all of them after the other, store them."""
        build, grid = self.build, [(r, v) for r in range(self.rows) for v in range(vectors)]
        places = [self._behind(self.results[r], column) for r in range(self.rows)]
        sums = [cgutils.alloca_once_value(build, self._load(places[r], v, kind)) for r, v in grid]
        with cgutils.for_range(build, self.terms, intp=INDEX) as loop:
            start = self._entry(self.weight, loop.index, column)
            weight = [self._load(start, v, kind) for v in range(vectors)]
            left = [self._spread(self._behind(at, loop.index), kind) for at in self.lefts]
            for place, (r, v) in zip(sums, grid, strict=True):
                product = build.fmul(left[r], weight[v], flags=("contract",))
                build.store(build.fadd(product, build.load(place), flags=("contract",)), place)
        for place, (r, v) in zip(sums, grid, strict=True):
            build.store(build.load(place), self._vector(places[r], v, kind), align=self.bytes)

    def _entry(self, array: Any, row: Any, column: Any) -> Any:
        """Where an array's entry lies, as the address of a byte."""
        stride = cgutils.unpack_tuple(self.build, array.strides)[0]
        data = self.build.bitcast(array.data, ir.IntType(8).as_pointer())
        return self._behind(self.build.gep(data, [self.build.mul(row, stride)]), column)

    def _behind(self, address: Any, numbers: Any) -> Any:
        return self.build.gep(address, [self.build.mul(numbers, INDEX(self.bytes))])

    def _vector(self, start: Any, vector: int, kind: Any) -> Any:
        """The address of a vector behind the start."""
        return self.build.bitcast(self._behind(start, INDEX(vector * kind.count)), kind.as_pointer())

    def _load(self, start: Any, vector: int, kind: Any) -> Any:
        return self.build.load(self._vector(start, vector, kind), align=self.bytes)

    def _spread(self, address: Any, kind: Any) -> Any:
        """The number at an address, in all lanes."""
        build, undefined = self.build, ir.Constant(kind, ir.Undefined)
        number = build.load(build.bitcast(address, self.number.as_pointer()))
        first = build.insert_element(undefined, number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return build.shuffle_vector(first, undefined, lanes)


some_rows, one_row = make_band(ROWS), make_band(1)


@compiled
@no_type_check
def add_product(start, stop, left, left_column, weight, result, column):
    """Add left @ weight to the rows ``start`` to ``stop`` - 1 of result; all of one dtype and contiguous.

    Args:
        start: first row.
        stop: end of the rows.
        left: (B, .) read from ``left_column`` on, as many columns as weight has rows.
        left_column: see there.
        weight: (I, N).
        result: (B, .) N columns from ``column`` on are added to.
        column: see there.
    """
    grouped = stop - (stop - start) % ROWS
    for r in range(start, grouped, ROWS):
        some_rows(left, r, left_column, weight, result, column)
    for r in range(grouped, stop):
        one_row(left, r, left_column, weight, result, column)
