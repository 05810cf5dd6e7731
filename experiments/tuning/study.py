"""The Optuna study of a search, in one SQLite file: what was tried, and what is tried next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import get_param_importances
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from experiments.svi import SVIConfig
from experiments.tuning.attempt import Ending, Outcome
from experiments.tuning.config import FILE, FOLDER, TuneConfig
from experiments.tuning.space import Choices, Range, Space, tidy
from hcrnn_pyro.errors import UserError, require

NAME = "tune"
TRIALS_BEFORE_PRUNING = 5  # complete ones
FEWEST_FOR_IMPORTANCE = 10  # complete trials
# What the sampler learns from: a region that diverges or is refused is as bad as one that is pruned.
STATES: dict[Outcome, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "refused": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes:
        number: its place in the search, from 1.
        outcome: how it ended.
        why: why, if not well.
        drawn: the values of the flags that are searched.
        value, epoch: the best of the monitored metric, and its epoch (from 0); ``None`` without an epoch.
        epochs: how many were trained.
        seconds: how long it took.
    """

    number: int
    outcome: Outcome
    why: str
    drawn: dict[str, Any]
    value: float | None
    epoch: int | None
    epochs: int
    seconds: float


class Study:
    """What was tried, and what is tried next.

    What a trial draws depends on the seed, its number and the trials before it alone, so that a search that was
    stopped goes on as if it had not been.

    Args:
        study: Optuna's.
        space: what is searched.
        base: the flags that the space says nothing of.
    """

    def __init__(self, study: optuna.Study, space: Space, base: SVIConfig) -> None:
        self.study = study
        self.space = space
        self.base = base
        self.distributions = {flag: _distribution(domain) for flag, domain in space.searched.items()}
        self.lower_is_better = study.direction == optuna.study.StudyDirection.MINIMIZE

    def ask(self) -> Trial:
        """Draw the next trial; its number is its attribute ``number`` among the user's."""
        taken = {trial.user_attrs["number"] for trial in self._trials() if _counts(trial) or _running(trial)}
        number = next(number for number in count(1) if number not in taken)
        seed = np.random.SeedSequence([self.base.training.seed, number]).generate_state(1)[0]
        self.study.sampler = TPESampler(seed=int(seed))
        trial = self.study.ask(self.distributions)
        trial.set_user_attr("number", number)
        return trial

    def configuration(self, drawn: dict[str, Any]) -> SVIConfig:
        """The flags of a trial, by what it has drawn.

        Raises:
            UserError: they do not go together.
        """
        return self.space.configuration(self.base, drawn)

    def tell(self, trial: Trial, ending: Ending, seconds: float) -> Tried:
        """Keep how a trial ended."""
        trial.set_user_attr("ending", [*ending, seconds])
        reported = self._trials()[trial.number].intermediate_values
        value = self._best(reported)[0] if ending.outcome == "complete" else None
        return self._tried(self.study.tell(trial, value, STATES[ending.outcome]))

    def tried(self) -> list[Tried]:
        """The trials that have ended, by their numbers."""
        return sorted(
            (self._tried(trial) for trial in self._trials() if _counts(trial)), key=lambda tried: tried.number
        )

    def ranked(self) -> list[Tried]:
        """The complete trials, the best first."""
        complete = [tried for tried in self.tried() if tried.outcome == "complete"]
        return sorted(complete, key=lambda tried: self.sign * (tried.value or 0.0))

    @property
    def sign(self) -> int:
        """1 where lower is better, else -1."""
        return 1 if self.lower_is_better else -1

    def importances(self) -> dict[str, float]:
        """Flag -> its share in what makes a trial good, the largest first; empty where too few trials are complete."""
        if len(self.ranked()) < FEWEST_FOR_IMPORTANCE:
            return {}
        return get_param_importances(self.study)

    def fail_running(self) -> None:
        """Record the trials that another command was at work on when it ended as failed; they do not count."""
        for trial in self._trials():
            if _running(trial):
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _best(self, reported: dict[int, float]) -> tuple[float, int]:
        value, epoch = min((self.sign * value, epoch) for epoch, value in reported.items())
        return self.sign * value, epoch

    def _tried(self, trial: FrozenTrial) -> Tried:
        own, reported = trial.user_attrs, trial.intermediate_values
        value, epoch = self._best(reported) if reported else (None, None)
        drawn = {flag: tidy(value) for flag, value in trial.params.items()}
        outcome, why, seconds = own["ending"]
        return Tried(own["number"], outcome, why, drawn, value, epoch, len(reported), seconds)


@contextmanager
def open_study(config: TuneConfig, space: Space, base: SVIConfig, fingerprint: str) -> Iterator[Study]:
    """The study of a folder, begun or gone on with.

    Args:
        config: what is asked for.
        space: what is searched.
        base: the flags that the space says nothing of.
        fingerprint: of the data.

    Raises:
        UserError: the folder holds another search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = config.out / FILE
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        raise UserError(f"{file} is no study ({error}). Move it away, or choose another --out.") from error
    storage = RDBStorage(f"sqlite:///{file}")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="minimize" if config.lower_is_better else "maximize",
            pruner=MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=config.warmup),
            load_if_exists=True,
        )
        _refuse_another(study, config, space, fingerprint)
        opened = Study(study, space, base)
        opened.fail_running()
        yield opened
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _refuse_another(study: optuna.Study, config: TuneConfig, space: Space, fingerprint: str) -> None:
    own = {f"--{name}": getattr(config, name) for name in ("model", "monitor", "warmup", "seed")}
    asked = own | {"data": fingerprint, "--space": json.loads(json.dumps(space.to_dict()))}
    known = study.user_attrs.get("asked")
    if known is None:
        folder = config.out / FOLDER
        require(not folder.exists(), f"{folder} is of another search than {FILE} beside it; choose another --out.")
        study.set_user_attr("asked", asked)
        return
    changed = [name for name, value in asked.items() if known[name] != value]
    require(
        not changed,
        f"{config.out} holds a search with another {', '.join(changed)}. Choose another --out, or ask for the same.",
    )


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial came to its end; one whose command was stopped did not, and is tried again."""
    return "ending" in trial.user_attrs and trial.state == STATES[trial.user_attrs["ending"][0]]


def _running(trial: FrozenTrial) -> bool:
    return not trial.state.is_finished()


def _distribution(domain: Range | Choices) -> BaseDistribution:
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
