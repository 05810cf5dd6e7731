"""Fast forms against their readable references: values and gradients."""

import pytest
import torch

from hcrnn_pyro.kernels import additive, reference
from hcrnn_pyro.kernels.reference import ScanInputs
from hcrnn_pyro.nn.cells import HCRNN1Cell, HCRNN2Cell, HCRNN3Cell
from hcrnn_pyro.nn.recurrence import is_known, recur

CELLS = [HCRNN1Cell, HCRNN2Cell, HCRNN3Cell]
ROWS, TIME, EMBEDDING, HIDDEN, CONTEXTS = 3, 6, 5, 7, 4


def leaves(dtype, *shapes):
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def values_and_gradients(outputs, inputs):
    weighted = sum((output * torch.linspace(0.5, 1.5, output.numel()).view_as(output)).sum() for output in outputs)
    return [*outputs, *torch.autograd.grad(weighted, inputs)]


def assert_all_close(got, expected, rtol=1e-4):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * float(other.detach().abs().max()))


@pytest.mark.parametrize("samples", [(), (2,)], ids=["", "samples"])
@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "filtering"])
@pytest.mark.parametrize("time", [1, TIME])
@pytest.mark.parametrize("make_cell", CELLS)
def test_scan_equals_the_plain_loop(make_cell, time, per_step, samples):
    cell = make_cell(EMBEDDING, HIDDEN)
    for parameter in cell.parameters():  # large enough that gates and attention leave their linear range
        parameter.data = torch.randn_like(parameter)
    items, contexts = leaves(torch.float32, (ROWS, time, EMBEDDING), (CONTEXTS, EMBEDDING))
    shape = (*samples, ROWS, time, CONTEXTS) if per_step else (*samples, ROWS, CONTEXTS)
    theta = torch.randn(shape).softmax(-1).requires_grad_()
    inputs = [items, theta, contexts, *cell.parameters()]
    fast, plain = (recur(cell, items, theta, contexts, per_step, kernel=kernel) for kernel in ("fast", "reference"))
    assert fast.hidden.shape == (*samples, ROWS, time, HIDDEN)
    assert_all_close(values_and_gradients(fast[:2], inputs), values_and_gradients(plain[:2], inputs))
