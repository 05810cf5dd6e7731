"""What models without a latent share: settings, where their weights start, dropout."""

import math

import pytest
import torch
from torch import nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.spectral import spectral_embeddings
from models import MODELS, BPRMFConfig, DropoutConfig, GRU4RecConfig, PlainConfig, UntiedModel
from models.plain import glorot_

TRAIN = Sequences.from_lists([[1, 2, 3, 1, 4], [4, 2], [3, 5, 1, 2, 4, 3]])
ITEMS, HIDDEN = 5, 4
BATCH = Batch(
    inputs=torch.tensor([[1, 2, 3, 1], [4, 0, 0, 0]]),
    lengths=torch.tensor([4, 1]),
    targets=torch.tensor([[2, 3, 1, 4], [2, 0, 0, 0]]),
    scored=torch.tensor([[True, True, True, True], [True, False, False, False]]),
    rows=torch.tensor([0, 1]),
)


def plain_models(**settings):
    names = [name for name in MODELS if issubclass(MODELS[name].config, PlainConfig)]
    return {name: MODELS[name](items=ITEMS, hidden=HIDDEN, **settings) for name in names}


@pytest.mark.parametrize(
    ("config", "settings", "sentence"),
    [
        (PlainConfig, {"hidden": 0}, "--hidden is a size of at least 1; got 0"),
        (DropoutConfig, {"hidden": 0}, "--hidden is a size of at least 1; got 0"),
        (DropoutConfig, {"dropout_in": 1.0}, r"--dropout-in is a share in \[0, 1\); got 1.0"),
        (DropoutConfig, {"dropout_out": -0.1}, r"--dropout-out is a share in \[0, 1\); got -0.1"),
        (GRU4RecConfig, {"dropout_out": 1.5}, r"--dropout-out is a share in \[0, 1\); got 1.5"),
        (BPRMFConfig, {"negatives": 0}, "--negatives is a number of at least 1; got 0"),
    ],
)
def test_impossible_settings_are_told_in_a_sentence(config, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        config(**settings)


def test_spectral_embeddings_are_where_every_model_starts():
    expected = spectral_embeddings(TRAIN, ITEMS, HIDDEN)
    models = plain_models(item_embeddings="spectral")
    assert models.keys() >= {"sasrec", "narm", "stamp", "gru4rec", "lstm4rec", "bpr-mf"}
    for model in models.values():
        model.prepare(TRAIN)
        torch.testing.assert_close(model.item_embeddings.data, expected)
        if isinstance(model, UntiedModel):
            torch.testing.assert_close(model.output.data, nn.functional.pad(expected, (0, 1)))


def test_flat_embeddings_are_not_touched_by_the_training_part():
    for model in plain_models().values():
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.prepare(TRAIN)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_flat_tables_are_noise_of_standard_deviation_a_tenth_with_a_zero_row_for_padding():
    model = MODELS["gru4rec"](items=2000, hidden=50)
    assert torch.count_nonzero(model.output[:, -1]) == 0, "the bias starts at zero"
    for table in (model.item_embeddings, model.output[:, :-1]):
        assert torch.count_nonzero(table[0]) == 0
        # 100,000 entries: the standard error is 0.0002; five of them.
        assert table[1:].std().item() == pytest.approx(0.1, abs=0.001)


def test_glorot_takes_each_gate_for_a_matrix_of_its_own():
    recurrence = nn.LSTM(30, 20)
    glorot_(recurrence)
    for name, columns in (("weight_ih_l0", 30), ("weight_hh_l0", 20)):
        bound = math.sqrt(6.0 / (20 + columns))
        for gate in getattr(recurrence, name).split(20):
            assert 0.95 * bound < gate.abs().max() <= bound
    assert all(torch.count_nonzero(getattr(recurrence, name)) == 0 for name in ("bias_ih_l0", "bias_hh_l0"))


@pytest.mark.parametrize("name", ["narm", "stamp", "gru4rec", "lstm4rec"])
@pytest.mark.parametrize("flag", ["dropout_in", "dropout_out"])
def test_dropout_acts_in_training_alone(name, flag):
    none = {"dropout_in": 0.0, "dropout_out": 0.0}
    model = MODELS[name](items=ITEMS, hidden=HIDDEN, **(none | {flag: 0.5}))
    assert not torch.equal(model.features(BATCH), model.features(BATCH))
    model.eval()
    torch.testing.assert_close(model.features(BATCH), model.features(BATCH), rtol=0, atol=0)


def test_only_row_zero_of_the_embeddings_gets_no_gradient_from_padding():
    for model in plain_models().values():
        model.eval().features(BATCH).sum().backward()
        assert torch.count_nonzero(model.item_embeddings.grad[0]) == 0
