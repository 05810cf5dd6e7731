"""The assessment of a pair: what it has of guides without a density, of other scopes, and that it leaves no trace."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.posterior.assessment import assess
from hcrnn_pyro.posterior.weights import guide_quality, smooth
from hcrnn_pyro.runs import Run

ITEMS = 9
TEST = Sequences.from_lists([[1, 2, 3, 4], [5], [6, 7, 8], [2, 9]])  # one predicts nothing
DATA = DataSet("hand-made", TEST, TEST, TEST, pd.DataFrame({"item_id": list("abcdefghi")}))


def run_of(prior, guide, scope="sequence"):
    pair = PairConfig("hcrnn3-bi", prior, guide)
    model, guide_module = build_pair(pair, {"hidden": 6, "contexts": 4}, ITEMS)
    config = {"training": {"scope": scope}}
    return Run(Path(), config, model.eval(), guide_module.eval(), DATA.items, {})


def test_a_guide_that_is_the_prior_has_no_kl_and_bounded_weights():
    assessment = assess(run_of("logistic-normal", "prior"), DATA, 200, seed=1)
    assert (assessment.sequences, assessment.predictions, assessment.contexts) == (3, 6, 4)
    assert assessment.kl == pytest.approx(0.0, abs=1e-5)
    assert assessment.reliable_share == 1.0
    assert assessment.elbo_per_prediction == pytest.approx(assessment.elbo / 2)  # two predictions a sequence
    assert -1.5 * math.log(ITEMS) < assessment.elbo_per_prediction < assessment.iwae / 2 < -0.5 * math.log(ITEMS)
    assert assessment.notes == ()


def test_a_point_guide_has_no_bounds_and_a_note():
    assessment = assess(run_of("logistic-normal", "point"), DATA, 30, seed=1)
    assert (assessment.elbo, assessment.iwae, assessment.reliable_share, assessment.kl) == (None,) * 4
    assert assessment.elbo_per_prediction is None
    assert "no density" in assessment.notes[0]
    assert assessment.coherence is not None


def test_a_pair_of_the_filtering_scope_is_read_in_it():
    assessment = assess(run_of("random-walk", "bag-of-items", "filtering"), DATA, 30, seed=1)
    assert assessment.elbo is not None
    with pytest.raises(UserError, match="filtering"):
        assess(run_of("random-walk", "bag-of-items"), DATA, 30, seed=1)


def test_it_is_the_same_again_and_leaves_the_random_state():
    run = run_of("dirichlet", "bag-of-items")
    state = torch.get_rng_state()
    first = assess(run, DATA, 30, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert assess(run, DATA, 30, seed=1) == first
    assert assess(run, DATA, 30, seed=2) != first


def test_weights_of_which_one_outweighs_all_others_are_not_reliable():
    weights = torch.randn(100, 3, dtype=torch.double) * torch.tensor([5000.0, 5000.0, 0.1])
    smoothed, k = smooth(weights)
    assert k[:2].tolist() == [math.inf, math.inf]
    assert np.logaddexp.reduce(smoothed, axis=0) == pytest.approx(0.0, abs=1e-9)
    assert guide_quality(weights).reliable_share == pytest.approx(1 / 3)
    assert guide_quality(weights).effective_share == pytest.approx((0.01 + 0.01 + 0.99) / 3, abs=0.01)
