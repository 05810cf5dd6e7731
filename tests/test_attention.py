"""Chunked attention against the whole softmax, in values and gradients, and whether it keeps the scores."""

import pytest
import torch
from torch.nn.utils import prune

from hcrnn_pyro.kernels.causal import causal_means, causal_scores
from hcrnn_pyro.nn import attention
from hcrnn_pyro.nn.attention import at_scored, attend, attention_weights
from hcrnn_pyro.nn.readouts import BiChannelReadout


def dot(query, key, causal=False):
    scores = query @ key.mT
    unread = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(unread, torch.nan) if causal else scores


def everything(rows=2, time=19, size=4):
    make = [torch.randn(rows, time, size, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    return *make, torch.arange(time).expand(rows, time)


@pytest.mark.parametrize(
    ("kernel", "long", "chunk"),
    [("fast", 1000, 8), ("reference", 5, 8), ("reference", 5, 19), ("reference", 1000, 8), ("reference", 1000, 19)],
    ids=["compiled", "recomputed", "recomputed whole", "kept", "kept whole"],
)
def test_every_form_gives_the_whole_softmax(monkeypatch, kernel, long, chunk):
    """The compiled loops read no score of a later key: those are no numbers here."""
    monkeypatch.setattr(attention, "LONG", long)
    monkeypatch.setattr(attention, "CHUNK", chunk)
    query, key, value, positions = everything()
    got = attend(dot, query, key, value, positions, kernel=kernel)
    scores = query @ key.mT + torch.full((19, 19), -torch.inf, dtype=torch.float64).triu(1)
    expected = scores.softmax(-1) @ value
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    for mine, theirs in zip(
        torch.autograd.grad((got * weights).sum(), (query, key, value)),
        torch.autograd.grad((expected * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_compiled_means_by_finite_differences_and_in_any_number_of_batch_dimensions():
    scores, values = (torch.randn(3, 2, 11, size, dtype=torch.float64, requires_grad=True) for size in (11, 4))
    assert torch.autograd.gradcheck(causal_means, (scores, values))
    torch.testing.assert_close(causal_means(scores, values)[:, :, 0], values[:, :, 0])  # alone in its softmax
    none = causal_means(scores[:0], values[:0])
    none.sum().backward()
    assert none.shape == (0, 2, 11, 4)


@pytest.mark.parametrize("batch", [(2,), (3, 2), (0,)])
@pytest.mark.parametrize("time", [1, 8, 11])
def test_scores_so_far_by_finite_differences(batch, time):
    query, key = (torch.randn(*batch, time, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(causal_scores(query, key, 0.3), 0.3 * query @ key.mT)
    if query.numel() > 0:
        assert torch.autograd.gradcheck(lambda *both: causal_scores(*both, 0.3).tril(), (query, key))


def test_scored_positions_in_any_number_of_batch_dimensions():
    states, scored = torch.randn(3, 4, 5, 2), torch.rand(4, 5) < 0.5
    assert torch.equal(at_scored(states, scored), states[..., scored, :])
    assert torch.equal(at_scored(states[0], scored), states[0][scored])
    assert at_scored(states, torch.zeros_like(scored)).shape == (3, 0, 2)


def test_compiled_means_of_scores_far_apart_are_no_nan():
    scores = torch.tensor([[0.0, 0.0], [-1e4, 1e4]], requires_grad=True)
    values = torch.tensor([[1.0], [2.0]], requires_grad=True)
    got = causal_means(scores, values)
    assert got.tolist() == [[1.0], [2.0]]
    got.sum().backward()
    assert scores.grad.abs().max() < 1e-30
    assert values.grad.tolist() == [[1.0], [1.0]]


def test_any_positions_may_be_asked_about():
    query, key, value, positions = everything()
    picked = torch.tensor([[3], [18]])
    some = torch.stack([query[0, 3], query[1, 18]]).unsqueeze(1)
    got = attend(dot, some, key, value, picked)
    torch.testing.assert_close(got[:, 0], attend(dot, query, key, value, positions)[[0, 1], [3, 18]])
    assert (attention_weights(dot, some, key, picked)[0, 0, 4:] == 0).all()


@pytest.mark.parametrize("positions", [torch.arange(5).expand(3, -1), torch.tensor([[4], [0], [2]])])
def test_readout_by_the_merged_matrix(positions):
    fast, plain = BiChannelReadout(4, 6), BiChannelReadout(4, 6, kernel="reference")
    plain.load_state_dict(fast.state_dict())
    hidden, context = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 4)  # a dimension of Pyro's on the left
    torch.testing.assert_close(fast(hidden, context, positions), plain(hidden, context, positions))
    assert fast(hidden[:, :0], context[:, :0], positions[:0]).shape == (2, 0, positions.shape[1], 18)


def test_a_pruned_readout_is_pruned():
    fast, plain = BiChannelReadout(4, 6), BiChannelReadout(4, 6, kernel="reference")
    plain.load_state_dict(fast.state_dict())
    for readout in (fast, plain):
        prune.l1_unstructured(readout.local_query, "weight", 0.5)
        readout.local_query.weight_orig.data *= 2.0
    inputs = torch.randn(3, 5, 6), torch.randn(3, 5, 4), torch.arange(5).expand(3, -1)
    torch.testing.assert_close(fast(*inputs), plain(*inputs))


def test_long_sequences_take_memory_in_proportion_to_their_length():
    """Bytes that autograd keeps for the backward pass of a readout: twice the time, about twice as many."""
    readout = BiChannelReadout(3, 3)

    def kept(time):
        storages = {}  # views share one; holding on to it keeps its address from being used again

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        hidden, context = torch.randn(1, time, 3), torch.randn(1, time, 3)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            readout(hidden, context, torch.arange(time).expand(1, time)).sum()
        return sum(storage.nbytes() for storage in storages.values())

    assert kept(1600) < 2.5 * kept(800)
    assert kept(180) > 0.5 * 180**2 * 4, "below LONG the scores themselves are kept"
