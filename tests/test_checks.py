"""A part that does not fit is refused in a sentence, before it trains."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from guides import BagOfItems
from hcrnn_pyro.checks import require_proportions, require_same_latents
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.sites import over_steps
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from models import HCRNN, LogisticNormal

SEQUENCES = Sequences.from_lists([[1, 2, 3], [2, 1]])
CONTEXTS = 4


def batch_of(scope="sequence"):
    return make_batch(SEQUENCES, np.arange(2), SEQUENCES.lengths - 1, scope)


class Prior(nn.Module):
    """The logistic-normal prior, with theta changed at the end, or the site named otherwise."""

    def __init__(self, change=lambda theta: theta, name="eta"):
        super().__init__()
        self.change, self.name = change, name

    def forward(self, batch):
        eta = pyro.sample(self.name, over_steps(dist.Normal(torch.zeros(CONTEXTS), 1.0).to_event(1), batch))
        return self.change(eta.softmax(-1))


def model_with(prior):
    return HCRNN("hcrnn3-bi", items=3, make_prior=lambda _contexts: prior, hidden=6, contexts=CONTEXTS)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda theta: theta[..., :1].contiguous(), r"shape \(2, 1\)"),
        (lambda theta: theta[..., :-1], r"shape \(2, 3\)"),
        (lambda theta: torch.cat([theta, theta], -1), r"shape \(2, 8\)"),
        (lambda theta: theta[:1], r"shape \(1, 4\)"),
        (lambda theta: None, "a NoneType"),
    ],
)
def test_theta_of_another_shape(change, got):
    with pytest.raises(UserError, match=rf"theta of shape \(2, 4\) .* sequence scope.* it returned {got}"):
        model_with(Prior(change))(batch_of())


@pytest.mark.parametrize("scope", ["sequence", "filtering"])
def test_theta_that_is_no_proportion_where_pyro_validates(scope):
    model = model_with(Prior(lambda theta: 7 * theta - 3))
    with (
        pyro.validation_enabled(True),
        pytest.raises(UserError, match="at least 0 and with sum 1; it"),
    ):
        model(batch_of(scope))
    with pyro.validation_enabled(False):
        model(batch_of(scope))


def test_theta_with_sample_dimensions_passes():
    theta = torch.full((5, 2, 4), 0.25)
    assert require_proportions(theta, batch_of(), CONTEXTS) is theta


def test_a_latent_of_another_name():
    guide = BagOfItems(model_with(LogisticNormal(CONTEXTS)))
    with pytest.raises(UserError, match="the model has etaa, the guide eta"):
        require_same_latents(model_with(Prior(name="etaa")), guide, batch_of())


def test_fit_refuses_the_pair():
    data = DataSet("toy", SEQUENCES, SEQUENCES, SEQUENCES, pd.DataFrame({"item_id": ["a", "b", "c"]}))
    guide = BagOfItems(model_with(LogisticNormal(CONTEXTS)))
    with pytest.raises(UserError, match="by the same names"):
        fit(model_with(Prior(name="etaa")), guide, data, TrainingConfig(epochs=1, device="cpu"))


def test_the_check_leaves_the_random_numbers_alone():
    model = model_with(LogisticNormal(CONTEXTS))
    guide, state = BagOfItems(model), torch.get_rng_state()
    require_same_latents(model, guide, batch_of())
    assert torch.equal(torch.get_rng_state(), state)
