"""SASRec against a NumPy transcription of its blocks, one query at a time, and its settings."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from models import SASRec, SASRecConfig

SEQUENCES = [[3, 1, 4, 1, 5], [2, 7], [6, 2, 3, 5]]
ITEMS, HIDDEN, LAYERS, POSITIONS = 7, 6, 2, 3


def normed(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(x, weights, name, heads):
    projected = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    query, key, value = np.split(projected, 3, axis=-1)
    read = np.zeros_like(x)
    size = HIDDEN // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            scores = key[: t + 1, part] @ query[t, part] / np.sqrt(size)
            shares = np.exp(scores) / np.exp(scores).sum()
            read[t, part] = shares @ value[: t + 1, part]
    return read @ weights[f"{name}.out_proj.weight"].T + weights[f"{name}.out_proj.bias"]


def log_probabilities(weights, inputs, heads):
    table = weights["item_embeddings"]
    places = weights["positions.weight"][np.minimum(np.arange(len(inputs)), POSITIONS - 1)]
    x = table[inputs] * np.sqrt(HIDDEN) + places
    for layer in range(LAYERS):
        block = f"blocks.layers.{layer}"
        x = x + attention(normed(x, weights, f"{block}.norm1"), weights, f"{block}.self_attn", heads)
        between = normed(x, weights, f"{block}.norm2") @ weights[f"{block}.linear1.weight"].T
        between = np.maximum(between + weights[f"{block}.linear1.bias"], 0)
        x = x + between @ weights[f"{block}.linear2.weight"].T + weights[f"{block}.linear2.bias"]
    logits = normed(x, weights, "blocks.norm") @ table[1:].T
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_log_probabilities_of_every_position(heads, training):
    model = SASRec(ITEMS, hidden=HIDDEN, layers=LAYERS, heads=heads, positions=POSITIONS, dropout=0.0).double()
    for parameter in model.parameters():  # large enough that attention and ReLU matter
        parameter.data = torch.randn_like(parameter)
    model.item_embeddings.data[0] = 0.0
    sequences = Sequences.from_lists(SEQUENCES)
    batch = make_batch(sequences, np.arange(3), sequences.lengths - 1, "sequence")
    with torch.set_grad_enabled(training):  # torch takes another path where no gradient is wanted
        got = model.train(training).likelihood(batch).log_probs().detach().numpy()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = [log_probabilities(weights, np.array(sequence[:-1]), heads) for sequence in SEQUENCES]
    np.testing.assert_allclose(got[:, 1:], np.concatenate(expected), rtol=1e-8)


def test_dropout_acts_in_training_alone():
    model = SASRec(ITEMS, hidden=HIDDEN, dropout=0.5)
    sequences = Sequences.from_lists(SEQUENCES)
    batch = make_batch(sequences, np.arange(3), sequences.lengths - 1, "sequence")
    assert not torch.equal(model.states(batch), model.states(batch))
    model.eval()
    torch.testing.assert_close(model.states(batch), model.states(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"layers": 0}, "--layers is a whole number of at least 1; got 0"),
        ({"hidden": 10, "heads": 3}, "--heads divides --hidden, 10, without rest; got 3"),
        ({"dropout": 1.0}, r"--dropout is a share in \[0, 1\); got 1.0"),
    ],
)
def test_impossible_settings_are_told_in_a_sentence(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        SASRecConfig(**settings)
