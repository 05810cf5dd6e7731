"""HCRNN against a loop-by-loop NumPy transcription of the paper's equations: values and gradients."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.nn.cells import AgreementCell
from hcrnn_pyro.nn.readouts import SingleReadout
from models import MODELS, LogisticNormal
from tests.numpy_hcrnn import log_probabilities, paper_weights, step

VARIANTS = ["hcrnn1", "hcrnn2", "hcrnn3", "hcrnn3-bi"]
ITEMS, HIDDEN, CONTEXTS = 7, 5, 3
SEQUENCES = [[3, 1, 4, 1, 5], [2, 7], [6, 2, 3, 5]]


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def model(variant):
    made = MODELS[variant](items=ITEMS, make_prior=LogisticNormal, hidden=HIDDEN, contexts=CONTEXTS)
    made = made.double().eval()
    for parameter in made.parameters():  # large enough that every gate and attention leaves its linear range
        parameter.data = torch.randn_like(parameter)
    made.item_embeddings.data[0] = 0.0
    return made


def numpy_state(model):
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def batch_of(scope):
    sequences = Sequences.from_lists(SEQUENCES)
    return make_batch(sequences, np.arange(3), sequences.lengths - 1, scope)


@pytest.mark.parametrize("scope", ["sequence", "filtering"])
def test_log_probabilities_of_every_position(model, variant, scope):
    batch = batch_of(scope)
    rows, steps = batch.inputs.shape
    shape = (rows, steps, CONTEXTS) if scope == "filtering" else (rows, CONTEXTS)
    theta = torch.randn(shape, dtype=torch.float64).softmax(-1)
    got = model.likelihood(batch, theta).log_probs().detach().numpy()
    weights = paper_weights(numpy_state(model), HIDDEN, HIDDEN)
    expected = []
    for row, sequence in enumerate(SEQUENCES):
        inputs = sequence[:-1]
        per_step = theta[row].numpy() if scope == "filtering" else np.tile(theta[row].numpy(), (len(inputs), 1))
        expected.append(log_probabilities(variant, weights, inputs, per_step))
    np.testing.assert_allclose(got[:, 1:], np.concatenate(expected), rtol=1e-5, atol=1e-8)
    assert np.all(np.isneginf(got[:, 0])), "padding is no class"


def test_prefix_scope_predicts_from_its_last_position(model, variant):
    sequences = Sequences.from_lists([SEQUENCES[0]])
    batch = make_batch(sequences, np.zeros(3, dtype=int), np.array([1, 2, 4]), "prefix")
    theta = torch.randn(3, CONTEXTS, dtype=torch.float64).softmax(-1)
    got = model.likelihood(batch, theta).log_probs().detach().numpy()
    weights = paper_weights(numpy_state(model), HIDDEN, HIDDEN)
    for row, length in enumerate([1, 2, 4]):
        per_step = np.tile(theta[row].numpy(), (length, 1))
        expected = log_probabilities(variant, weights, SEQUENCES[0][:length], per_step)[-1]
        np.testing.assert_allclose(got[row, 1:], expected, rtol=1e-5, atol=1e-8)


def test_gates_are_those_of_the_equations(model, variant):
    batch = batch_of("sequence")
    theta = torch.randn(3, CONTEXTS, dtype=torch.float64).softmax(-1)
    gates = model.states(batch, theta, keep_gates=True).gates
    weights = paper_weights(numpy_state(model), HIDDEN, HIDDEN)
    h, c = np.zeros(HIDDEN), np.zeros(HIDDEN)
    for t, item in enumerate(SEQUENCES[0][:-1]):
        h, c, expected = step(variant, weights, weights["W_emb"][item], h, c, theta[0].numpy())
        for gate, value in zip(gates, expected, strict=True):
            np.testing.assert_allclose(gate[0, t].detach().numpy(), value, rtol=1e-5)


def test_gradients_by_finite_differences(model, variant):
    """d/dw of the summed log-probability of the targets, for one random direction in every parameter."""
    batch = batch_of("sequence")
    theta = torch.randn(3, CONTEXTS, dtype=torch.float64).softmax(-1)
    model.likelihood(batch, theta).log_prob(batch.targets).sum().backward()

    def transcription(state):
        weights = paper_weights(state, HIDDEN, HIDDEN)
        total = 0.0
        for row, sequence in enumerate(SEQUENCES):
            inputs, targets = sequence[:-1], sequence[1:]
            table = log_probabilities(variant, weights, inputs, np.tile(theta[row].numpy(), (len(inputs), 1)))
            total += sum(table[t, target - 1] for t, target in enumerate(targets))
        return total

    random = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        direction = random.standard_normal(parameter.shape)
        if name == "item_embeddings":
            direction[0] = 0.0  # padding is no parameter
        plus, minus = numpy_state(model), numpy_state(model)
        plus[name] += 1e-6 * direction
        minus[name] -= 1e-6 * direction
        numeric = (transcription(plus) - transcription(minus)) / 2e-6
        analytic = float((parameter.grad.numpy() * direction).sum())
        assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize("variant", ["hcrnn2", "hcrnn3"], indirect=True)
def test_agreement_weight_stays_non_negative_through_training(model):
    assert isinstance(model.cell, AgreementCell)
    optimiser = torch.optim.SGD(model.cell.parameters(), lr=5.0)
    for _ in range(3):
        model.cell.drift_weight.sum().backward()
        optimiser.step()
        assert (model.cell.drift_weight >= 0).all()


def test_embedding_and_hidden_sizes_may_differ():
    from hcrnn_pyro.nn.cells import HCRNN3Cell

    cell, readout = HCRNN3Cell(4, 6), SingleReadout(4, 6)
    theta = torch.full((2, 3), 1 / 3)
    state = cell.initial_state(torch.Size([2]))
    item, contexts = torch.randn(2, 4), torch.randn(3, 4)
    scored = theta.unsqueeze(-1) * cell.context_projection(contexts)
    state, _ = cell(item, cell.input_projection(item), scored, contexts, *state, cell.drift_weight)
    assert state.hidden.shape == (2, 6)
    assert state.local_context.shape == (2, 4)
    out = readout(state.hidden.unsqueeze(1), state.local_context.unsqueeze(1), torch.zeros(2, 1, dtype=torch.long))
    assert out.shape == (2, 1, 12)
