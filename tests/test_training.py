"""Training: exact resume, early stopping, a clean stop, divergence, and a task that must be learnt."""

import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from torch import nn

from guides import GUIDES
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.nn import item_prior
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import CHECKPOINT
from hcrnn_pyro.spectral import spectral_embeddings
from hcrnn_pyro.svi_module import Diverged, SVIModule
from hcrnn_pyro.training import Interrupted, fit
from hcrnn_pyro.training_config import TrainingConfig
from models import MODELS, PRIORS
from tests.cycles import CYCLE, cycles_data, make_pair


@pytest.fixture
def data():
    return cycles_data()


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


def test_a_run_resumes_around_the_spectral_embeddings_it_started_from(data, tmp_path, monkeypatch):
    def prepared_pair():
        model, guide = make_pair(item_embeddings="spectral", item_scale=0.05)
        model.prepare(data.train)
        return model, guide

    whole = prepared_pair()
    fit(*whole, data, CONFIG, tmp_path / "whole")
    fit(*prepared_pair(), data, replace(CONFIG, epochs=2), tmp_path / "moved")
    elsewhere = -spectral_embeddings(data.train, CYCLE, 12)  # singular vectors as right as these, of other signs
    monkeypatch.setattr(item_prior, "spectral_embeddings", lambda *_: elsewhere)
    resumed = prepared_pair()
    fit(*resumed, data, CONFIG, tmp_path / "moved", resume=True)
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
    assert (tmp_path / CHECKPOINT).is_file()


def test_ctrl_c_before_the_first_epoch_ends_has_nothing_to_keep(data, tmp_path, monkeypatch):
    monkeypatch.setattr(SVIModule, "training_step", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="first epoch"):
        fit(*make_pair(), data, CONFIG, tmp_path)


def test_divergence_names_the_batch_and_its_sequences(data):
    with pytest.raises(Diverged, match=r"batch \d+ of epoch \d+ .* \(sequences \d+, .*lower --lr than 1000000"):
        fit(*make_pair(), data, TrainingConfig(epochs=3, lr=1e6, batch_size=8, device="cpu"))


def test_a_guide_that_gives_nan_is_stopped(data):
    model, guide = make_pair()
    nn.init.constant_(guide.families.eta.location.bias, float("nan"))
    with pytest.raises(Diverged, match="batch 0 of epoch 0 is nan"):
        fit(model, guide, data, CONFIG)


def test_the_kl_weight_rises_to_its_value(data):
    config = TrainingConfig(epochs=3, batch_size=8, kl_weight=0.5, kl_anneal=2, device="cpu")
    history = fit(*make_pair(), data, config).history
    assert history["kl_weight"].tolist() == pytest.approx([0.25, 0.5, 0.5])
    # the logged ELBO is unweighted whatever the weight
    per_prediction = history["train_kl"] * len(data.train) / data.train.predictions
    np.testing.assert_allclose(history["train_elbo"], -(history["train_nll"] + per_prediction), rtol=1e-6)
    # in the third epoch the weight is one number, and the loss that was descended has it
    weighted = history["train_nll"] + 0.5 * per_prediction
    np.testing.assert_allclose(history["train_loss"][2:], weighted[2:], rtol=1e-5)
    assert history["train_loss"][0] < weighted[0]


def test_the_same_seed_gives_the_same_run(data):
    one, two, other = (fit(*make_pair(s), data, TrainingConfig(epochs=1, seed=s, device="cpu")) for s in (1, 1, 2))
    assert one.history["train_loss"].equals(two.history["train_loss"])
    assert not one.history["train_loss"].equals(other.history["train_loss"])


def test_a_moved_run_folder_resumes_and_remembers_its_best_epoch(data, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.5, 0.4])

    def validate(self):
        return dict.fromkeys(("recall@3", "recall@20", "mrr@3", "nll", "elbo"), 0.0) | {"mrr@20": next(scores)}

    monkeypatch.setattr(SVIModule, "validate", validate)
    fit(*make_pair(), data, TrainingConfig(epochs=2, batch_size=8, device="cpu"), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    pair = make_pair()
    result = fit(*pair, data, TrainingConfig(epochs=4, batch_size=8, device="cpu"), tmp_path / "there", resume=True)
    assert (result.best_epoch, result.best_value) == (1, pytest.approx(0.9))
    assert len(result.history) == 4


def test_a_failed_write_leaves_the_checkpoint_before_it(data, tmp_path, monkeypatch):
    fit(*make_pair(), data, TrainingConfig(epochs=1, batch_size=8, device="cpu"), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(self, path):
        path.write_bytes(b"half a")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full)
    with pytest.raises(OSError, match="No space"):
        fit(*make_pair(), data, TrainingConfig(epochs=2, batch_size=8, device="cpu"), tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_weights_that_become_nan_in_the_last_step_of_an_epoch_are_not_the_best(data, monkeypatch):
    evaluation = SVIModule.validate

    def poisoned(self):
        self.predictive.model.to_item_space.weight.data.fill_(float("nan"))
        return evaluation(self)

    monkeypatch.setattr(SVIModule, "validate", poisoned)
    with pytest.raises(Diverged, match="after epoch 0 the valid nll is nan"):
        fit(*make_pair(), data, CONFIG)


def test_long_sequences_in_the_filtering_scope_are_no_divergence():
    """The KL of all their steps is far above any nll at the start."""
    random = np.random.default_rng(0)
    part = Sequences.from_lists([[int(i) for i in random.integers(1, 500, 300)] for _ in range(4)])
    items = pd.DataFrame({"item_id": [str(i) for i in range(500)]})
    data = DataSet("long", part, part, part, items)
    config = TrainingConfig(epochs=1, batch_size=2, scope="filtering", device="cpu")
    pyro.set_rng_seed(0)
    model = MODELS["hcrnn3-bi"](items=500, make_prior=PRIORS["logistic-normal"], hidden=100, contexts=50)
    assert len(fit(model, GUIDES["bag-of-items"](model), data, config).history) == 1


@pytest.mark.parametrize("scope", ["sequence", "prefix", "filtering"])
def test_training_and_validation_see_the_right_batches(data, monkeypatch, scope):
    """Training: its own part, the scope asked for, another order every epoch. Validation: its part, without dropout."""
    seen, validated = [], []
    step, evaluation = SVIModule.training_step, SVIModule.validate

    def recorded(self, batch, batch_index):
        seen.append((self.current_epoch, batch))
        return step(self, batch, batch_index)

    def twice(self):
        state = torch.get_rng_state()
        first, second = evaluation(self), evaluation(self)
        torch.set_rng_state(state)
        validated.append((first, second))
        assert self.training
        return first

    monkeypatch.setattr(SVIModule, "training_step", recorded)
    monkeypatch.setattr(SVIModule, "validate", twice)
    fit(*make_pair(), data, TrainingConfig(epochs=2, batch_size=8, scope=scope, device="cpu"))
    assert {batch.scope for _, batch in seen} == {scope}
    for epoch in (0, 1):
        scored = sum(int(batch.scored.sum()) for number, batch in seen if number == epoch)
        assert scored == data.train.predictions
    orders = [[batch.rows.tolist() for number, batch in seen if number == epoch] for epoch in (0, 1)]
    assert orders[0] != orders[1]
    for first, second in validated:
        assert first["predictions"] == data.valid.predictions != data.train.predictions
        assert first["nll"] == second["nll"]


@pytest.mark.parametrize(
    ("always", "expected"), [(False, [True, True, False, False, False, False]), (True, [True] * 6)]
)
def test_pyro_checks_the_first_two_batches_or_all(data, monkeypatch, always, expected):
    seen = []
    forward = Objective.forward

    def recorded(self, batch, *weight):
        if self.training:
            seen.append(pyro.settings.get("validate_distributions_pyro"))
        return forward(self, batch, *weight)

    monkeypatch.setattr(Objective, "forward", recorded)
    config = TrainingConfig(epochs=2, batch_size=-(-len(data.train) // 3), check_every_batch=always, device="cpu")
    fit(*make_pair(), data, config)
    assert seen == expected


def test_sigterm_ends_a_run_with_its_own_status(data, monkeypatch):
    """Lightning's handler would end the training quietly, as if it had come to its end."""
    handlers = []
    step = SVIModule.training_step

    def recorded(self, batch, batch_index):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return step(self, batch, batch_index)

    monkeypatch.setattr(SVIModule, "training_step", recorded)
    before = signal.getsignal(signal.SIGTERM)
    fit(*make_pair(), data, TrainingConfig(epochs=1, device="cpu"))
    assert set(handlers) == {signal.SIG_DFL}
    assert signal.getsignal(signal.SIGTERM) == before
