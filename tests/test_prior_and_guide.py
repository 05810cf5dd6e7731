"""The paper's prior and guide against NumPy: densities, the encoder, and where dropout acts."""

import numpy as np
import pytest
import torch
from pyro import poutine

from guides import BagOfItems
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from models import HCRNN, LogisticNormal

SEQUENCES = [[3, 1, 3, 2, 5], [4, 4, 4]]
HIDDEN, CONTEXTS = 5, 3


@pytest.fixture
def model():
    return HCRNN("hcrnn3-bi", items=6, make_prior=LogisticNormal, hidden=HIDDEN, contexts=CONTEXTS).double()


def batch_of(scope):
    sequences = Sequences.from_lists(SEQUENCES)
    if scope == "prefix":
        return make_batch(sequences, np.array([0, 0, 1]), np.array([2, 4, 2]), scope)
    return make_batch(sequences, np.arange(2), sequences.lengths - 1, scope)


@pytest.mark.parametrize("scope", ["sequence", "prefix", "filtering"])
def test_the_prior_is_standard_normal_on_every_step_that_is_no_padding(model, scope):
    batch = batch_of(scope)
    site = poutine.trace(model).get_trace(batch).nodes["eta"]
    eta = site["value"].detach().numpy()
    density = (-0.5 * eta**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    if scope == "filtering":
        density = (density * batch.valid.numpy()).sum(1)
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]).detach().numpy(), density, rtol=1e-10)


def encoded(guide, model, items):
    """Mu and sigma from a plain transcription: distinct items, sum, ELU layer, two heads."""
    weights = {name: tensor.detach().numpy() for name, tensor in guide.state_dict().items()}
    table = model.item_embeddings.detach().numpy()
    bag = sum(table[item] for item in set(items))
    layer = weights["encoder.layer.weight"] @ bag + weights["encoder.layer.bias"]
    features = np.where(layer > 0, layer, np.exp(layer) - 1)
    location = weights["families.eta.location.weight"] @ features + weights["families.eta.location.bias"]
    scale = 1e-6 + np.log1p(
        np.exp(weights["families.eta.scale.weight"] @ features + weights["families.eta.scale.bias"])
    )
    return location, scale


@pytest.mark.parametrize("scope", ["sequence", "prefix", "filtering"])
def test_the_guide_encodes_the_distinct_items(model, scope):
    guide = BagOfItems(model).double().eval()
    for parameter in [*guide.parameters(), model.item_embeddings]:
        parameter.data = torch.randn_like(parameter)  # so that the ELU layer leaves its linear range
    model.item_embeddings.data[0] = 0.0
    batch = batch_of(scope)
    posterior = poutine.trace(guide).get_trace(batch).nodes["eta"]["fn"]
    for row, items in enumerate(batch.inputs.tolist()):
        items = items[: int(batch.lengths[row])]
        prefixes = [items[: t + 1] for t in range(len(items))] if scope == "filtering" else [items]
        for t, prefix in enumerate(prefixes):
            where = (row, t) if scope == "filtering" else (row,)
            location, scale = encoded(guide, model, prefix)
            np.testing.assert_allclose(posterior.mean[where].detach().numpy(), location, rtol=1e-10)
            np.testing.assert_allclose(posterior.variance[where].detach().numpy(), scale**2, rtol=1e-10)


def shares_of_zeros(module, call):
    """Share of zeros that leaves a dropout layer while ``call`` runs."""
    shares = []

    def look(_module, _inputs, output):
        shares.append(float((output == 0).double().mean()))

    handle = module.register_forward_hook(look)
    call()
    handle.remove()
    return shares


def test_dropout_acts_on_inputs_before_the_output_and_in_the_guide():
    settings = {"hidden": 400, "contexts": 3, "dropout_in": 0.25, "dropout_out": 0.5}
    model = HCRNN("hcrnn3-bi", items=6, make_prior=LogisticNormal, **settings)
    guide = BagOfItems(model)
    sequences = Sequences.from_lists([[1, 2, 3, 4, 5, 6]])
    batch = make_batch(sequences, np.array([0]), np.array([5]), "sequence")
    # (layer, expected share); the inputs' share has a standard error of 0.01, the guide's of 0.022
    for layer, owner, expected in ((model.event_inputs.dropout, model, 0.25), (model.dropout_out, model, 0.5)):
        assert shares_of_zeros(layer, lambda owner=owner: owner(batch)) == [pytest.approx(expected, abs=0.05)]
        assert shares_of_zeros(layer.eval(), lambda owner=owner: owner(batch)) == [0.0]
    assert shares_of_zeros(guide.encoder.dropout, lambda: guide(batch)) == [pytest.approx(0.25, abs=0.1)]
    assert shares_of_zeros(guide.encoder.dropout.eval(), lambda: guide(batch)) == [0.0]
