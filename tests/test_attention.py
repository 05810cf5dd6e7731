"""Chunked attention against the whole softmax, in values and gradients, and whether it keeps the scores."""

import pytest
import torch

from hcrnn_pyro.nn import attention
from hcrnn_pyro.nn.attention import attend, attention_weights
from hcrnn_pyro.nn.readouts import BiChannelReadout


def dot(query, key):
    return query @ key.mT


def everything(rows=2, time=19, size=4):
    make = [torch.randn(rows, time, size, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    return *make, torch.arange(time).expand(rows, time)


@pytest.mark.parametrize("long", [5, 1000], ids=["recomputed", "kept"])
def test_chunks_give_the_whole_softmax(monkeypatch, long):
    monkeypatch.setattr(attention, "LONG", long)
    query, key, value, positions = everything()
    got = attend(dot, query, key, value, positions)
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


def test_any_positions_may_be_asked_about():
    query, key, value, positions = everything()
    picked = torch.tensor([[3], [18]])
    some = torch.stack([query[0, 3], query[1, 18]]).unsqueeze(1)
    got = attend(dot, some, key, value, picked)
    torch.testing.assert_close(got[:, 0], attend(dot, query, key, value, positions)[[0, 1], [3, 18]])
    assert (attention_weights(dot, some, key, picked)[0, 0, 4:] == 0).all()


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
