"""Draws and their densities: against Pyro's own, row by row, and in the order of the part."""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from guides import GUIDES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.draws import draw, draws_of
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7], [8, 9, 1, 2]])


@pytest.fixture
def pair():
    model = MODELS["hcrnn3-bi"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).eval()
    return model, GUIDES["bag-of-items"](model).eval()


def batch_of(rows):
    return make_batch(SEQUENCES, np.array(rows), SEQUENCES.lengths[rows] - 1, "sequence")


@pytest.mark.parametrize("samples", [1, 3])
def test_densities_are_those_of_the_traces_at_the_drawn_values(pair, samples):
    model, guide = pair
    draws = draw(model, guide, batch_of([0, 1, 2]), samples)
    assert draws.theta.shape == (samples, 3, 4)
    torch.testing.assert_close(draws.theta, draws.latents["eta"].softmax(-1))
    for s in range(samples):
        for row in range(3):
            alone, value = batch_of([row]), {"eta": draws.latents["eta"][s, row : row + 1]}
            guided = poutine.trace(poutine.condition(guide, value)).get_trace(alone)
            modelled = poutine.trace(poutine.condition(model, value)).get_trace(alone)
            for trace in (guided, modelled):
                trace.compute_log_prob()
            found = draws.log_guide[s, row], draws.log_prior[s, row], draws.log_likelihood[s, row]
            expected = [guided.nodes["eta"], modelled.nodes["eta"], modelled.nodes["next_item"]]
            torch.testing.assert_close(torch.stack(found), torch.stack([site["log_prob"].sum() for site in expected]))


@pytest.mark.parametrize("scope", ["sequence", "prefix"])
def test_a_part_comes_in_its_own_order(pair, scope):
    """The narrow posterior's mean tells whose row it is."""
    model, guide = pair
    guide.families.eta.scale.bias.data.fill_(-20.0)
    guide.families.eta.scale.weight.data.zero_()
    draws = draws_of(model, guide, SEQUENCES, 2, scope)
    rows = [(row, t) for row in range(3) for t in range(1, SEQUENCES.lengths[row])] if scope == "prefix" else None
    rows = rows or [(row, SEQUENCES.lengths[row] - 1) for row in range(3)]
    for place, (row, length) in enumerate(rows):
        batch = make_batch(SEQUENCES, np.array([row]), np.array([length]), scope)
        alone = draw(model, guide, batch, 1)
        torch.testing.assert_close(draws.latents["eta"][0, place], alone.latents["eta"][0, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(draws.log_likelihood[1, place], alone.log_likelihood[0, 0], atol=1e-3, rtol=1e-4)


def test_the_mean_log_weight_is_the_elbo(pair):
    model, guide = pair
    draws = draw(model, guide, batch_of([0, 2]), 4000)
    elbo = -pyro.infer.Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1).loss(
        model, guide, batch_of([0, 2])
    )
    error = float(draws.log_weights.std(dim=0).norm()) / 4000**0.5
    assert float(draws.log_weights.mean(dim=0).sum()) == pytest.approx(elbo, abs=6 * error)


def test_a_part_has_no_draws_in_the_filtering_scope(pair):
    with pytest.raises(UserError, match="sequence or the prefix scope"):
        draws_of(*pair, SEQUENCES, 2, "filtering")
