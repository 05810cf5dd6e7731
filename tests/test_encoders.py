"""Encoders that keep the order of the items: against NumPy, and what they may and may not see."""

import numpy as np
import pytest
import scipy.special
import torch

from hcrnn_pyro.data.batches import SCOPES, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.nn.attention_encoder import AttentionEncoder
from hcrnn_pyro.nn.recurrent_encoder import RecurrentEncoder
from models import HCRNN, LogisticNormal

SEQUENCES = [[3, 1, 3, 2, 5, 6], [4, 4, 4], [1, 2, 6]]


def encoder_of(make, size):
    model = HCRNN("hcrnn3-bi", items=6, make_prior=LogisticNormal, hidden=size, contexts=3).double()
    encoder = make(model).double().eval()
    for parameter in [*encoder.parameters(), model.item_embeddings]:
        parameter.data = torch.randn_like(parameter)
    model.item_embeddings.data[0] = 0.0
    return encoder, model.item_embeddings.detach().numpy()


def batch_of(scope, lists=SEQUENCES):
    sequences = Sequences.from_lists(lists)
    if scope == "prefix":
        rows = np.repeat(np.arange(len(lists)), sequences.lengths - 1)
        return make_batch(sequences, rows, np.concatenate([np.arange(1, n) for n in sequences.lengths]), scope)
    return make_batch(sequences, np.arange(len(lists)), sequences.lengths - 1, scope)


def numpy_gru(weights, embedded):
    hidden, states = np.zeros(embedded.shape[1]), []
    for x in embedded:
        given = weights["recurrence.weight_ih_l0"] @ x + weights["recurrence.bias_ih_l0"]
        kept = weights["recurrence.weight_hh_l0"] @ hidden + weights["recurrence.bias_hh_l0"]
        (r, z, n), (r_, z_, n_) = np.split(given, 3), np.split(kept, 3)
        r, z = scipy.special.expit(r + r_), scipy.special.expit(z + z_)
        hidden = (1 - z) * np.tanh(n + r * n_) + z * hidden
        states.append(hidden)
    return np.stack(states)


def numpy_attention(weights, embedded):
    time, size = embedded.shape

    def layer(x, name):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def normal(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    half = (size + 1) // 2
    waves = [[t / 10_000 ** (i / half) for i in range(half)] for t in range(time)]
    x = embedded * np.sqrt(size) + np.concatenate([np.sin(waves), np.cos(waves)], axis=1)[:, :size]
    for block in ("blocks.0.", "blocks.1."):
        y = normal(x, block + "normalise_attention")
        query, key, value = (layer(y, block + name) for name in ("query", "key", "value"))
        scores = query @ key.T / np.sqrt(size)
        scores[np.triu_indices(time, 1)] = -np.inf
        x = x + layer(scipy.special.softmax(scores, axis=1) @ value, block + "mix")
        y = layer(normal(x, block + "normalise_forward"), block + "forwards.0")
        x = x + layer(y * scipy.special.ndtr(y), block + "forwards.2")
    return normal(x, "normalise")


ENCODERS = pytest.mark.parametrize(
    ("make", "transcription"), [(RecurrentEncoder, numpy_gru), (AttentionEncoder, numpy_attention)]
)


@ENCODERS
@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("scope", SCOPES)
def test_features_are_those_of_the_equations(make, transcription, size, scope):
    encoder, table = encoder_of(make, size)
    weights = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}
    batch = batch_of(scope)
    features = encoder(batch).detach().numpy()
    for row, length in enumerate(batch.lengths.tolist()):
        states = transcription(weights, table[batch.inputs[row, :length].numpy()])
        if scope == "filtering":
            np.testing.assert_allclose(features[row, :length], states, rtol=1e-8, atol=1e-10)
        else:
            np.testing.assert_allclose(features[row], states[-1], rtol=1e-8, atol=1e-10)


@ENCODERS
def test_neither_the_future_nor_padding_changes_a_feature(make, transcription):
    encoder, _ = encoder_of(make, 6)
    features = encoder(batch_of("filtering"))
    changed = encoder(batch_of("filtering", [[3, 1, 3, 2, 1, 6], [4, 4, 4], [1, 2, 6]]))
    assert torch.equal(features[0, :4], changed[0, :4])
    assert not torch.allclose(features[0, 4], changed[0, 4])
    alone = encoder(batch_of("sequence", [SEQUENCES[1]]))  # without the padding that a longer row brings
    torch.testing.assert_close(encoder(batch_of("sequence"))[1:2], alone)


@ENCODERS
def test_the_order_and_the_repetitions_of_items_count(make, transcription):
    encoder, _ = encoder_of(make, 6)
    features = encoder(batch_of("sequence", [[1, 2, 3, 9], [2, 1, 3, 9], [1, 2, 3, 3, 9]]))
    assert not torch.allclose(features[0], features[1]) and not torch.allclose(features[0], features[2])
