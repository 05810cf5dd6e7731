"""Averages of the weights: their formula, their place in a checkpoint, and what is validated and kept."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hcrnn_pyro.averaging import WeightAverage
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.runs import WEIGHTS
from hcrnn_pyro.svi_module import SVIModule
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from tests.cycles import cycles_data, make_pair


def test_the_average_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, decay=0.5)
    layer.weight.data.fill_(8.0)
    start = average.averages[0].item()
    average.update()  # the first step keeps (1 + 1) / (10 + 1)
    assert average.averages[0].item() == pytest.approx(2 / 11 * start + 9 / 11 * 8.0)
    for step in range(2, 40):
        before = average.averages[0].item()
        layer.weight.data.fill_(float(step))
        average.update()
        kept = min(0.5, (1 + step) / (10 + step))
        assert average.averages[0].item() == pytest.approx(kept * before + (1 - kept) * step)


def test_the_block_has_the_averages_and_gives_the_weights_back():
    layer = nn.Linear(2, 3)
    average = WeightAverage(layer, decay=0.9)
    layer.weight.data.add_(1.0)
    average.update()
    last, mean = layer.weight.detach().clone(), average.averages[0].clone()
    assert not torch.equal(last, mean)
    with pytest.raises(ZeroDivisionError), average.applied():
        torch.testing.assert_close(layer.weight.data, mean, rtol=0, atol=0)
        raise ZeroDivisionError
    torch.testing.assert_close(layer.weight.data, last, rtol=0, atol=0)
    torch.testing.assert_close(average.averages[0], mean, rtol=0, atol=0)


def test_no_averaging_keeps_nothing():
    average = WeightAverage(nn.Linear(2, 3), decay=0.0)
    average.update()
    assert average.averages == []


def test_the_averages_are_what_is_kept(tmp_path, monkeypatch):
    """The kept weights are the mean, by the formula, of the weights after every step."""
    steps = []
    update = WeightAverage.update

    def record(self):
        steps.append([weight.detach().clone() for weight in self.weights])
        update(self)

    monkeypatch.setattr(WeightAverage, "update", record)
    model, guide = make_pair()
    names = [f"model.{name}" for name, _ in model.named_parameters()]
    average = [parameter.detach().clone() for parameter in model.parameters()]
    fit(
        model,
        guide,
        cycles_data(),
        TrainingConfig(epochs=1, batch_size=8, lr=0.01, averaging=0.7, device="cpu"),
        tmp_path,
    )
    for step, weights in enumerate(steps, start=1):
        kept = min(0.7, (1 + step) / (10 + step))
        average = [kept * mean + (1 - kept) * weight for mean, weight in zip(average, weights, strict=False)]
    stored = load_file(tmp_path / WEIGHTS)
    for name, mean in zip(names, average, strict=True):
        torch.testing.assert_close(stored[name], mean)


def test_a_killed_run_with_averages_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    config = TrainingConfig(epochs=3, batch_size=8, lr=0.01, averaging=0.9, device="cpu")
    expected = fit(*make_pair(), cycles_data(), config, tmp_path / "whole")
    step = SVIModule.training_step

    def die(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (2, 3):
            raise ZeroDivisionError
        return step(self, batch, batch_index)

    monkeypatch.setattr(SVIModule, "training_step", die)
    with pytest.raises(ZeroDivisionError):
        fit(*make_pair(), cycles_data(), config, tmp_path / "killed")
    monkeypatch.setattr(SVIModule, "training_step", step)
    resumed = fit(*make_pair(seed=1), cycles_data(), config, tmp_path / "killed", resume=True)
    columns = [name for name in expected.history if name != "seconds"]
    assert resumed.history[columns].equals(expected.history[columns])
    whole, killed = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_a_share_of_one_would_never_move():
    with pytest.raises(UserError, match=r"--averaging is a share in \[0, 1\), e.g. 0.99; got 1.0"):
        TrainingConfig(averaging=1.0)
