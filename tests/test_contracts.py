"""The seams' protocols tell a model that keeps to them from one that does not, on every Python."""

import inspect

import pytest

from hcrnn_pyro.contracts import ContextModel, Prepared
from hcrnn_pyro.drift import GatedModel
from models import HCRNN, NARM, LogisticNormal

PROTOCOLS = [ContextModel, GatedModel, Prepared]


@pytest.fixture
def model():
    return HCRNN("hcrnn3", items=5, make_prior=LogisticNormal, hidden=4, contexts=3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_isinstance_asks_for_is_found_without_running_code(model, protocol):
    """From Python 3.12 on isinstance looks by ``getattr_static``, which finds neither submodules nor parameters."""
    assert isinstance(model, protocol)
    asked = {*vars(protocol).get("__annotations__", {}), *(name for name in vars(protocol) if name[0] != "_")}
    assert asked
    for name in asked:
        inspect.getattr_static(model, name)


@pytest.mark.parametrize("protocol", [ContextModel, GatedModel])
def test_a_model_without_contexts_keeps_to_neither(protocol):
    assert not isinstance(NARM(5, hidden=4), protocol)
