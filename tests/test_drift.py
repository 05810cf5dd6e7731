"""Drift: gates against the NumPy transcription, labels by hand, detection of planted gates, and the command."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pytest

from experiments.drift import main
from experiments.svi import main as train
from guides import GUIDES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.detection import clustered_auc
from hcrnn_pyro.drift import FALLS, RISES, detection, drift_signals, possible_drifts
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.prediction import PosteriorPredictive
from models import HCRNN, MODELS, PRIORS
from tests.numpy_hcrnn import paper_weights, step

ITEMS, SIZE, CONTEXTS = 7, 4, 3
SEQUENCES = Sequences.from_lists([[3, 1, 4, 5, 2], [2, 7], [6, 2, 3, 5]])
VARIANTS = ["hcrnn1", "hcrnn2", "hcrnn3", "hcrnn3-bi"]


def make(name, guide="prior"):
    pyro.set_rng_seed(0)
    model = MODELS[name](items=ITEMS, make_prior=PRIORS["logistic-normal"], hidden=SIZE, contexts=CONTEXTS)
    return model.double().eval(), GUIDES[guide](model).double().eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gates_are_the_transcriptions(variant):
    model, guide = make(variant)
    found = drift_signals(model, guide, SEQUENCES).set_index(["row", "position"])
    assert list(found.index) == [(0, 1), (0, 2), (0, 3), (2, 1), (2, 2)], "all but the first and the last of each"
    weights = paper_weights({k: v.detach().numpy() for k, v in model.state_dict().items()}, SIZE, SIZE)
    for row, items in enumerate(SEQUENCES):
        h, c = np.zeros(SIZE), np.zeros(SIZE)
        for position, item in enumerate(items[:-1]):
            x, theta = weights["W_emb"][item], np.full(CONTEXTS, 1 / CONTEXTS)  # the prior's guide: the mean is 0
            h, c, (_, local, z, r, drift) = step(variant, weights, x, h, c, theta)
            if position:
                cosine = x @ c / np.sqrt((x @ x) * (c @ c))
                expected = [(r * drift).mean(), r.mean(), drift.mean(), cosine, z.mean(), local.mean()]
                names = ["history_kept", "reset_gate", "drift_gate", "agreement", "update_gate", "local_gate"]
                np.testing.assert_allclose(found.loc[(row, position), names], expected, rtol=1e-9)


def test_surprise_is_what_the_model_gave_the_event():
    model, guide = make("hcrnn3")
    found = drift_signals(model, guide, SEQUENCES).set_index(["row", "position"])
    prefix = make_batch(SEQUENCES, np.array([2]), np.array([2]), "prefix")  # 6, 2 before the 3
    log_probs = PosteriorPredictive(model, guide)(prefix)
    assert found.loc[(2, 2), "surprise"] == pytest.approx(-log_probs[0, 3].item())


def test_the_switching_models_gates_do_not_depend_on_theta():
    model, _ = make("hcrnn-switching")
    gates = [*FALLS, "update_gate", "local_gate"]
    read = [drift_signals(model, GUIDES[name](model).double().eval(), SEQUENCES) for name in ("prior", "bag-of-items")]
    pd.testing.assert_frame_equal(read[0][gates], read[1][gates])
    assert not np.allclose(read[0]["surprise"], read[1]["surprise"]), "its predictions do"


def test_nothing_is_read_of_what_comes_later():
    model, guide = make("hcrnn3-bi", "bag-of-items")
    other = Sequences.from_lists([[3, 1, 4, 7, 6], [2, 7], [6, 2, 3, 5]])
    ours, theirs = (drift_signals(model, guide, part).set_index(["row", "position"]) for part in (SEQUENCES, other))
    same = [(0, 1), (0, 2), (2, 1), (2, 2)]
    pd.testing.assert_frame_equal(ours.loc[same], theirs.loc[same])
    assert not np.allclose(ours.loc[(0, 3)], theirs.loc[(0, 3)])


def test_events_that_are_context_alone_have_gates_and_no_surprise():
    model, guide = make("hcrnn3")
    whole = drift_signals(model, guide, SEQUENCES)
    last_alone = drift_signals(model, guide, replace(SEQUENCES, first_target=SEQUENCES.lengths - 1))
    assert last_alone["surprise"].isna().all()
    pd.testing.assert_frame_equal(last_alone.drop(columns="surprise"), whole.drop(columns="surprise"))


def test_sequences_of_two_events_have_nothing_between():
    with pytest.raises(UserError, match="No sequence has an event between its first and its last one"):
        drift_signals(*make("hcrnn3"), Sequences.from_lists([[1, 2], [3, 4]]))


class Gateless(HCRNN):
    """A recurrence of a user's own, whose gates are not told."""

    def reading(self, batch, theta):
        return self.states(batch, theta)


def test_a_model_without_gates_is_refused():
    model = MODELS["narm"](items=ITEMS, hidden=SIZE)
    with pytest.raises(UserError, match="A NARM has no gates to read"):
        drift_signals(model, GUIDES["none"](model), SEQUENCES)
    gateless = Gateless("hcrnn3", ITEMS, PRIORS["logistic-normal"], hidden=SIZE, contexts=CONTEXTS)
    with pytest.raises(UserError, match="A Gateless has no gates to read"):
        drift_signals(gateless, GUIDES["prior"](gateless), SEQUENCES)


def test_what_may_be_a_drift_is_told_by_the_data_alone():
    items = pd.DataFrame({"item_id": list("abcdefg"), "categories": ["x", "x|y", "y", "", "z", "x", "y|z"]})
    times = np.array([0.0, 10.0, 10.0, 5000.0, np.nan, 7.0, 8.0, 0.0, 3600.0, 3601.0, 9e9])
    data = DataSet("toy", SEQUENCES, SEQUENCES, replace(SEQUENCES, times=times), items)
    found = possible_drifts(data, "test", 3600.0)
    assert list(zip(found["row"], found["position"], strict=True)) == [
        *[(0, t) for t in (1, 2, 3, 4)],
        (1, 1),
        *[(2, t) for t in (1, 2, 3)],
    ]
    no = pd.NA  # 3 1 4 5 2 is y x - z xy; 2 7 is xy yz; 6 2 3 5 is x xy y z
    assert found["genre"].tolist() == [True, no, no, True, False, False, False, True]
    assert found["pause"].tolist() == [False, False, True, no, False, True, False, True]
    assert "planted" not in found
    bare = possible_drifts(replace(data, items=items[["item_id"]], test=SEQUENCES), "test", 3600.0)
    assert list(bare.columns) == ["row", "position", "seconds"]


def events_of(signals, **drifts):
    rows = len(next(iter(drifts.values())))
    flat = dict.fromkeys(FALLS + RISES, 0.5) | {"seconds": np.nan}
    labels = {name: pd.array(values, dtype="boolean") for name, values in drifts.items()}
    return pd.DataFrame({"row": np.arange(rows) // 2, **flat, **signals, **labels})


def test_a_signal_is_judged_by_the_way_it_should_move():
    genre = [True, False, True, False, None, False]
    signals = {"history_kept": [0.1, 0.9, 0.2, 0.8, 0.0, 0.7], "surprise": [9.0, 1.0, 0.0, 2.0, 5.0, 3.0]}
    found = detection(events_of(signals, genre=genre)).set_index("signal")
    assert list(found.index) == ["history_kept", "surprise"], "the others are the same at all events"
    assert found.loc["history_kept", "auc"] == 1.0
    assert found.loc["surprise", "auc"] == 0.5  # 9 is above 1, 2 and 3, and 0 below
    assert found.loc["history_kept", "at_drift"] == pytest.approx(0.15)
    assert found.loc["history_kept", "elsewhere"] == pytest.approx(0.8)
    assert found["share"].tolist() == [0.4, 0.4]
    assert found["events"].tolist() == [5, 5]
    for one_kind in ([False] * 6, [None] * 6):
        assert detection(events_of(signals, pause=one_kind)).empty


def test_intervals_are_over_sequences():
    random = np.random.default_rng(0)
    kept, genre = random.random(60), random.random(60) < 0.4
    events = events_of({"history_kept": kept}, genre=genre.tolist())
    (found,) = detection(events).to_dict("records")
    assert (found["low"], found["high"]) == pytest.approx(clustered_auc(-kept, genre, np.arange(60) // 2)[1:])
    assert found["low"] != pytest.approx(clustered_auc(-kept, genre, np.arange(60)).low)


def test_the_time_that_went_by_is_a_signal_but_of_a_pause():
    seconds, drift = {"seconds": [9.0, 1.0, np.nan, 5.0]}, [True, False, False, False]
    found = detection(events_of(seconds, genre=drift, pause=drift)).to_dict("records")
    assert [(row["drift"], row["signal"], row["auc"], row["elsewhere"]) for row in found] == [
        ("genre", "seconds", 1.0, 3.0)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = [
        "--epochs",
        "3",
        "--lr",
        "0.01",
        "--hidden",
        "16",
        "--contexts",
        "3",
        "--evaluation",
        "one-pass",
        "--device",
        "cpu",
    ]
    for name in ("hcrnn3", "hcrnn1"):
        train(["--data", "synthetic", "--model", name, *small, "--out", str(folder / name)])
    train(["--data", "synthetic", "--model", "pop", "--out", str(folder / "pop")])
    return folder


def test_the_command_judges_planted_drifts(runs, capsys):
    main(["--run", str(runs / "hcrnn3")])
    printed = capsys.readouterr().out
    assert "planted: the context that was planted changes" in printed
    assert re.search(r"drift_gate +falls", printed)
    found = pd.read_csv(runs / "hcrnn3" / "drift" / "detection.csv")
    assert set(found["signal"]) == {*FALLS, *RISES} - {"seconds"}, "these data have no times"
    assert found["auc"].between(0, 1).all()
    events = pd.read_parquet(runs / "hcrnn3" / "drift" / "events.parquet")
    assert events["planted"].mean() == pytest.approx(found["share"].iloc[0])
    surprise = found.set_index(["drift", "signal"]).loc[("planted", "surprise")]
    assert surprise["low"] > 0.5, "even after three epochs a change of context surprises"


def test_the_command_shows_a_sequence(runs, tmp_path, capsys):
    with pytest.raises(UserError) as refused:
        main(["--run", str(runs / "hcrnn1"), "--sequence", "nobody"])
    name = str(refused.value).removesuffix(".").rpartition(", ")[2]
    main(["--run", str(runs / "hcrnn1"), "--out", str(tmp_path / "d"), "--sequence", name])
    printed = capsys.readouterr().out
    assert not re.search(r"drift_gate +falls", printed), "HCRNN-1 has none"
    events = pd.read_parquet(tmp_path / "d" / "events.parquet").query("sequence == @name")
    shown = printed.partition(f"Sequence {name}:\n")[2].splitlines()[1 : 1 + len(events)]
    assert [int(line.split()[0]) for line in shown] == (events["position"] + 1).tolist()
    assert [line.endswith("planted") for line in shown] == events["planted"].tolist()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--sequence", "nobody"], "the test part has no sequence 'nobody'. Its first ones are "),
        (["--pause", "0"], "--pause is a time above 0 seconds; got 0"),
    ],
)
def test_wrong_flags_end_in_a_sentence(runs, flags, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        main(["--run", str(runs / "hcrnn1"), "--out", str(tmp_path / "d"), *flags])
    assert not (tmp_path / "d").exists()


def test_a_run_without_gates_is_refused(runs):
    with pytest.raises(UserError, match="holds a pop, which has no drift gate to read"):
        main(["--run", str(runs / "pop")])


def test_results_go_to_a_folder_of_their_own(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file is not a folder"):
        main(["--run", str(runs / "hcrnn1"), "--out", str(tmp_path / "file")])
    with pytest.raises(UserError, match="which no look for drift wrote"):
        main(["--run", str(runs / "hcrnn1"), "--out", str(runs / "hcrnn3")])


@pytest.fixture(scope="module")
def timed_log(tmp_path_factory):
    """Sessions of fifteen events: a pause of an hour before each third one, and categories by the item."""
    folder = tmp_path_factory.mktemp("log")
    random = np.random.default_rng(0)
    pauses = np.where(np.arange(15) % 3 == 2, 3600, 5)
    rows = [(f"u{u}", f"i{random.integers(12)}", int(t)) for u in range(60) for t in np.cumsum(pauses)]
    log = pd.DataFrame(rows, columns=["SessionId", "ItemId", "Time"])
    log["Categories"] = np.where(log["ItemId"].isin(["i1", "i2"]), "", "c" + log["ItemId"].str[-1])
    log.to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


@pytest.mark.parametrize("split", ["users", "leave-last-out"])
def test_the_command_on_a_log_with_times(timed_log, tmp_path, capsys, split):
    small = ["--epochs", "1", "--hidden", "6", "--contexts", "3", "--evaluation", "one-pass", "--device", "cpu"]
    run = str(tmp_path / "run")
    train(["--data", str(timed_log), "--split", split, "--time-intervals", *small, "--out", run])
    capsys.readouterr()
    main(["--run", run, "--pause", "60"])
    printed = capsys.readouterr().out
    found = pd.read_csv(tmp_path / "run" / "drift" / "detection.csv").set_index(["drift", "signal"])
    assert found.loc[("pause", "history_kept"), "share"] == pytest.approx(4 / 13)  # of events 2 to 14: 3, 6, 9 and 12
    assert ("genre", "seconds") in found.index
    assert ("pause", "seconds") not in found.index
    assert ("pause", "surprise") not in found.index or split == "users", "the last event alone is predicted"
    assert "at least 60 seconds went by" in printed
    main(["--run", run, "--pause", "1"])
    assert "pause: all events are of one kind, so there is nothing to tell apart." in capsys.readouterr().out


def test_changed_times_are_changed_data(timed_log, tmp_path):
    copy = tmp_path / "log.csv"
    copy.write_text(timed_log.read_text())
    small = ["--epochs", "1", "--hidden", "6", "--contexts", "3", "--evaluation", "one-pass", "--device", "cpu"]
    train(["--data", str(copy), *small, "--out", str(tmp_path / "run")])
    log = pd.read_csv(copy)
    log.assign(Time=2 * log["Time"]).to_csv(copy, index=False)
    with pytest.raises(UserError, match=r"The data of log\.csv have changed since the run"):
        main(["--run", str(tmp_path / "run")])
