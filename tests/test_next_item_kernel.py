"""The blockwise log-probabilities of targets against the plain softmax over all items at once."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hcrnn_pyro.kernels import next_item, next_item_loops
from hcrnn_pyro.kernels.next_item import target_log_probs
from hcrnn_pyro.kernels.next_item_loops import PANEL, WIDTH
from hcrnn_pyro.seen import seen_items

PREDICTIONS, ITEMS, SIZE = 24, 31, 5


def plain(features, item_embeddings, targets, excluded=None):
    logits = features @ item_embeddings[1:].T
    if excluded is not None:
        logits = logits.masked_fill(excluded[:, 1:], -torch.inf)
    return -functional.cross_entropy(logits, targets - 1, reduction="none")


def inputs_of(dtype=torch.float64, spread=1.0):
    features = spread * torch.randn(PREDICTIONS, SIZE, dtype=dtype)
    item_embeddings = torch.randn(ITEMS + 1, SIZE, dtype=dtype)
    return features.requires_grad_(), item_embeddings.requires_grad_(), torch.randint(1, ITEMS + 1, (PREDICTIONS,))


def seen_of():
    """Four rows of six events, and the same as a table of who may not be next."""
    events = torch.randint(1, ITEMS + 1, (4, 6))
    events[0] = torch.tensor([7, 7, 3, 7, 3, 1])
    seen = seen_items(events, torch.arange(6).expand(4, -1), torch.ones(4, 6, dtype=torch.bool))
    excluded = torch.zeros(PREDICTIONS, ITEMS + 1, dtype=torch.bool)
    for prediction in range(PREDICTIONS):
        excluded[prediction, events[prediction // 6, : prediction % 6 + 1]] = True
    return seen, excluded


@pytest.fixture(
    params=["compiled loops", "one kept block", "kept blocks", "blocks made again", "single rows and items"]
)
def blocks(request, monkeypatch):
    fewest, kept, block, rows = {
        "compiled loops": (1, 2**22, 1, 1),
        "one kept block": (2**22, 2**22, 2**18, 1024),
        "kept blocks": (2**22, 2**22, 35, 7),
        "blocks made again": (1, 0, 35, 7),
        "single rows and items": (1, 0, 1, 1),
    }[request.param]
    monkeypatch.setattr(next_item, "FEWEST", fewest)
    monkeypatch.setattr(next_item, "KEPT", kept)
    monkeypatch.setattr(next_item, "BLOCK", block)
    monkeypatch.setattr(next_item, "ROWS", rows)


def test_second_derivatives_by_finite_differences(blocks):
    features, item_embeddings, _ = inputs_of()
    seen, excluded = seen_of()
    targets = (~excluded[:, 1:]).int().argmax(dim=1) + 1
    weights = torch.randn(PREDICTIONS, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda f, w: target_log_probs(f, w, targets, seen), (features, item_embeddings), weights, fast_mode=True
    )


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_equal_the_plain_softmax(blocks, exclude, dtype):
    features, item_embeddings, targets = inputs_of(dtype)
    seen, excluded = seen_of() if exclude else (None, None)
    got = target_log_probs(features, item_embeddings, targets, seen)
    expected = plain(features, item_embeddings, targets, excluded)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(got, expected, **tolerance)
    weights = torch.randn(PREDICTIONS, dtype=dtype)  # every prediction has a gradient of its own
    wanted = torch.autograd.grad(expected, (features, item_embeddings), weights)
    for gradient, right in zip(torch.autograd.grad(got, (features, item_embeddings), weights), wanted, strict=True):
        torch.testing.assert_close(gradient, right, **tolerance)
        assert gradient.abs().sum() > 0


def test_gradients_by_finite_differences(blocks):
    features, item_embeddings, targets = inputs_of()
    seen, excluded = seen_of()
    targets = (~excluded[:, 1:]).int().argmax(dim=1) + 1  # the first item not yet seen
    assert torch.autograd.gradcheck(
        lambda f, w: target_log_probs(f, w, targets, seen), (features, item_embeddings), fast_mode=True
    )


def test_a_target_that_was_seen_has_probability_zero(blocks):
    features, item_embeddings, _ = inputs_of()
    seen, excluded = seen_of()
    shown = excluded.int().argmax(dim=1)
    got = target_log_probs(features, item_embeddings, shown, seen)
    assert torch.equal(got, torch.full_like(got, -torch.inf))
    got.sum().backward()
    assert features.grad.isfinite().all() and item_embeddings.grad.isfinite().all()


def test_scores_far_apart_neither_overflow_nor_vanish(blocks):
    features, item_embeddings, targets = inputs_of(torch.float32, spread=300.0)
    got = target_log_probs(features, item_embeddings, targets)
    torch.testing.assert_close(got, plain(features, item_embeddings, targets), rtol=1e-4, atol=1e-2)
    assert got.min() < -500
    got.sum().backward()
    assert features.grad.isfinite().all()


def test_nothing_is_kept_without_gradients_and_no_prediction_is_no_error(blocks):
    features, item_embeddings, targets = inputs_of()
    with torch.no_grad():
        torch.testing.assert_close(
            target_log_probs(features, item_embeddings, targets), plain(features, item_embeddings, targets)
        )
    none = target_log_probs(features[:0], item_embeddings, targets[:0])
    none.sum().backward()
    assert none.shape == (0,)
    assert item_embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("items", [WIDTH - 1, WIDTH, 2 * WIDTH + 1])
@pytest.mark.parametrize("predictions", [PANEL, 2 * PANEL + 3])
def test_compiled_loops_over_several_strips_and_panels(predictions, items):
    features = torch.randn(predictions, SIZE, dtype=torch.float64, requires_grad=True)
    item_embeddings = torch.randn(items + 1, SIZE, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(1, items + 1, (predictions,))
    events = torch.randint(1, items + 1, (predictions, 30))
    positions = torch.randint(0, 30, (predictions, 1))
    seen = seen_items(events, positions, torch.ones(predictions, 1, dtype=torch.bool))
    excluded = torch.zeros(predictions, items + 1, dtype=torch.bool)
    for n in range(predictions):
        excluded[n, events[n, : positions[n] + 1]] = True
    got = target_log_probs(features, item_embeddings, targets, seen)
    expected = plain(features, item_embeddings, targets, excluded)
    torch.testing.assert_close(got, expected)
    weights = torch.randn(predictions, dtype=torch.float64)
    counted = ~expected.isneginf()
    wanted = torch.autograd.grad(expected[counted], (features, item_embeddings), weights[counted])
    made = torch.autograd.grad(got[counted], (features, item_embeddings), weights[counted])
    for gradient, right in zip(made, wanted, strict=True):
        torch.testing.assert_close(gradient, right)


def test_a_second_backward_pass_gives_the_same(blocks):
    features, item_embeddings, targets = inputs_of()
    loss = target_log_probs(features, item_embeddings, targets).sum()
    first, second = (torch.autograd.grad(loss, (features, item_embeddings), retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_which_form_runs(monkeypatch):
    features, item_embeddings, targets = torch.randn(70, SIZE), torch.randn(ITEMS + 1, SIZE), torch.ones(70).long()

    def kept():
        log_probs = target_log_probs(features.requires_grad_(), item_embeddings, targets)
        return log_probs.grad_fn.kept

    assert isinstance(kept(), next_item_loops.Exponentials)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert isinstance(kept(), list)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return result


def test_no_table_of_predictions_times_items_is_made():
    predictions, items = 500, 20_000
    features = torch.randn(predictions, SIZE, requires_grad=True)
    item_embeddings = torch.randn(items + 1, SIZE, requires_grad=True)
    targets = torch.randint(1, items + 1, (predictions,))
    with LargestTensor() as blockwise:
        target_log_probs(features, item_embeddings, targets).sum().backward()
    with LargestTensor() as at_once:
        plain(features, item_embeddings, targets).sum().backward()
    assert at_once.largest == predictions * items
    assert blockwise.largest <= next_item.BLOCK


def test_a_prediction_that_has_seen_everything_gives_no_gradient_at_all(blocks):
    inputs = torch.tensor([[1, 2, 3]])
    seen = seen_items(inputs, torch.tensor([[0, 1, 2]]), torch.ones(1, 3, dtype=torch.bool))
    features, embeddings = torch.randn(3, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)
    log_probs = target_log_probs(features, embeddings, torch.tensor([2, 3, 1]), seen)
    assert log_probs.isneginf().tolist() == [False, False, True]
    log_probs[:2].sum().backward()
    assert features.grad.isfinite().all() and embeddings.grad.isfinite().all()
    assert not features.grad[2].any()
