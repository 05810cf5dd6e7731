"""The run folder: what is written can be read back, by itself, without unpickling; folders in use are left alone."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import hcrnn_pyro
from hcrnn_pyro.data.synthetic import SyntheticProcess
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, evaluate_parts
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import (
    check_data,
    load_run,
    load_weights,
    save_results,
    save_weights,
    start_run,
)

SETTINGS = {"hidden": 6, "contexts": 4, "dropout_in": 0.1, "dropout_out": 0.2, "likelihood": "without-replacement"}
CONFIG = {"pair": {"model": "hcrnn3-bi", "prior": "logistic-normal", "guide": "bag-of-items"}, "settings": SETTINGS}


@pytest.fixture
def data():
    return SyntheticProcess(users=10, items=40).draw()


@pytest.fixture
def finished(data, tmp_path):
    folder = tmp_path / "run"
    start_run(folder, CONFIG, data)
    model, guide = build_pair(PairConfig(), SETTINGS, data.catalogue_size)
    save_weights(folder, model, guide)
    predictive = PosteriorPredictive(model.eval(), guide.eval())
    metrics, ranks = evaluate_parts({"valid": predictive, "test": predictive}, data, "exact")
    save_results(folder, metrics, ranks)
    return folder, predictive, metrics, ranks


def test_a_run_loads_without_its_data_and_predicts_the_same(finished, data):
    folder, predictive, metrics, ranks = finished
    run = hcrnn_pyro.load_run(folder)
    assert run.metrics == metrics
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "ranks.parquet"), ranks)
    pd.testing.assert_frame_equal(run.items, data.items)
    assert not run.model.training
    again = evaluate(run.predictive, data.test, "exact")
    assert np.array_equal(again["log_prob"], evaluate(predictive, data.test, "exact")["log_prob"])


def test_loading_unpickles_nothing(finished, monkeypatch):
    folder, *_ = finished

    def refuse(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_run(folder)


def test_a_folder_in_use_is_left_alone(finished, data, tmp_path):
    folder, *_ = finished
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(UserError, match="holds another run"):
        start_run(folder, CONFIG, data)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an empty folder"):
        start_run(tmp_path / "other", CONFIG, data)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "holds no run"),
        ("{not json", "is not JSON"),
        (json.dumps({"format": 99}), "run format 99; this version reads format 2"),
        (json.dumps({"format": 2, **CONFIG}), "holds no trained model yet"),
    ],
)
def test_what_is_no_finished_run_is_told(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        load_run(tmp_path)


def test_a_guide_that_holds_the_model_is_saved_and_loaded(tmp_path, data):
    model, _ = build_pair(PairConfig(), SETTINGS, data.catalogue_size)

    class Holding(torch.nn.Module):
        def __init__(self, held):
            super().__init__()
            self.held = held
            self.own = torch.nn.Parameter(torch.randn(3))

    guide = Holding(model)
    save_weights(tmp_path, model, guide)
    before = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
    for parameter in guide.parameters():
        parameter.data.zero_()
    load_weights(tmp_path, model, guide)
    assert all(torch.equal(tensor, before[name]) for name, tensor in guide.state_dict().items())


def test_other_data_are_noticed(finished, data):
    folder, *_ = finished
    check_data(folder, data)
    check_data(folder, SyntheticProcess(users=10, items=40).draw())
    with pytest.raises(UserError, match="have changed"):
        check_data(folder, SyntheticProcess(users=10, items=40).draw(seed=1))
    with pytest.raises(UserError, match="have changed"):
        check_data(folder, replace(data, items=data.items.assign(item_id=data.items["item_id"][::-1].to_numpy())))


def test_a_users_file_is_remembered_by_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from models import LogisticNormal\n")
    monkeypatch.chdir(tmp_path)
    assert PairConfig(prior="mine:LogisticNormal").prior == f"{tmp_path / 'mine.py'}:LogisticNormal"
    assert PairConfig(prior="models.priors:LogisticNormal").prior == "models.priors:LogisticNormal"


def test_a_part_that_is_no_module_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def guide(model):\n    return lambda batch: None\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="got a function"):
        build_pair(PairConfig(guide="mine:guide"), SETTINGS, 5)


def test_a_damaged_run_is_told(finished):
    folder = finished[0]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged .*; restore it or train anew"):
        load_run(folder)
    (folder / "items.parquet").unlink()
    with pytest.raises(UserError, match=r"has lost its vocabulary, items\.parquet"):
        load_run(folder)
