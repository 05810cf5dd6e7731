"""The kernels for a GPU against the plain forms: on a GPU where there is one, else in Triton's interpreter."""

import importlib

import numpy as np
import pytest
import torch

from hcrnn_pyro.kernels import additive, forms, reference
from hcrnn_pyro.nn.cells import HCRNN1Cell, HCRNN2Cell, HCRNN3Cell
from hcrnn_pyro.nn.recurrence import recur

pytest.importorskip("triton", reason="Triton is not installed: it is for Linux alone.")
scan_gpu = importlib.import_module("hcrnn_pyro.kernels.gpu.scan")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROWS, EMBEDDING, HIDDEN, CONTEXTS = 5, 20, 24, 6  # three programs of two rows, the last half empty


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    if DEVICE == "cpu":
        monkeypatch.setattr(forms, "is_for_loops", lambda tensor: False)
        monkeypatch.setattr(forms, "is_for_fused_kernels", lambda tensor: tensor.dtype == torch.float32)
    monkeypatch.setattr(scan_gpu, "rows_of_a_program", lambda rows, device: 2)
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter calculates with NumPy, which warns
        yield


@pytest.fixture
def small_blocks(monkeypatch):
    """So small that every product takes several, the last ones not full."""
    monkeypatch.setattr(scan_gpu, "LAUNCH", scan_gpu.LAUNCH | {"WIDTH": 16, "STEP": 16})


def cell_of(make_cell):
    cell = make_cell(EMBEDDING, HIDDEN).to(DEVICE)
    for parameter in cell.parameters():  # large enough that gates and attention leave their linear range
        parameter.data = 0.5 * torch.randn_like(parameter)
    return cell


def inputs_of(time, per_step=False):
    items = torch.randn(ROWS, time, EMBEDDING, device=DEVICE, requires_grad=True)
    contexts = torch.randn(CONTEXTS, EMBEDDING, device=DEVICE, requires_grad=True)
    shape = (ROWS, *[time][: int(per_step)], CONTEXTS)
    return items, torch.randn(shape, device=DEVICE).softmax(-1).requires_grad_(), contexts


def with_gradients(outputs, inputs):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(output.shape, generator=generator).to(DEVICE) for output in outputs]
    total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
    return [*outputs, *torch.autograd.grad(total, inputs)]


def assert_all_close(got, expected, rtol=1e-4):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * float(other.detach().abs().max()))


def assert_equals_the_plain_loop(make_cell, time, per_step):
    cell = cell_of(make_cell)
    items, theta, contexts = inputs_of(time, per_step)
    learned = [items, theta, contexts, *cell.parameters()]
    fast, plain = (recur(cell, items, theta, contexts, per_step, kernel=kernel) for kernel in ("fast", "reference"))
    assert_all_close(with_gradients(fast[:2], learned), with_gradients(plain[:2], learned))


@pytest.mark.parametrize("make_cell", [HCRNN1Cell, HCRNN2Cell, HCRNN3Cell])
def test_scan_equals_the_plain_loop(make_cell):
    assert_equals_the_plain_loop(make_cell, time=3, per_step=False)


def test_scan_with_a_theta_for_every_step(small_blocks):
    assert_equals_the_plain_loop(HCRNN3Cell, time=3, per_step=True)


def test_scan_in_small_blocks(small_blocks):
    assert_equals_the_plain_loop(HCRNN2Cell, time=2, per_step=False)


def test_scan_of_no_rows():
    cell, (items, theta, contexts) = cell_of(HCRNN3Cell), inputs_of(2)
    result = recur(cell, items[:0], theta[:0], contexts)
    assert result.hidden.shape == (0, 2, HIDDEN)
    result.hidden.sum().backward()
    assert not cell.context_score.grad.any()


def test_scan_on_strided_inputs():
    cell, (items, theta, contexts) = cell_of(HCRNN3Cell), inputs_of(2)
    strided = [tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in (items, theta, contexts)]
    got = with_gradients(recur(cell, *strided)[:2], strided)
    assert_all_close(got, with_gradients(recur(cell, items, theta, contexts)[:2], [items, theta, contexts]), rtol=1e-6)


def test_a_nan_stays_in_its_row():
    cell, inputs = cell_of(HCRNN3Cell), [tensor.detach() for tensor in inputs_of(3)]
    inputs[0][1, 1, 0] = torch.nan
    hidden = recur(cell, *inputs).hidden
    assert hidden[1, 1:].isnan().all()
    assert not hidden[1, :1].isnan().any()
    assert not hidden[[0, *range(2, ROWS)]].isnan().any()


@pytest.mark.parametrize(("queries", "keys"), [(6, 40), (9, 3)])  # more than a block of each, and fewer
def test_additive_scores(queries, keys):
    shapes = ((2, queries, 35), (2, keys, 35), (35,))
    arguments = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes]
    functions = additive.additive_scores, reference.additive_scores
    assert_all_close(*(with_gradients([function(*arguments)], arguments) for function in functions), rtol=1e-5)


def test_additive_scores_saturate_without_nan():
    query = torch.tensor([[-200.0], [-60.0], [60.0], [200.0]], device=DEVICE, requires_grad=True)
    key = torch.tensor([[-70.0], [0.0], [60.0], [-60.0], [70.0]], device=DEVICE, requires_grad=True)
    arguments = [query, key, torch.ones(1, device=DEVICE, requires_grad=True)]
    functions = additive.additive_scores, reference.additive_scores
    assert_all_close(*(with_gradients([function(*arguments)], arguments) for function in functions), rtol=1e-5)
