"""Scores of additive attention and their gradients in compiled loops against NumPy in double precision."""

import numpy as np
import pytest
from numba.core.errors import TypingError

from hcrnn_pyro.kernels.sigmoids import KEYS, leave_scores, score_keys

PRECISION = {np.float32: 3e-6, np.float64: 1e-14}
SIZES = [1, 2, 3, 4, 7, 8, 12, 16, 17, 31, 100]


def arrays(keys, size, dtype, seed=0):
    """Query, key, weight, gradient of the scores; query and key as they are, not as factors."""
    random = np.random.default_rng(seed)
    shapes = [(size,), (keys, size), (size,), (keys,)]
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def sigmoid(query, key):
    return 1.0 / (1.0 + np.exp(-(query.astype(np.float64) + key)))


def gradients(query, key, grad):
    """What leave_scores adds to the gradients of query, key and weight."""
    value = sigmoid(query, key)
    slope = grad[:, None] * value * (1.0 - value)
    return slope.sum(0), slope, (grad[:, None] * value).sum(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keys", [1, KEYS - 1, KEYS, KEYS + 1, 2 * KEYS + 3])
def test_scores_and_gradients(keys, size, dtype):
    query, key, weight, grad = arrays(keys, size, dtype)
    factors = np.exp(-query), np.exp(-key)
    result = np.full(keys, np.nan, dtype)
    score_keys(*factors, keys, weight, result)
    close = {"rtol": PRECISION[dtype], "atol": size * PRECISION[dtype]}
    np.testing.assert_allclose(result, sigmoid(query, key) @ weight.astype(np.float64), **close)
    added = [np.ones_like(query), np.ones_like(key), np.ones_like(weight)]
    leave_scores(*factors, keys, grad, *added)
    for array, expected in zip(added, gradients(query, key, grad), strict=True):
        np.testing.assert_allclose(array - 1.0, expected, **close)


def test_only_the_first_keys_count():
    query, key, weight, grad = arrays(9, 10, np.float32)
    factors = np.exp(-query), np.exp(-key)
    result = np.full(9, 7.0, np.float32)
    score_keys(*factors, 6, weight, result)
    assert (result[6:] == 7.0).all() and (result[:6] != 7.0).all()
    added = [np.zeros_like(query), np.zeros_like(key), np.zeros_like(weight)]
    leave_scores(*factors, 6, grad, *added)
    assert (added[1][6:] == 0.0).all()
    for array, expected in zip(added, gradients(query, key[:6], grad[:6]), strict=True):
        np.testing.assert_allclose(array[: len(expected)], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keys", [1, KEYS])
def test_where_a_sigmoid_is_almost_0_or_1(keys, dtype):
    """Each key has entries at either end of the range; none of them disturbs the other keys."""
    far = 80.0 if dtype == np.float32 else 700.0
    query = np.array([far, -far, far, -far, 0.0], dtype)
    key = np.tile(np.array([far, -far, -far, far, 0.0], dtype), (keys, 1))
    factors, weight = (np.exp(-query), np.exp(-key)), np.array([1.0, 1.0, 1.0, 1.0, 1.0], dtype)
    result = np.empty(keys, dtype)
    score_keys(*factors, keys, weight, result)
    np.testing.assert_allclose(result, 1.0 + 0.0 + 0.5 + 0.5 + 0.5, rtol=1e-6)
    added = [np.zeros_like(query), np.zeros_like(key), np.zeros_like(weight)]
    leave_scores(*factors, keys, np.ones(keys, dtype), *added)
    np.testing.assert_allclose(added[1], [[0.0, 0.0, 0.25, 0.25, 0.25]] * keys, atol=1e-9)
    np.testing.assert_allclose(added[2] / keys, [1.0, 0.0, 0.5, 0.5, 0.5], atol=1e-9)


def test_keys_that_share_a_division_do_not_disturb_each_other():
    """In every column one key is far out on one side, one far out on the other, and two are near."""
    query, weight = np.array([-40.0, 40.0, 3.0], np.float32), np.array([1.0, 10.0, 100.0], np.float32)
    key = np.array([[-40.0, -40.0, -80.0], [40.0, 40.0, 80.0], [-39.0, -41.0, -3.5], [41.0, -38.0, -2.0]], np.float32)
    result, added = np.empty(4, np.float32), [np.zeros_like(query), np.zeros_like(key), np.zeros_like(weight)]
    score_keys(np.exp(-query), np.exp(-key), 4, weight, result)
    np.testing.assert_allclose(result, sigmoid(query, key) @ weight.astype(np.float64), rtol=1e-5, atol=1e-6)
    grad = np.array([1.0, -2.0, 3.0, -4.0], np.float32)
    leave_scores(np.exp(-query), np.exp(-key), 4, grad, *added)
    for array, expected in zip(added, gradients(query, key, grad), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keys", [1, KEYS])
def test_what_is_no_number_stays_none(keys):
    query, key, weight, _ = arrays(keys, 20, np.float32)
    query[3] = np.nan
    result = np.zeros(keys, np.float32)
    score_keys(np.exp(-query), np.exp(-key), keys, weight, result)
    assert np.isnan(result).all()


def test_other_layouts_and_mixed_dtypes_are_refused():
    query, key, weight, grad = arrays(5, 6, np.float32)
    with pytest.raises(TypingError, match=r"Expected contiguous arrays .* for scores of keys; got .*layout F"):
        score_keys(query, np.asfortranarray(key), 5, weight, grad)
    with pytest.raises(TypingError, match=r"for gradients of scores; got .*float64"):
        leave_scores(query, key, 5, grad.astype(np.float64), query, key, weight)
