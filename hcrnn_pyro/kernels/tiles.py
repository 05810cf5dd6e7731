"""Products of small matrices by tiles of the result that stay in vector registers, compiled by Numba.

LLVM vectorises the innermost of three loops alone, and then every sum travels to memory and back at each of its terms.
So a tile's loop is written in LLVM's own vectors: some rows by some vectors of columns are loaded, all terms are added,
and they are stored.

Axes: B rows, I terms of a sum, N columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hcrnn_pyro.kernels.loops import compiled

ROWS = 4
VECTORS = 3  # with ROWS rows: twelve sums, three vectors of weights and a number in the sixteen registers of AVX2
LANES = 8  # float32 numbers in a register of AVX2
WIDE, NARROW = VECTORS * LANES, LANES // 2
INDEX = ir.IntType(64)


def make_tile(rows: int, vectors: int, lanes: int) -> Callable[..., None]:
    """A function for compiled code that adds to ``rows`` rows by ``vectors * lanes`` columns of a product.

    It is called as ``tile(left, row, left_column, weight, weight_column, result, column)`` on arrays whose rows are
    contiguous: result[row + r, column + weight_column + n] += sum_i left[row + r, left_column + i]
    weight[i, weight_column + n].

    Args:
        rows: of the tile.
        vectors: of each of its rows.
        lanes: numbers in a vector.
    """

    @intrinsic
    @no_type_check
    def tile(typing_context, left, row, left_column, weight, weight_column, result, column):
        signature = types.void(left, row, left_column, weight, weight_column, result, column)

        def generate(context, builder, signature, arguments):
            _Tile(context, builder, signature.args, arguments, lanes).add(rows, vectors)
            return context.get_dummy_value()

        return signature, generate

    return tile


class _Tile:
    """Writes the LLVM instructions of a tile."""

    def __init__(self, context: Any, builder: Any, kinds: Any, arguments: Any, lanes: int) -> None:
        self.builder = builder
        number = kinds[0].dtype
        self.number = context.get_value_type(number)
        self.vector = ir.VectorType(self.number, lanes)
        self.bytes = number.bitwidth // 8
        self.left, self.weight, self.result = (
            context.make_array(kinds[i])(context, builder, arguments[i]) for i in (0, 3, 5)
        )
        self.row, self.left_column, self.weight_column, self.column = (
            context.cast(builder, arguments[i], kinds[i], types.int64) for i in (1, 2, 4, 6)
        )

    def add(self, rows: int, vectors: int) -> None:
        """Load the sums, add one term of all of them after the other, store them."""
        build, grid = self.builder, [(r, v) for r in range(rows) for v in range(vectors)]
        terms = cgutils.unpack_tuple(build, self.weight.shape)[0]
        start, last_column = (
            self._row(self.weight, INDEX(0), self.weight_column),
            build.add(self.column, self.weight_column),
        )
        places = [self._row(self.result, build.add(self.row, INDEX(r)), last_column) for r in range(rows)]
        lefts = [self._row(self.left, build.add(self.row, INDEX(r)), self.left_column) for r in range(rows)]
        sums = [cgutils.alloca_once_value(build, self._load(places[r], v)) for r, v in grid]
        with cgutils.for_range(build, terms, intp=INDEX) as loop:
            weights = build.gep(start, [build.mul(loop.index, self._stride(self.weight))])
            weight = [self._load(weights, v) for v in range(vectors)]
            spread = [self._spread(build.gep(at, [build.mul(loop.index, INDEX(self.bytes))])) for at in lefts]
            for place, (r, v) in zip(sums, grid, strict=True):
                product = build.fmul(spread[r], weight[v], flags=("contract",))
                build.store(build.fadd(product, build.load(place), flags=("contract",)), place)
        for place, (r, v) in zip(sums, grid, strict=True):
            build.store(build.load(place), self._at(places[r], v), align=self.bytes)

    def _stride(self, array: Any) -> Any:
        return cgutils.unpack_tuple(self.builder, array.strides)[0]

    def _row(self, array: Any, row: Any, column: Any) -> Any:
        """Where an array's entry lies, as the address of a byte."""
        build = self.builder
        offset = build.add(build.mul(row, self._stride(array)), build.mul(column, INDEX(self.bytes)))
        return build.gep(build.bitcast(array.data, ir.IntType(8).as_pointer()), [offset])

    def _at(self, start: Any, vector: int) -> Any:
        """The address of a vector behind the start."""
        offset = INDEX(vector * self.vector.count * self.bytes)
        return self.builder.bitcast(self.builder.gep(start, [offset]), self.vector.as_pointer())

    def _load(self, start: Any, vector: int) -> Any:
        return self.builder.load(self._at(start, vector), align=self.bytes)

    def _spread(self, address: Any) -> Any:
        """The number at an address, in all lanes."""
        build, undefined = self.builder, ir.Constant(self.vector, ir.Undefined)
        number = build.load(build.bitcast(address, self.number.as_pointer()))
        first = build.insert_element(undefined, number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.vector.count), [0] * self.vector.count)
        return build.shuffle_vector(first, undefined, lanes)


wide, vector, half, single = (make_tile(ROWS, *size) for size in ((VECTORS, LANES), (1, LANES), (1, NARROW), (1, 1)))
row_wide, row_vector, row_half, row_single = (
    make_tile(1, *size) for size in ((VECTORS, LANES), (1, LANES), (1, NARROW), (1, 1))
)


@compiled
@no_type_check
def add_product(start, stop, left, left_column, weight, result, column):
    """Add left @ weight to the rows ``start`` to ``stop`` - 1 of result; all of one dtype, each row contiguous.

    Args:
        start: first row.
        stop: end of the rows.
        left: (B, .) read from ``left_column`` on, as many columns as weight has rows.
        left_column: see there.
        weight: (I, N).
        result: (B, .) N columns from ``column`` on are added to.
        column: see there.
    """
    columns = weight.shape[1]
    wides, vectors, halves = columns - columns % WIDE, columns - columns % LANES, columns - columns % NARROW
    grouped = stop - (stop - start) % ROWS
    for r in range(start, grouped, ROWS):
        for n in range(0, wides, WIDE):
            wide(left, r, left_column, weight, n, result, column)
        for n in range(wides, vectors, LANES):
            vector(left, r, left_column, weight, n, result, column)
        for n in range(vectors, halves, NARROW):
            half(left, r, left_column, weight, n, result, column)
        for n in range(halves, columns):
            single(left, r, left_column, weight, n, result, column)
    for r in range(grouped, stop):
        for n in range(0, wides, WIDE):
            row_wide(left, r, left_column, weight, n, result, column)
        for n in range(wides, vectors, LANES):
            row_vector(left, r, left_column, weight, n, result, column)
        for n in range(vectors, halves, NARROW):
            row_half(left, r, left_column, weight, n, result, column)
        for n in range(halves, columns):
            row_single(left, r, left_column, weight, n, result, column)
