"""The exponentials of a softmax against NumPy's in double precision."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.exponentials import exponentials_


@pytest.fixture(params=["compiled", "whole tensors"])
def form(request, monkeypatch):
    if request.param == "whole tensors":
        monkeypatch.setattr(forms, "is_for_loops", lambda tensor: False)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_values_and_sums(form, dtype, close):
    scores = 40 * torch.randn(5, 37, dtype=dtype)
    scores[2, 3:9] = -torch.inf
    offset = scores.amax(dim=1, keepdim=True)
    expected = np.exp(scores.double().numpy() - offset.double().numpy())
    total = exponentials_(scores, offset)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=20 * close, atol=1e-37)  # the differences are rounded too
    np.testing.assert_allclose(total.numpy(), expected.sum(axis=1, keepdims=True), rtol=20 * close)
    assert (scores[2, 3:9] == 0).all()


def test_what_is_no_number_stays_none(form):
    scores = torch.tensor([[0.0, torch.nan, -1.0], [0.0, -1.0, -2.0]])
    total = exponentials_(scores, torch.zeros(2, 1))
    assert scores.isnan().tolist() == [[False, True, False], [False, False, False]]
    assert total.isnan().tolist() == [[True], [False]]
