"""The head of the models against a NumPy transcription, and what it leaves as it was."""

import math

import numpy as np
import pytest
import torch

from hcrnn_pyro.counting import CountingModel
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.nn.head import LinearHead, ResidualHead
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[3, 1, 4, 5], [2, 7], [6, 2, 3, 5]])
ITEMS, HIDDEN = 7, 4
WITH_HEAD = [name for name, make in MODELS.items() if "head_layers" in make.config.__dataclass_fields__]
SAMPLED_IN_PARTS = {"hcrnn-switching"}  # its likelihood mixes items of contexts, so its features are not a head's


def gelu(x):
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def feed_forward(beyond, r):
    maps = [part for part in beyond if isinstance(part, torch.nn.Linear)]
    weights = [(part.weight.detach().numpy(), part.bias.detach().numpy()) for part in maps]
    for weight, bias in weights[:-1]:
        r = gelu(r @ weight.T + bias)
    weight, bias = weights[-1]
    return r @ weight.T + bias


def make_model(name, layers):
    torch.manual_seed(0)
    dropouts = {"dropout": 0.0} if name == "sasrec" else {"dropout_in": 0.0, "dropout_out": 0.0}
    settings = {"hidden": HIDDEN, "head_layers": layers, **dropouts}
    if name.startswith("hcrnn"):
        settings |= {"contexts": 3, "make_prior": PRIORS["logistic-normal"]}
    return MODELS[name](items=ITEMS, **settings).double().eval()


def with_the_same_weights(name, layers):
    """A model without hidden layers and one with them."""
    plain, deep = make_model(name, 0), make_model(name, layers)
    missing, unexpected = deep.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".beyond." in key for key in missing), "nothing else is new"
    return plain, deep


def likelihood(model, batch):
    if not hasattr(model, "prior"):
        return model.likelihood(batch)
    return model.likelihood(batch, torch.full((batch.size, model.contexts), 1.0 / model.contexts).double())


def whole_batch():
    return make_batch(SEQUENCES, np.arange(3), SEQUENCES.lengths - 1, "sequence")


def beyond_of(model):
    return next(module for name, module in model.named_modules() if name.endswith(".beyond"))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("make", [lambda n: LinearHead(6, 5, n), lambda n: ResidualHead(5, n)])
def test_features_are_a_linear_map_and_a_feed_forward_part(layers, make):
    head = make(layers).double()
    for parameter in head.parameters():
        parameter.data = torch.randn_like(parameter)
    readout = torch.randn(9, 6 if isinstance(head, LinearHead) else 5).double()
    linear = readout @ head.weight.T if isinstance(head, LinearHead) else readout
    expected = linear.detach().numpy() + feed_forward(head.beyond, readout.numpy())
    np.testing.assert_allclose(head(readout).detach().numpy(), expected, rtol=1e-10)
    assert [part.out_features for part in head.beyond if isinstance(part, torch.nn.Linear)] == [20] * layers + [5]


def test_every_trained_model_but_bpr_mf_has_one():
    counted = {name for name, make in MODELS.items() if isinstance(make, type) and issubclass(make, CountingModel)}
    assert set(WITH_HEAD) == set(MODELS) - counted - {"bpr-mf"}


@pytest.mark.parametrize("name", WITH_HEAD)
def test_training_starts_from_the_model_without_hidden_layers(name):
    plain, deep = with_the_same_weights(name, 2)
    batch = whole_batch()
    before, after = (likelihood(model, batch).log_probs().detach() for model in (plain, deep))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", [name for name in WITH_HEAD if name not in SAMPLED_IN_PARTS])
def test_what_hidden_layers_add_to_the_features(name):
    plain, deep = with_the_same_weights(name, 2)
    beyond = beyond_of(deep)
    for parameter in beyond.parameters():
        parameter.data = torch.randn_like(parameter)
    read = []
    beyond.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].detach().numpy()))
    batch = whole_batch()
    with_layers, without = (likelihood(model, batch).features.detach().numpy() for model in (deep, plain))
    added = (with_layers - without)[..., :HIDDEN]
    np.testing.assert_allclose(added, feed_forward(beyond, read[0]), rtol=1e-9)
    np.testing.assert_array_equal((with_layers - without)[..., HIDDEN:], 0.0)


@pytest.mark.parametrize("name", WITH_HEAD)
def test_all_of_it_is_trained(name):
    _, model = with_the_same_weights(name, 2)
    batch = whole_batch()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(2):  # the zeros of the last map hide the others from the first step
        optimiser.zero_grad()
        (-likelihood(model.train(), batch).log_prob(batch.targets).sum()).backward()
        optimiser.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in beyond_of(model).parameters())


@pytest.mark.parametrize("name", WITH_HEAD)
def test_a_number_below_zero_is_refused(name):
    with pytest.raises(UserError, match="--head-layers is a number of hidden layers, 0 for none; got -1"):
        make_model(name, -1)
