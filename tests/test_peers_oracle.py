"""NARM, STAMP, GRU4Rec, LSTM4Rec and BPR-MF against NumPy transcriptions of their equations, one query at a time."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import SCOPES, make_batch
from hcrnn_pyro.data.dataset import Sequences
from models import MODELS

SEQUENCES = [[3, 1, 4, 1, 5], [2, 7], [6, 2, 3, 5]]
ITEMS, HIDDEN = 7, 4
NO_DROPOUT = {"dropout_in": 0.0, "dropout_out": 0.0}
SETTINGS = {"narm": NO_DROPOUT, "stamp": NO_DROPOUT, "gru4rec": NO_DROPOUT, "lstm4rec": NO_DROPOUT, "bpr-mf": {}}


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gates(weights, x, h, count):
    """What torch's recurrences add up for each gate: from the input, and from the state."""
    of_input = weights["recurrence.weight_ih_l0"] @ x + weights["recurrence.bias_ih_l0"]
    of_state = weights["recurrence.weight_hh_l0"] @ h + weights["recurrence.bias_hh_l0"]
    return np.split(of_input, count), np.split(of_state, count)


def gru_states(weights, items):
    h, states = np.zeros(HIDDEN), []
    for item in items:
        a, b = gates(weights, weights["item_embeddings"][item], h, 3)
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        h = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
        states.append(h)
    return states


def lstm_states(weights, items):
    h, c, states = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for item in items:
        a, b = gates(weights, weights["item_embeddings"][item], h, 4)
        i, f, g, o = (x + y for x, y in zip(a, b, strict=True))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def untied_scores(weights, features):
    return [weights["output"][y, :-1] @ features + weights["output"][y, -1] for y in range(1, ITEMS + 1)]


def gru4rec(weights, items):
    return untied_scores(weights, gru_states(weights, items)[-1])


def lstm4rec(weights, items):
    return untied_scores(weights, lstm_states(weights, items)[-1])


def bpr_mf(weights, items):
    return untied_scores(weights, sum(weights["item_embeddings"][item] for item in items) / len(items))


def narm(weights, items):
    states = gru_states(weights, items)
    A1, A2, v = (weights[f"readout.{name}"] for name in ("query.weight", "key.weight", "score"))
    scores = np.array([v @ sigmoid(A1 @ states[-1] + A2 @ h) for h in states])
    alpha = np.exp(scores) / np.exp(scores).sum()
    c = sum(a * h for a, h in zip(alpha, states, strict=True))
    B = weights["to_item_space.weight"]
    return [weights["item_embeddings"][y] @ B @ np.concatenate([c, states[-1]]) for y in range(1, ITEMS + 1)]


def stamp(weights, items):
    x = [weights["item_embeddings"][item] for item in items]
    m_s = sum(x) / len(x)
    W1, W2, W3 = (weights[f"{name}.weight"] for name in ("key", "query_last", "query_mean"))
    w0, b_a = weights["weight.weight"][0], weights["query_last.bias"]
    a = [w0 @ sigmoid(W1 @ x_j + W2 @ x[-1] + W3 @ m_s + b_a) for x_j in x]
    m_a = sum(a_j * x_j for a_j, x_j in zip(a, x, strict=True))
    h_s = np.tanh(weights["memory.weight"] @ m_a + weights["memory.bias"])
    h_t = np.tanh(weights["last.weight"] @ x[-1] + weights["last.bias"])
    return [np.sum(h_s * h_t * weights["item_embeddings"][y]) for y in range(1, ITEMS + 1)]


ORACLES = {"narm": narm, "stamp": stamp, "gru4rec": gru4rec, "lstm4rec": lstm4rec, "bpr-mf": bpr_mf}


def with_large_weights(name):
    """A model in which every weight, biases included, moves the scores by much."""
    model = MODELS[name](items=ITEMS, hidden=HIDDEN, **SETTINGS[name]).double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)
    model.item_embeddings.data[0] = 0.0
    return model


def prefixes_of(scope):
    """A batch of all prefixes, and the prefixes in the order of its predictions."""
    sequences = Sequences.from_lists(SEQUENCES)
    lists = [sequence[:t] for sequence in SEQUENCES for t in range(1, len(sequence))]
    rows, lengths = np.arange(len(sequences)), sequences.lengths - 1
    if scope == "prefix":
        rows, lengths = np.repeat(rows, lengths), np.array([len(prefix) for prefix in lists])
    return make_batch(sequences, rows, lengths, scope), lists


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ORACLES)
def test_log_probabilities_after_every_prefix(name, scope):
    model = with_large_weights(name)
    batch, prefixes = prefixes_of(scope)
    got = model.likelihood(batch).log_probs().detach().numpy()
    weights = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    scores = np.array([ORACLES[name](weights, prefix) for prefix in prefixes])
    expected = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(got[:, 1:], expected, rtol=1e-8)
    assert (got[:, 0] == -np.inf).all(), "padding has probability 0"


def test_attention_over_long_sequences_is_the_same_in_parts(monkeypatch):
    """STAMP's weights need no sum over all keys, so queries in parts give what each gives alone."""
    model = with_large_weights("stamp")
    batch, _ = prefixes_of("sequence")
    whole = model.likelihood(batch).log_probs()
    monkeypatch.setattr("hcrnn_pyro.nn.attention.CHUNK", 2)
    torch.testing.assert_close(model.likelihood(batch).log_probs(), whole)
