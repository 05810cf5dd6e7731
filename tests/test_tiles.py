"""Products by tiles against NumPy, for every way in which rows and columns fall into tiles."""

import numpy as np
import pytest
from numba.core.errors import TypingError

from hcrnn_pyro.kernels.tiles import ROWS, VECTORS, add_product, put_product
from hcrnn_pyro.kernels.vectors import REGISTER

LANES = REGISTER // 4  # float32 numbers in a register
WIDE = VECTORS * LANES

EXACT = {np.float32: 2e-6, np.float64: 1e-14}


def product(rows, terms, columns, dtype, start=0, left_column=0, column=0):
    """The result of a call on larger arrays, and what it should be."""
    random = np.random.default_rng(0)
    left = random.normal(size=(start + rows + 2, left_column + terms + 3)).astype(dtype)
    weight = random.normal(size=(terms, columns)).astype(dtype)
    result = random.normal(size=(start + rows + 2, column + columns + 5)).astype(dtype)
    expected = result.astype(np.float64)
    stop = start + rows
    used = left[start:stop, left_column : left_column + terms].astype(np.float64)
    expected[start:stop, column : column + columns] += used @ weight.astype(np.float64)
    add_product(start, stop, left, left_column, weight, result, column)
    return result, expected, EXACT[dtype] * max(1, terms) * 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 13, 16])
def test_rows(rows, dtype):
    result, expected, tolerance = product(rows, 10, WIDE + LANES + LANES // 2 + 3, dtype)
    np.testing.assert_allclose(result, expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [*range(2 * WIDE + 2), 100, 400])
def test_columns(columns, dtype):
    result, expected, tolerance = product(ROWS + 1, 7, columns, dtype)
    np.testing.assert_allclose(result, expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("terms", [0, 1, 2, 50, 333])
def test_terms(terms):
    result, expected, tolerance = product(ROWS, terms, WIDE + 1, np.float32)
    np.testing.assert_allclose(result, expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("rows", [1, 4, 7, 8, 13])
def test_what_the_result_held_is_overwritten(rows):
    left, weight = np.random.default_rng(0).normal(size=(15, 9)), np.random.default_rng(1).normal(size=(7, 29))
    result = np.full((15, 33), np.nan)
    put_product(1, 1 + rows, left, 2, weight, result, 3)
    expected = np.full((15, 33), np.nan)
    expected[1 : 1 + rows, 3:32] = left[1 : 1 + rows, 2:] @ weight
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_nothing_but_the_asked_rows_and_columns_is_read_or_written():
    result, expected, tolerance = product(6, 5, 31, np.float32, start=3, left_column=2, column=4)
    np.testing.assert_allclose(result, expected, rtol=0.0, atol=tolerance)
    untouched = np.ones(result.shape, bool)
    untouched[3:9, 4:35] = False
    np.testing.assert_array_equal(result[untouched], expected[untouched].astype(np.float32))


@pytest.mark.parametrize(
    "layout", [lambda left: np.asfortranarray(left), lambda left: np.repeat(left, 2, axis=1)[:, ::2]]
)
def test_the_left_factor_may_lie_in_any_way(layout):
    random = np.random.default_rng(0)
    left, weight = random.normal(size=(6, 10)), random.normal(size=(7, 13))
    result = np.zeros((6, 13))
    add_product(0, 6, layout(left), 2, weight, result, 0)
    np.testing.assert_allclose(result, left[:, 2:9] @ weight, rtol=1e-12)


def test_no_rows():
    result, expected, _ = product(0, 5, 9, np.float32)
    np.testing.assert_array_equal(result, expected.astype(np.float32))


@pytest.mark.parametrize(
    "change", [lambda weight: weight.T, lambda weight: weight.astype(np.float64), lambda weight: weight[:, ::2]]
)
def test_other_layouts_and_mixed_dtypes_are_refused(change):
    left, weight, result = np.ones((4, 6), np.float32), np.ones((6, 6), np.float32), np.zeros((4, 6), np.float32)
    with pytest.raises(TypingError, match=r"Expected contiguous arrays .* weight and result of a product by tiles"):
        add_product(0, 4, left, 0, change(weight), result, 0)
    assert (result == 0.0).all()
