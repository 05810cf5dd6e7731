"""Training: exact resume, early stopping, a clean stop, divergence, and a task that must be learnt."""

import signal

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import CHECKPOINTS
from hcrnn_pyro.svi_module import Diverged, SVIModule
from hcrnn_pyro.training import Interrupted, TrainingConfig, fit
from models import MODELS, PRIORS

CYCLE = 8  # item i is followed by item i + 1, and 8 by 1


def cycles(seed, count):
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, CYCLE, count), random.integers(4, 8, count)
    pairs = zip(starts, lengths, strict=True)
    return Sequences.from_lists([[int((start + t) % CYCLE) + 1 for t in range(length)] for start, length in pairs])


@pytest.fixture
def data():
    items = pd.DataFrame({"item_id": [str(i) for i in range(1, CYCLE + 1)]})
    return DataSet("cycles", cycles(0, 60), cycles(1, 20), cycles(2, 20), items)


def make_pair(seed=0):
    pyro.set_rng_seed(seed)
    model = MODELS["hcrnn3-bi"](items=CYCLE, make_prior=PRIORS["logistic-normal"], hidden=12, contexts=3)
    return model, GUIDES["bag-of-items"](model)


CONFIG = TrainingConfig(epochs=4, batch_size=8, lr=0.01, device="cpu")


class Killed(Exception):
    pass


def weights(*parts):
    return {f"{i}.{name}": w for i, part in enumerate(parts) for name, w in part.state_dict().items()}


@pytest.mark.parametrize("scope", ["sequence", "prefix", "filtering"])
def test_every_scope_learns_what_follows_what(data, scope):
    model, guide = make_pair()
    fit(model, guide, data, TrainingConfig(epochs=8, batch_size=8, lr=0.02, scope=scope, monitor="nll", device="cpu"))
    metrics = summarise(evaluate(PosteriorPredictive(model, guide), data.test, "exact"))
    assert metrics["mrr@3"] > 95.0


@pytest.mark.parametrize("killed_in", [(0, 3), (2, 3), (3, 0)])
def test_a_killed_run_resumes_to_the_same_numbers(data, tmp_path, monkeypatch, killed_in):
    whole = make_pair()
    expected = fit(*whole, data, CONFIG, tmp_path / "whole")

    step = SVIModule.training_step

    def dies(self, batch, batch_index):
        if (self.current_epoch, batch_index) == killed_in:
            raise Killed
        return step(self, batch, batch_index)

    monkeypatch.setattr(SVIModule, "training_step", dies)
    with pytest.raises(Killed):
        fit(*make_pair(), data, CONFIG, tmp_path / "killed")
    monkeypatch.undo()

    resumed = make_pair()
    torch.manual_seed(99)  # a new process has another random state
    got = fit(*resumed, data, CONFIG, tmp_path / "killed", resume=True)
    pd.testing.assert_frame_equal(
        got.history.drop(columns="seconds"), expected.history.drop(columns="seconds"), check_exact=True
    )
    assert (got.best_epoch, got.best_value) == (expected.best_epoch, expected.best_value)
    for name, tensor in weights(*whole).items():
        assert torch.equal(tensor, weights(*resumed)[name]), name


def test_a_run_that_had_stopped_early_trains_no_further(data, tmp_path):
    config = TrainingConfig(epochs=50, batch_size=8, lr=1e-6, patience=2, device="cpu")
    first = fit(*make_pair(), data, config, tmp_path)
    again = fit(*make_pair(), data, config, tmp_path, resume=True)
    assert len(first.history) < 50
    pd.testing.assert_frame_equal(again.history, first.history, check_exact=True)


def test_the_pair_holds_the_best_epoch_not_the_last(data, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.5, 0.4, 0.3])
    seen = []

    def validate(self):
        seen.append(self.objective.state_dict()["elbo.model.item_embeddings"].clone())
        return dict.fromkeys(("recall@3", "mrr@3", "mrr@20", "nll", "elbo"), 0.0) | {"recall@20": next(scores)}

    monkeypatch.setattr(SVIModule, "validate", validate)
    model, guide = make_pair()
    result = fit(
        model,
        guide,
        data,
        TrainingConfig(epochs=5, patience=2, batch_size=8, monitor="recall@20", device="cpu"),
        tmp_path,
    )
    assert result.best_epoch == 1
    assert result.best_value == pytest.approx(0.9)
    assert len(result.history) == 4, "two epochs without improvement end it"
    assert torch.equal(model.item_embeddings, seen[1])
    assert (tmp_path / "history.csv").read_text().count("\n") == 5


def test_ctrl_c_keeps_the_best_model_so_far(data, tmp_path, monkeypatch):
    step = SVIModule.training_step

    def stops(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (2, 1):
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_index)

    monkeypatch.setattr(SVIModule, "training_step", stops)
    handler = signal.getsignal(signal.SIGINT)
    result = fit(*make_pair(), data, CONFIG, tmp_path)
    assert result.interrupted
    assert len(result.history) == 2
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / CHECKPOINTS / "last.ckpt").is_file()


def test_ctrl_c_before_the_first_epoch_ends_has_nothing_to_keep(data, tmp_path, monkeypatch):
    monkeypatch.setattr(SVIModule, "training_step", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="first epoch"):
        fit(*make_pair(), data, CONFIG, tmp_path)


def test_divergence_names_the_batch_and_its_sequences(data):
    with pytest.raises(Diverged, match=r"batch \d+ of epoch \d+ .* \(sequences \d+, .*lower --lr than 1000000"):
        fit(*make_pair(), data, TrainingConfig(epochs=3, lr=1e6, batch_size=8, device="cpu"))


def test_a_guide_that_gives_nan_is_stopped(data):
    model, guide = make_pair()
    nn.init.constant_(guide.location.bias, float("nan"))
    with pytest.raises((Diverged, ValueError), match=r"nan|NaN|invalid"):
        fit(model, guide, data, CONFIG)


def test_the_kl_weight_rises_to_its_value(data):
    config = TrainingConfig(epochs=3, batch_size=8, kl_weight=0.5, kl_anneal=2, device="cpu")
    history = fit(*make_pair(), data, config).history
    assert history["kl_weight"].tolist() == pytest.approx([0.25, 0.5, 0.5])
    # the logged ELBO is unweighted whatever the weight
    per_prediction = history["train_kl"] * len(data.train) / data.train.predictions
    np.testing.assert_allclose(history["train_elbo"], -(history["train_nll"] + per_prediction), rtol=1e-6)


def test_the_same_seed_gives_the_same_run(data):
    one, two, other = (fit(*make_pair(s), data, TrainingConfig(epochs=1, seed=s, device="cpu")) for s in (1, 1, 2))
    assert one.history["train_loss"].equals(two.history["train_loss"])
    assert not one.history["train_loss"].equals(other.history["train_loss"])
