"""The prior on item embeddings: what it adds to the ELBO, and what training under it comes to."""

import math

import numpy as np
import pyro
import pytest
import scipy.stats
import torch

from hcrnn_pyro.data.batches import Batches
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import Objective, make_bound
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.spectral import spectral_embeddings
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from tests.cycles import cycles_data

ITEMS, SIZE = 8, 4  # as in cycles_data; TRAIN does not show the last item
TRAIN = Sequences.from_lists([[1, 2, 3, 4], [5, 6, 7], [2, 3, 4, 5, 6], [1, 7]])
HCRNN = {"contexts": 3, "hidden": SIZE, "dropout_in": 0.0, "dropout_out": 0.0}


def make(model="hcrnn3-bi", seed=0, **settings):
    pyro.set_rng_seed(seed)
    latent = {} if model.startswith("hcrnn") else {"prior": "none", "guide": "none"}
    settings = (HCRNN if latent == {} else {"hidden": SIZE}) | settings
    pair = build_pair(PairConfig(model, **latent), settings, ITEMS)
    pair[0].prepare(TRAIN)
    return pair


def losses(pair, bound, particles, scope):
    """Loss, nll and KL summed over the batches of an epoch, whatever the seed draws being the same."""
    objective = Objective(*pair, make_bound(bound, particles)).train()
    pyro.set_rng_seed(1)
    terms = [objective(batch) for batch in Batches(TRAIN, scope, 2, 0)]
    return np.array([[float(t.loss.detach()), float(t.nll), float(t.kl)] for t in terms]).sum(axis=0)


@pytest.mark.parametrize(
    ("bound", "particles"), [("elbo", 1), ("elbo", 3), ("mean-field-elbo", 1), ("mean-field-elbo", 3), ("iwae", 3)]
)
@pytest.mark.parametrize("scope", ["sequence", "prefix"])
def test_an_epoch_adds_the_log_density_once(bound, particles, scope):
    with_prior = make(item_scale=0.2, item_embeddings="spectral")
    without = make(item_embeddings="spectral")
    with torch.no_grad():
        moved = with_prior[0].item_embeddings + 0.1 * torch.randn(ITEMS + 1, SIZE)
        for model, _ in (with_prior, without):
            model.item_embeddings.copy_(moved)
    location = spectral_embeddings(TRAIN, ITEMS, SIZE).numpy()[1:]
    expected = scipy.stats.norm(location, 0.2).logpdf(moved.numpy()[1:]).sum()
    got, plain = losses(with_prior, bound, particles, scope), losses(without, bound, particles, scope)
    assert plain[0] - got[0] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(got[1:], plain[1:], rtol=1e-4, atol=1e-3)


def test_its_gradient_draws_embeddings_towards_the_location():
    pair = make("sasrec", item_scale=0.5)
    objective = Objective(*pair, make_bound("elbo", 1)).train()
    gradients = []
    for model_scale in (0.5, None):
        pair[0].item_prior.scale = model_scale
        pair[0].zero_grad()
        pyro.set_rng_seed(1)
        for batch in Batches(TRAIN, "sequence", 2, 0):
            objective(batch).loss.backward()
        gradients.append(pair[0].item_embeddings.grad.clone())
    pull = gradients[0] - gradients[1]
    torch.testing.assert_close(pull[1:], pair[0].item_embeddings.detach()[1:] / 0.5**2, rtol=1e-4, atol=1e-4)
    assert pull[0].abs().max() == 0, "padding is no item"


def test_untied_items_have_a_prior_on_both_sides_but_not_on_the_bias():
    model, _ = make("gru4rec", item_scale=0.1, item_embeddings="spectral")
    batch = next(iter(Batches(TRAIN, "sequence", 4, 0)))
    sites = pyro.poutine.trace(model.train()).get_trace(batch).nodes
    assert sites["item_embeddings"]["fn"].event_shape == sites["output"]["fn"].event_shape == (ITEMS, SIZE)
    torch.testing.assert_close(sites["output"]["fn"].base_dist.loc, spectral_embeddings(TRAIN, ITEMS, SIZE)[1:])
    assert "output" not in pyro.poutine.trace(model.eval()).get_trace(batch).nodes, "the posterior of theta needs none"


@pytest.mark.parametrize("start", ["flat", "spectral"])
def test_a_narrow_prior_holds_the_embeddings_at_its_location(start):
    distances = []
    for scale in (1e-3, None):
        model, guide = make(item_scale=scale, item_embeddings=start)
        fit(model, guide, cycles_data(), TrainingConfig(epochs=5, lr=0.01, batch_size=4))
        location = spectral_embeddings(cycles_data().train, ITEMS, SIZE) if start == "spectral" else torch.zeros(1)
        distances.append(float((model.item_embeddings - location)[1:].detach().square().mean().sqrt()))
    assert distances[0] < 0.02 < 0.08 < distances[1]


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scales_are_checked(scale):
    with pytest.raises(
        UserError, match="--item-scale is a standard deviation of at least 1e-06, or None for no prior; got"
    ):
        make(item_scale=scale)
