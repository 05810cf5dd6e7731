"""Time intervals as inputs: the embedding against NumPy's interpolation, a task that needs them, leaks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch

from experiments.svi import main
from guides import GUIDES
from hcrnn_pyro.contract import run_checks
from hcrnn_pyro.contract.toy import ITEMS, SIZES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.nn.event_inputs import KNOTS, EventInputs, IntervalEmbedding
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.posterior.simulate import simulate
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from models import MODELS, PRIORS

WITH_TIMES = [name for name, make in MODELS.items() if "time_intervals" in make.config.__dataclass_fields__]
SIZE = 3
UNKNOWN = float("nan")


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    module = IntervalEmbedding(SIZE).double().eval()
    module.weight.data.normal_()
    return module


def test_it_is_linear_between_knots_in_the_logarithm_of_the_time(embedding):
    seconds = np.array([[0.0, 0.4, 1.0, 2.5, 3.0, 61.0], [3600.0, 86400.5, 1e7, 2.0**31 - 1, 1e12, 5.0]])
    knots, weight = np.arange(KNOTS), embedding.weight.detach().numpy()
    expected = np.stack([np.interp(np.log2(1.0 + seconds), knots, weight[:, e]) for e in range(SIZE)], axis=-1)
    np.testing.assert_allclose(embedding(torch.tensor(seconds)).detach().numpy(), expected, rtol=1e-9)


def test_knots_lie_at_powers_of_two_less_one(embedding):
    seconds = torch.tensor([[2.0**j - 1.0 for j in range(KNOTS)]]).double()
    torch.testing.assert_close(embedding(seconds)[0], embedding.weight)


def test_an_unknown_time_adds_nothing_and_one_out_of_order_counts_as_none_gone_by(embedding):
    unknown, backwards, none = embedding(torch.tensor([[UNKNOWN, -7.0, 0.0]]).double())[0]
    assert unknown.tolist() == [0.0] * SIZE
    assert torch.equal(backwards, none)
    assert torch.equal(none, embedding.weight[0])


def test_unknown_times_leave_no_gradient_that_is_no_number(embedding):
    embedding(torch.tensor([[UNKNOWN, 3.0]]).double()).sum().backward()
    assert torch.isfinite(embedding.weight.grad).all()
    assert embedding.weight.grad[2].tolist() == [1.0] * SIZE
    assert embedding.weight.grad.sum() == SIZE


def test_a_tenth_of_the_training_rows_are_told_no_time(embedding):
    shown = embedding.train()(torch.ones(20_000, 2).double()).abs().sum(dim=-1) > 0
    assert torch.equal(shown[:, 0], shown[:, 1]), "a row is told all or nothing"
    assert shown[:, 0].double().mean().item() == pytest.approx(0.9, abs=0.01)  # standard error 0.002


def timed(lists, times):
    return replace(Sequences.from_lists(lists), times=np.concatenate(times).astype(np.float64))


def test_a_batch_tells_the_seconds_since_the_event_before():
    sequences = timed([[1, 2, 3], [4, 5, 6, 7]], [[10.0, 10.0, 400.0], [1e9, 1e9 + 0.5, UNKNOWN, 1e9 + 60]])
    batch = make_batch(sequences, np.array([0, 1]), np.array([2, 3]), "sequence")
    expected = torch.tensor([[UNKNOWN, 0.0, UNKNOWN], [UNKNOWN, 0.5, UNKNOWN]])
    torch.testing.assert_close(batch.elapsed, expected, equal_nan=True)
    prefix = make_batch(sequences, np.array([0, 1]), np.array([1, 2]), "prefix")
    torch.testing.assert_close(prefix.elapsed, expected[:, :2].index_fill(0, torch.tensor(0), UNKNOWN), equal_nan=True)
    torch.testing.assert_close(batch.take(torch.tensor([1])).elapsed, expected[1:], equal_nan=True)
    assert make_batch(Sequences.from_lists([[1, 2]]), np.array([0]), np.array([1]), "sequence").elapsed is None


def with_intervals(name):
    names = PairConfig(name)
    settings = {field: size for field, size in SIZES.items() if field in MODELS[name].config.__dataclass_fields__}
    return lambda: build_pair(names, settings | {"time_intervals": True}, ITEMS)


@pytest.mark.parametrize("name", WITH_TIMES)
def test_the_contract_is_kept_with_times(name):
    """Above all that nothing is read of what comes later; the sequences of the checks have times."""
    assert not [str(result) for result in run_checks(with_intervals(name)) if result.verdict == "broken"]


@pytest.mark.parametrize("name", WITH_TIMES)
def test_the_time_of_the_event_to_come_is_not_read_and_that_of_the_last_one_is(name):
    pyro.set_rng_seed(0)
    model, guide = with_intervals(name)()
    next(part for part in model.modules() if isinstance(part, IntervalEmbedding)).weight.data.normal_()
    predict = PosteriorPredictive(model.eval(), guide.eval())

    def predictions(seconds):
        return predict(make_batch(timed([[1, 2, 3, 4]], [seconds]), np.array([0]), np.array([3]), "filtering"))

    before = predictions([0.0, 5.0, 9.0, 10.0])
    torch.testing.assert_close(predictions([0.0, 5.0, 9.0, 10_000.0]), before)
    after = predictions([0.0, 5.0, 9_000.0, 9_001.0])
    torch.testing.assert_close(after[:2], before[:2])
    assert not torch.allclose(after[2], before[2])


def test_every_trained_sequential_model_can_read_them():
    assert set(WITH_TIMES) == {"hcrnn1", "hcrnn2", "hcrnn3", "hcrnn3-bi", "hcrnn-switching"} | {
        "gru4rec",
        "lstm4rec",
        "narm",
        "stamp",
        "sasrec",
    }


def test_without_times_there_is_no_weight_for_them():
    inputs = EventInputs(4, 0.0, False)
    assert not list(inputs.parameters())
    items = torch.randn(2, 3, 4)
    batch = make_batch(timed([[1, 2, 3, 4]] * 2, [[0, 1, 2, 3]] * 2), np.arange(2), np.full(2, 3), "sequence")
    assert torch.equal(inputs.eval()(items, batch), items)


ITEMS_OF_A_COIN = 4


def told_by_time(seed, count, known=True):
    """After a minute's pause comes the next item of four, after none the one before it."""
    random = np.random.default_rng(seed)
    lists, times = [], []
    for _ in range(count):
        pauses = random.integers(0, 2, 8)
        steps = np.where(pauses[:-1] == 1, 1, -1)
        lists.append((np.cumsum([random.integers(0, ITEMS_OF_A_COIN), 1, *steps]) % ITEMS_OF_A_COIN + 1).tolist())
        times.append(np.cumsum([0, *(60.0 * pauses)]).tolist())
    return timed(lists, times) if known else Sequences.from_lists(lists)


def coins(known=True):
    items = pd.DataFrame({"item_id": [str(i) for i in range(ITEMS_OF_A_COIN)]})
    return DataSet("coins", *(told_by_time(seed, count, known) for seed, count in ((0, 80), (1, 20), (2, 40))), items)


def trained(time_intervals):
    pyro.set_rng_seed(0)
    sizes = {"hidden": 12, "contexts": 3, "dropout_in": 0.0, "dropout_out": 0.0, "time_intervals": time_intervals}
    model = MODELS["hcrnn3-bi"](items=ITEMS_OF_A_COIN, make_prior=PRIORS["logistic-normal"], **sizes)
    guide = GUIDES["bag-of-items"](model)
    fit(model, guide, coins(), TrainingConfig(epochs=20, batch_size=8, lr=0.02, monitor="nll", device="cpu"))
    return model, guide


@pytest.fixture(scope="module")
def reader():
    """A pair that has learnt what pauses mean."""
    return trained(True)


def test_what_only_the_time_tells_is_learnt_with_them_alone(reader):
    """The first of eight predictions is sure; the others are one of two items, and the pause tells which."""
    nll = [
        summarise(evaluate(PosteriorPredictive(*pair), coins().test, "one-pass"))["nll"]
        for pair in (trained(False), reader)
    ]
    assert nll[0] == pytest.approx(7 / 8 * np.log(2), abs=0.05), "two items are equally likely without the time"
    assert nll[1] < 0.1


def test_simulated_sequences_keep_the_times_and_follow_them(reader):
    sequences = coins().test
    written = simulate(reader[0].eval(), sequences).sequences
    assert written.times is sequences.times
    items = written.items.reshape(len(sequences), -1)
    pauses = np.diff(sequences.times.reshape(items.shape), axis=1)[:, :-1]
    expected = (items[:, 1:-1] - 1 + np.where(pauses > 0, 1, -1)) % ITEMS_OF_A_COIN + 1
    assert (items[:, 2:] == expected).mean() > 0.9


def test_data_without_times_are_refused():
    model = MODELS["narm"](items=ITEMS_OF_A_COIN, hidden=4, time_intervals=True)
    known = coins().train
    for none in (coins(known=False).train, replace(known, times=np.full_like(known.times, np.nan))):
        with pytest.raises(UserError, match="of events, and train of these data have none"):
            fit(model, GUIDES["none"](model), replace(coins(), train=none), TrainingConfig(epochs=1, device="cpu"))


def test_the_command_refuses_them_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="and train and valid and test of these data have none"):
        main(["--data", "synthetic", "--time-intervals", "--epochs", "1", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists(), "nothing was begun"
