"""Fast forms against their readable references: values and gradients."""

import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from hcrnn_pyro.kernels import forms, forward_loops, loops, reference, scan_cpu
from hcrnn_pyro.kernels.additive import additive_scores
from hcrnn_pyro.kernels.reference import ScanInputs
from hcrnn_pyro.nn import recurrence
from hcrnn_pyro.nn.cells import HCRNN1Cell, HCRNN2Cell, HCRNN3Cell
from hcrnn_pyro.nn.recurrence import is_known, recur

CELLS = [HCRNN1Cell, HCRNN2Cell, HCRNN3Cell]
ROWS, EMBEDDING, HIDDEN, CONTEXTS = 11, 5, 7, 4  # more rows than a block of the compiled loops, and an odd number


@pytest.fixture(params=["compiled loops", "whole tensors"])
def form(request, monkeypatch):
    """The form for the CPU, and one for other devices, which runs on the CPU too."""
    if request.param == "whole tensors":
        monkeypatch.setattr(forms, "is_for_loops", lambda tensor: False)
    return request.param


def cell_of(make_cell, dtype=torch.float32):
    cell = make_cell(EMBEDDING, HIDDEN).to(dtype)
    for parameter in cell.parameters():  # large enough that gates and attention leave their linear range
        parameter.data = torch.randn_like(parameter)
    return cell


def inputs_of(time, per_step=False, samples=(), dtype=torch.float32):
    items = torch.randn(ROWS, time, EMBEDDING, dtype=dtype, requires_grad=True)
    contexts = torch.randn(CONTEXTS, EMBEDDING, dtype=dtype, requires_grad=True)
    shape = (*samples, ROWS, *[time][: int(per_step)], CONTEXTS)
    return items, torch.randn(shape, dtype=dtype).softmax(-1).requires_grad_(), contexts


def with_gradients(outputs, inputs):
    weights = (torch.randn(output.shape, generator=torch.Generator().manual_seed(1)) for output in outputs)
    total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
    return [*outputs, *torch.autograd.grad(total, inputs)]


def assert_all_close(got, expected, rtol=1e-4):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * float(other.detach().abs().max()))


@pytest.mark.parametrize("samples", [(), (2,)], ids=["", "samples"])
@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "filtering"])
@pytest.mark.parametrize("time", [1, 6])
@pytest.mark.parametrize("make_cell", CELLS)
def test_scan_equals_the_plain_loop(form, make_cell, time, per_step, samples):
    cell = cell_of(make_cell)
    items, theta, contexts = inputs_of(time, per_step, samples)
    learned = [items, theta, contexts, *cell.parameters()]
    fast, plain = (recur(cell, items, theta, contexts, per_step, kernel=kernel) for kernel in ("fast", "reference"))
    assert fast.hidden.shape == (*samples, ROWS, time, HIDDEN)
    assert_all_close(with_gradients(fast[:2], learned), with_gradients(plain[:2], learned))


@pytest.mark.parametrize("make_cell", CELLS)
def test_scan_in_double_precision(form, make_cell):
    cell, inputs = cell_of(make_cell, torch.float64), inputs_of(4, dtype=torch.float64)
    learned = [*inputs, *cell.parameters()]
    fast, plain = (recur(cell, *inputs, kernel=kernel) for kernel in ("fast", "reference"))
    assert_all_close(with_gradients(fast[:2], learned), with_gradients(plain[:2], learned), rtol=1e-11)


@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "filtering"])
def test_strides_change_nothing(form, per_step):
    cell, (items, theta, contexts) = cell_of(HCRNN3Cell), inputs_of(6, per_step)
    strided = [tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in (items, theta, contexts)]
    assert not any(tensor.is_contiguous() for tensor in strided)
    got = with_gradients(recur(cell, *strided, per_step)[:2], strided)
    assert_all_close(got, with_gradients(recur(cell, items, theta, contexts, per_step)[:2], [items, theta, contexts]))


def test_the_number_of_threads_changes_no_bit_of_the_loops():
    rows, time = 50, 6
    weights = recurrence._weights(cell_of(HCRNN3Cell))
    inputs = ScanInputs(
        items=torch.randn(rows, time, EMBEDDING),
        projected=torch.randn(rows, time, EMBEDDING + 3 * HIDDEN),
        theta=torch.randn(rows, CONTEXTS).softmax(-1),
        projected_contexts=torch.randn(CONTEXTS, HIDDEN),
        global_contexts=torch.randn(CONTEXTS, EMBEDDING),
        hidden=torch.randn(rows, HIDDEN),
        local_context=torch.randn(rows, EMBEDDING),
    )
    after = torch.randn(rows, time, HIDDEN), torch.randn(rows, time, EMBEDDING)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        steps = scan_cpu.forward(True, inputs, weights)
        results.append([*steps, *scan_cpu.backward(True, inputs, weights, steps, *after)])
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], result, strict=True))


def test_nan_reaches_every_later_state_of_its_row_and_no_other(form):
    items, theta, contexts = (tensor.detach() for tensor in inputs_of(5))
    items[1, 2, 0] = torch.nan
    hidden = recur(cell_of(HCRNN3Cell), items, theta, contexts).hidden
    assert hidden[1, 2:].isnan().all()
    assert not hidden[1, :2].isnan().any()
    assert not hidden[[0, *range(2, ROWS)]].isnan().any()


class Forgetful(HCRNN3Cell):
    """A researcher's own equation: nothing of the history is kept."""

    def keep_history(self, item, local_context, reset_input, drift_weight):
        reset_gate, drift_gate = super().keep_history(item, local_context, reset_input, drift_weight)
        return 0 * reset_gate, drift_gate


def test_a_cell_with_an_equation_of_its_own_runs_by_its_own_step():
    cell, inputs = cell_of(Forgetful), inputs_of(4)
    assert not is_known(cell)
    assert torch.equal(recur(cell, *inputs).hidden, recur(cell, *inputs, kernel="reference").hidden)
    cell.history_to_candidate.weight.data += 1.0  # multiplies the history kept, and that is 0
    assert torch.equal(recur(cell, *inputs).hidden, recur(cell, *inputs, kernel="reference").hidden)


class Doubling(HCRNN3Cell):
    def forward(self, *args, **kwargs):
        state, gates = super().forward(*args, **kwargs)
        return type(state)(2 * state.hidden, state.local_context), gates


class Shifted(nn.Linear):
    def forward(self, features):
        return super().forward(features) + 1.0


def with_own_step():
    return cell_of(Doubling)


def with_own_matrix():
    cell = cell_of(HCRNN3Cell)
    cell.history_to_candidate = Shifted(HIDDEN, HIDDEN, bias=False)
    return cell


def with_bias():
    cell = cell_of(HCRNN3Cell)
    cell.local_to_local = nn.Linear(EMBEDDING, EMBEDDING)
    return cell


def with_hook():
    cell = cell_of(HCRNN3Cell)
    cell.hidden_projection.register_forward_hook(lambda _module, _inputs, output: 0.5 * output)
    return cell


def pruned():
    cell = cell_of(HCRNN3Cell)
    prune.random_unstructured(cell.local_to_update, "weight", 0.5)
    cell.local_to_update.weight_orig.data *= 2.0
    return cell


@pytest.mark.parametrize("make", [with_own_step, with_own_matrix, with_bias, with_hook, pruned])
def test_what_the_weights_do_not_tell_is_not_passed_over(make):
    cell, inputs = make(), inputs_of(4)
    assert torch.equal(recur(cell, *inputs).hidden, recur(cell, *inputs, kernel="reference").hidden)


def test_large_attention_scores(form):
    cell, inputs = cell_of(HCRNN3Cell), inputs_of(4)
    cell.context_score.data *= 300.0
    fast, plain = (recur(cell, *inputs, kernel=kernel) for kernel in ("fast", "reference"))
    assert_all_close(fast[:2], plain[:2])


def test_no_rows(form):
    cell, (items, theta, contexts) = cell_of(HCRNN3Cell), inputs_of(4)
    result = recur(cell, items[:0], theta[:0], contexts)
    assert result.hidden.shape == (0, 4, HIDDEN)
    result.hidden.sum().backward()
    assert not cell.context_score.grad.any()


def test_half_precision_runs_as_operations_on_whole_tensors():
    cell, inputs = cell_of(HCRNN3Cell, torch.bfloat16), inputs_of(4, dtype=torch.bfloat16)
    fast, plain = (recur(cell, *inputs, kernel=kernel).hidden for kernel in ("fast", "reference"))
    torch.testing.assert_close(fast, plain, rtol=0.05, atol=0.05)


def test_an_error_in_a_thread_is_raised(monkeypatch):
    def fail(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(forward_loops, "forward", fail)
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        recur(cell_of(HCRNN3Cell), *inputs_of(2))


@pytest.mark.slow
def test_a_change_of_one_source_compiles_what_stands_in_the_others(tmp_path):
    package = Path(loops.__file__).parents[1]
    shutil.copytree(package, tmp_path / "hcrnn_pyro", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import torch; from hcrnn_pyro.nn.cells import HCRNN1Cell; from hcrnn_pyro.nn.recurrence import recur\n"
        "torch.manual_seed(0); cell = HCRNN1Cell(3, 4)\n"
        "print(float(recur(cell, torch.ones(1, 2, 3), torch.full((1, 2), 0.5), torch.ones(2, 3)).hidden.sum()))"
    )

    def run():
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return float(done.stdout)

    before = run()
    source = tmp_path / "hcrnn_pyro" / "kernels" / "loops.py"
    source.write_text(
        source.read_text().replace("one / (one + exponential(-x))", "one / (one + one + exponential(-x))")
    )
    assert abs(run() - before) > 1e-3


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_additive_scores(form, batch):
    query, key, weight = (torch.randn(shape, requires_grad=True) for shape in ((*batch, 4, 9), (*batch, 5, 9), (9,)))
    outputs = [[function(query, key, weight)] for function in (additive_scores, reference.additive_scores)]
    assert_all_close(*(with_gradients(output, [query, key, weight]) for output in outputs), rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_additive_scores_of_which_only_those_so_far_are_read(form, batch):
    query, key, weight = (torch.randn(shape, requires_grad=True) for shape in ((*batch, 5, 9), (*batch, 5, 9), (9,)))
    read = torch.ones(5, 5).tril().bool()
    outputs = [
        [function(query, key, weight, **options).masked_fill(~read, 0.0)]
        for function, options in ((additive_scores, {"causal": True}), (reference.additive_scores, {}))
    ]
    assert_all_close(*(with_gradients(output, [query, key, weight]) for output in outputs), rtol=1e-5)


def test_additive_scores_saturate_without_nan(form):
    query = torch.tensor([[-200.0], [-60.0], [60.0], [200.0]], requires_grad=True)
    key = torch.tensor([[-70.0], [0.0], [60.0], [-60.0], [70.0]], requires_grad=True)
    weight = torch.ones(1, requires_grad=True)
    got = with_gradients([additive_scores(query, key, weight)], [query, key, weight])
    expected = with_gradients([reference.additive_scores(query, key, weight)], [query, key, weight])
    assert_all_close(got, expected, rtol=1e-5)


@numba.njit
def exponentials(x, result):
    for i in range(len(x)):
        result[i] = loops.exponential(x[i])


def test_the_exponential_in_single_precision():
    x = np.linspace(-87, 87, 100_001, dtype=np.float32)
    result = np.empty_like(x)
    exponentials(x, result)
    np.testing.assert_allclose(result, np.exp(x.astype(np.float64)), rtol=2e-7)


def test_the_exponential_at_the_ends():
    x = np.array([-np.inf, -1e30, 1e30, np.inf, np.nan], dtype=np.float32)
    result = np.empty_like(x)
    exponentials(x, result)
    np.testing.assert_allclose(result[:4], np.exp([-87.0, -87.0, 87.0, 87.0]), rtol=2e-7)
    assert np.isnan(result[4])
