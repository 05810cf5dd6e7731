"""The search on objectives that are known beforehand: what it finds, prunes, records and goes on with."""

import math
from contextlib import contextmanager

import optuna
import pytest
from optuna.storages import RDBStorage

from experiments.svi import default_config
from experiments.tuning import search as search_module
from experiments.tuning.attempt import Ending
from experiments.tuning.config import TuneConfig
from experiments.tuning.figures import draw_history, draw_importance
from experiments.tuning.search import search
from experiments.tuning.space import Choices, Range, Space
from experiments.tuning.study import FILE, Tried, open_study
from hcrnn_pyro.errors import UserError

SPACE = Space(
    {},
    {"lr": Range(1e-4, 1.0, log=True), "dropout-in": Range(0.0, 0.8, step=0.1), "batch-size": Choices((16, 32))},
)
BEST_LR = 0.01
COMPLETE = Ending("complete")


class Scripted:
    """A trial whose metric after each epoch is known; one more epoch has ended whenever it is looked at."""

    def __init__(self, curve, ending=COMPLETE):
        self.curve, self.last, self.shown, self.closed = curve, ending, 0, False

    def ending(self):
        self.shown += 1
        return self.last if self.shown > len(self.curve) else None

    def values(self):
        return self.curve[: self.shown]

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(search_module, "POLL", 0)


@contextmanager
def opened(out, space=SPACE, fingerprint="the data", **flags):
    config = TuneConfig(data="synthetic", out=out, **flags)
    with open_study(config, space, config.base(default_config(config.model).data), fingerprint) as study:
        yield study


def planted(flags):
    """Best at one learning rate, and the same for all else."""
    return 10 - math.log10(flags.training.lr / BEST_LR) ** 2


def by_plan(_number, flags):
    return Scripted([planted(flags)])


def raw(out):
    """The trials as Optuna itself reads them."""
    storage = RDBStorage(f"sqlite:///{out / FILE}")
    read = optuna.load_study(study_name=None, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return read


def test_the_planted_setting_is_found_and_what_matters_is_told(tmp_path, capsys):
    with opened(tmp_path) as study:
        search(study, by_plan, 15, 1, "mrr@20")
        best, importances = study.ranked()[0], study.importances()
        tried = study.tried()
    assert BEST_LR / 2.5 < best.drawn["lr"] < BEST_LR * 2.5
    assert best.value == max(one.value for one in tried)
    assert next(iter(importances)) == "lr"
    assert sum(importances.values()) == pytest.approx(1)
    assert capsys.readouterr().out.startswith("[1/15] trial 1: mrr@20 ")
    assert [one.number for one in tried] == list(range(1, 16))


def test_lower_is_better_for_the_nll(tmp_path):
    with opened(tmp_path, monitor="nll") as study:
        search(study, lambda number, _: Scripted([5.0, float(number), 9.0]), 4, 1, "nll")
        ranked = study.ranked()
    assert [(one.value, one.epoch) for one in ranked] == [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)]


def test_a_stopped_search_goes_on_as_if_it_had_not_been(tmp_path):
    def stopped(number, flags):
        begun.append(number)
        if number == 4:
            raise KeyboardInterrupt
        return by_plan(number, flags)

    begun = []
    (tmp_path / "whole").mkdir(), (tmp_path / "parts").mkdir()
    with opened(tmp_path / "whole") as study:
        search(study, by_plan, 11, 1, "mrr@20")
        whole = [one.drawn for one in study.tried()]
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "parts") as study:
        search(study, stopped, 11, 1, "mrr@20")
    assert begun == [1, 2, 3, 4]
    with opened(tmp_path / "parts") as study:
        search(study, lambda number, flags: begun.append(number) or by_plan(number, flags), 11, 1, "mrr@20")
        parts = [one.drawn for one in study.tried()]
        search(study, stopped, 11, 1, "mrr@20")  # there are as many as asked for
    assert begun[4:] == list(range(4, 12))
    assert parts == whole
    assert len({str(drawn) for drawn in parts}) == 11
    states = [trial.state.name for trial in raw(tmp_path / "parts")]
    assert states == ["COMPLETE"] * 3 + ["FAIL"] + ["COMPLETE"] * 8


def test_a_trial_whose_command_was_killed_while_it_was_told_is_tried_again(tmp_path):
    with opened(tmp_path) as study:
        study.ask().set_user_attr("ending", ["complete", "", 1.0])
    with opened(tmp_path) as study:
        assert study.tried() == []
        assert study.ask().user_attrs["number"] == 1
    assert [trial.state.name for trial in raw(tmp_path)] == ["FAIL", "RUNNING"]


def test_another_seed_draws_other_trials(tmp_path):
    drawn = {}
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        with opened(tmp_path / str(seed), seed=seed) as study:
            search(study, by_plan, 2, 1, "mrr@20")
            drawn[seed] = [one.drawn for one in study.tried()]
    assert drawn[0] != drawn[1]


def test_a_trial_below_the_median_stops_early(tmp_path, capsys):
    def begin(number, _):
        attempts[number] = Scripted([9.0] * 5 if number <= 5 else [1.0] * 9)
        return attempts[number]

    attempts = {}
    with opened(tmp_path, warmup=3) as study:
        search(study, begin, 6, 1, "mrr@20")
        tried = study.tried()
    assert [one.outcome for one in tried] == ["complete"] * 5 + ["pruned"]
    assert tried[-1].epochs == attempts[6].shown == 4  # three to warm up, and the one that is judged
    assert all(attempt.closed for attempt in attempts.values())
    assert "[6/6] trial 6: pruned after 4 epoch(s), mrr@20 1.000, " in capsys.readouterr().out


def test_whether_a_trial_is_pruned_does_not_depend_on_when_it_is_looked_at(tmp_path):
    def begin(number, _):
        curve = [9.0] * 4 if number <= 5 else [1.0, 1.0, 20.0, 20.0]
        attempt = Scripted(curve)
        attempt.shown = len(curve)  # all epochs are over before the first look
        return attempt

    with opened(tmp_path, warmup=1) as study:
        search(study, begin, 6, 1, "mrr@20")
        last = study.tried()[-1]
    assert (last.outcome, last.epochs) == ("pruned", 2)


def test_what_goes_wrong_is_recorded_and_the_others_are_made(tmp_path, capsys):
    endings = {
        2: Scripted([3.0], Ending("diverged", "Training diverged: too bad.")),
        3: Scripted([], Ending("failed", "Killed")),
        4: Scripted([], Ending("refused", "No room.")),
    }
    with opened(tmp_path) as study:
        search(study, lambda number, _: endings.get(number, Scripted([5.0])), 6, 1, "mrr@20")
        tried, ranked = study.tried(), study.ranked()
        assert study.importances() == {}
    outcomes = ["complete", "diverged", "failed", "refused", "complete", "complete"]
    assert [one.outcome for one in tried] == outcomes
    assert [one.why for one in tried][1:4] == ["Training diverged: too bad.", "Killed", "No room."]
    assert len(ranked) == 3
    # The sampler shuns what diverges, and learns nothing from an accident.
    states = [trial.state.name for trial in raw(tmp_path)]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "PRUNED", "COMPLETE", "COMPLETE"]
    assert "trial 2: diverged (Training diverged: too bad.)" in capsys.readouterr().out


def test_a_search_without_hope_ends(tmp_path):
    space = Space({"objective": "iwae"}, {"lr": Range(0.001, 0.1)})  # of a single particle, which is refused
    begun = []
    with opened(tmp_path, space) as study, pytest.raises(UserError, match=r"first 3 trials .* needs --particles of"):
        search(study, lambda number, _: begun.append(number), 40, 1, "mrr@20")
    assert begun == []
    with opened(tmp_path, space) as study:
        assert len(study.tried()) == 3


def test_jobs_at_a_time_and_no_number_twice(tmp_path):
    def begin(number, flags):
        if number == 5:
            raise KeyboardInterrupt
        at_work = [one for one in attempts if not one.closed]
        most.append(len(at_work) + 1)
        attempts.append(Scripted([1.0] * (30 if number == 2 else 2)))
        return attempts[-1]

    attempts, most = [], []
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, warmup=99) as study:
        search(study, begin, 8, 2, "mrr@20")
    assert max(most) == 2
    with opened(tmp_path, warmup=99) as study:
        assert [one.number for one in study.tried()] == [1, 3, 4]  # the second was long, and is stopped
        search(study, lambda *_: Scripted([1.0]), 8, 2, "mrr@20")
        tried = study.tried()
    assert [one.number for one in tried] == list(range(1, 9))
    assert len({one.drawn["lr"] for one in tried}) == 8


def test_another_search_in_the_folder_is_refused(tmp_path):
    with opened(tmp_path):
        pass
    with opened(tmp_path, trials=99, jobs=2, device="cpu"):  # what may change
        pass
    for flags, named in (
        ({"monitor": "nll"}, "--monitor"),
        ({"seed": 1, "warmup": 1}, "--warmup, --seed"),
        ({"model": "hcrnn1"}, "--model"),
        ({"fingerprint": "other data"}, "data"),
        ({"space": Space({"epochs": 3}, SPACE.searched)}, "--space"),
    ):
        sentence = f"holds a search with another {named}\\. Choose"
        with pytest.raises(UserError, match=sentence), opened(tmp_path, **flags):
            pass


def test_what_is_no_study_is_refused(tmp_path):
    (tmp_path / FILE).write_text("a letter, long enough to be read as a file of its own kind " * 20)
    with pytest.raises(UserError, match=rf"{FILE} is no study"), opened(tmp_path):
        pass
    (tmp_path / FILE).unlink()
    (tmp_path / "trials").mkdir()
    with pytest.raises(UserError, match=r"trials is of another search"), opened(tmp_path):
        pass


def test_the_figures_show_what_was_tried():
    bars = draw_importance({"lr": 0.75, "hidden": 0.25})
    assert [bar.get_width() for bar in bars.patches] == [75, 25]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["lr", "hidden"]
    values = {1: 5.0, 2: 4.0, 3: 6.0}
    tried = [Tried(number, "complete", "", {}, value, 0, 1, 1.0) for number, value in values.items()]
    axes = draw_history(tried, "mrr@20", lower_is_better=False)
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"complete": [5.0, 4.0, 6.0], "best so far": [5.0, 5.0, 6.0]}
