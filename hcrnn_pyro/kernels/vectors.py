"""LLVM's vectors in functions that Numba compiles, for loops that LLVM does not vectorise well by itself.

It vectorises the innermost loop alone, so sums over that loop travel to memory and back, and it leaves a loop as it is
where it cannot tell that the arrays do not overlap. Here the instructions are written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.errors import TypingError

REGISTER = 32  # bytes of a register of AVX2
INDEX = ir.IntType(64)


def require_contiguous(what: str, dtype: Any, *arrays: Any) -> None:
    """Of types of arrays: what is written here reads whole vectors of one dtype.

    Raises:
        TypingError: an array is of another dtype, or its rows are not contiguous.
    """
    if any(array.dtype != dtype or array.layout != "C" for array in arrays):
        got = ", ".join(f"{array.dtype} of layout {array.layout}" for array in arrays)
        raise TypingError(f"Expected contiguous arrays (layout C) of {dtype} for {what}; got {got}.")


class Array:
    """Where the entries of an array lie.

    Args:
        context: Numba's, of the code that is compiled.
        builder: LLVM's.
        kind: Numba's type of the array.
        value: the array.
    """

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self.build = builder
        self.data = builder.bitcast(array.data, ir.IntType(8).as_pointer())
        self.shape = cgutils.unpack_tuple(builder, array.shape)
        *self.strides, last = cgutils.unpack_tuple(builder, array.strides)
        self.strides.append(INDEX(kind.dtype.bitwidth // 8) if kind.layout == "C" else last)  # known before it runs

    def at(self, *place: Any) -> Any:
        """The address of an entry, or of the first one of a row where only the row is given."""
        address = self.data
        for index, stride in zip(place, self.strides, strict=False):
            address = self.build.gep(address, [self.build.mul(index, stride)])
        return address


class Vectors:
    """Writes instructions on vectors of one kind of number.

    Args:
        context: Numba's, of the code that is compiled.
        builder: LLVM's.
        kind: Numba's type of the numbers.
        registers: that the widest vectors fill, a power of 2.
    """

    def __init__(self, context: Any, builder: Any, kind: Any, registers: int = 1) -> None:
        self.build = builder
        self.number = context.get_value_type(kind)
        self.bytes = kind.bitwidth // 8
        lanes = REGISTER // self.bytes
        halvings = registers.bit_length() + 1
        self.widths = [*(registers * lanes >> i for i in range(halvings)), 1]

    def over_columns(self, columns: Any, vectors: int = 1) -> Iterator[tuple[Any, int, int]]:
        """Loops over columns: some whole vectors at a time, then ever narrower ones for what is left.

        Args:
            columns: how many.
            vectors: at a time.

        Yields:
            inside each loop: the first column, how many vectors, and the numbers in each.
        """
        done = INDEX(0)
        for group, width in dict.fromkeys([(vectors, self.widths[0]), *((1, width) for width in self.widths)]):
            step = INDEX(group * width)
            end = self.build.sub(columns, self.build.urem(self.build.sub(columns, done), step))
            with cgutils.for_range_slice(self.build, done, end, step, intp=INDEX) as (column, _):
                yield column, group, width
            done = end

    def variable(self, value: Any) -> Any:
        """A place whose value changes; LLVM keeps it in a register."""
        return cgutils.alloca_once_value(self.build, value)

    def number_at(self, address: Any) -> Any:
        """A pointer to the single number at an address."""
        return self.build.bitcast(address, self.number.as_pointer())

    def behind(self, address: Any, numbers: Any) -> Any:
        """The address so many numbers further on."""
        return self.build.gep(address, [self.build.mul(numbers, INDEX(self.bytes))])

    def load(self, address: Any, width: int) -> Any:
        """The numbers from an address on."""
        return self.build.load(self._pointer(address, width), align=self.bytes)

    def store(self, value: Any, address: Any) -> None:
        """Write the numbers from an address on."""
        self.build.store(value, self._pointer(address, value.type.count), align=self.bytes)

    def constant(self, number: float, width: int) -> Any:
        """A number in all lanes."""
        return ir.Constant(ir.VectorType(self.number, width), [number] * width)

    def spread(self, address: Any, width: int) -> Any:
        """The number at an address, in all lanes."""
        undefined = ir.Constant(ir.VectorType(self.number, width), ir.Undefined)
        number = self.build.load(self.number_at(address))
        first = self.build.insert_element(undefined, number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        return self.build.shuffle_vector(first, undefined, lanes)

    def add_product(self, left: Any, right: Any, total: Any) -> Any:
        """Total + left * right, which may become one instruction."""
        product = self.build.fmul(left, right, flags=("contract",))
        return self.build.fadd(total, product, flags=("contract",))

    def sum(self, vector: Any) -> Any:
        """Of all lanes, as a number."""
        kind = ir.FunctionType(self.number, [self.number, vector.type])
        name = f"llvm.vector.reduce.fadd.v{vector.type.count}f{8 * self.bytes}"
        add = cgutils.get_or_insert_function(self.build.module, kind, name)
        return self.build.call(add, [self.number(0.0), vector], fastmath=("reassoc",))

    def _pointer(self, address: Any, width: int) -> Any:
        return self.build.bitcast(address, ir.VectorType(self.number, width).as_pointer())
