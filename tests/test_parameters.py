"""Parameters are told to whoever listens, and only where somebody does."""

import numpy as np
import pytest
from pyro import poutine
from pyro.infer import Trace_ELBO

from guides import BagOfItems
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.parameters import unannounced
from models import HCRNN, LogisticNormal

SEQUENCES = Sequences.from_lists([[1, 2, 3], [2, 1]])


@pytest.fixture
def model():
    return HCRNN("hcrnn3-bi", items=3, make_prior=LogisticNormal, hidden=4, contexts=2)


def announced(run, batch):
    with poutine.trace(param_only=True) as capture:
        run(batch)
    return set(capture.trace.nodes)


def batch():
    return make_batch(SEQUENCES, np.arange(2), SEQUENCES.lengths - 1, "sequence")


def test_a_trained_parameter_is_told_and_a_frozen_one_is_not(model):
    model.cell.context_score.requires_grad_(False)
    told = announced(model, batch())
    expected = {f"model.{name}" for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert told >= expected
    assert "model.cell.context_score" not in told


def test_the_loss_module_tells_nobody_and_the_next_run_tells_again(model):
    objective = Objective(model, BagOfItems(model), Trace_ELBO())
    assert not announced(objective, batch())
    assert announced(model, batch())


def test_an_error_inside_does_not_silence_what_follows(model):
    with pytest.raises(ZeroDivisionError), unannounced():
        1 / 0  # noqa: B018
    assert announced(model, batch())
