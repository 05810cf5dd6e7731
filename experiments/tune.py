"""Search good flags of experiments.svi with Optuna, judged by the validation part; the test part is not read.

python -m experiments.tune                                           hcrnn3-bi on citeulike, forty trials
python -m experiments.tune --data my_log.csv --columns user,item,when --jobs 2 --out runs/tune
python -m experiments.tune --model gru4rec --space my_space.toml --monitor recall@20 --trials 60

The space is a TOML file of flags with values, ranges and choices. The same command again goes on where it was stopped,
and more --trials go on from there.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from experiments.children import child_environment, locked, stopped_in_the_end
from experiments.command import run_command
from experiments.options import parse
from experiments.svi import SVIConfig
from experiments.tables.sources import source_of
from experiments.tuning.attempt import ProcessAttempt, start_attempt
from experiments.tuning.config import FOLDER, TuneConfig
from experiments.tuning.data import load_without_test
from experiments.tuning.space import read_space
from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.errors import require
from hcrnn_pyro.pair import build_pair

COMMAND = "python -m experiments.tune"
HOW = "pip install 'hcrnn_pyro[tune]'"


def main(argv: list[str] | None = None) -> None:
    """Parse, search, report."""
    words = sys.argv[1:] if argv is None else argv
    config = parse(TuneConfig, COMMAND, words)
    require(importlib.util.find_spec("optuna") is not None, f"A search needs Optuna: {HOW}.")
    from experiments.tuning.report import write_report
    from experiments.tuning.search import search
    from experiments.tuning.study import open_study

    source, _ = source_of(config.data, config.data_dir, config.columns)
    base = config.base(replace(source, data_dir=None))  # a trial is told by its environment
    space = read_space(config.space, base)
    _refuse_counted(base)
    data = load_without_test(source)

    def begin(number: int, flags: SVIConfig) -> ProcessAttempt:
        attempts.append(start_attempt(flags, config.out / FOLDER / str(number), environment, lock))
        return attempts[-1]

    def run(drawn: Mapping[str, Any]) -> SVIConfig:
        return space.configuration(config.base(source), drawn)

    attempts: list[ProcessAttempt] = []
    environment = child_environment(config.data_dir)
    with locked(config.out) as lock, open_study(config, space, base, data.fingerprint) as study:
        print(f"Of {config.trials} trial(s) on {data.name}, {len(study.tried())} are there.", flush=True)
        stopped = False
        try:
            with stopped_in_the_end(attempts):
                search(study, begin, config.trials, config.jobs, config.monitor)
        except KeyboardInterrupt:
            stopped = True
        print(f"\n{write_report(study, run, config.out)}")
    if stopped:
        command = shlex.join([*COMMAND.split(), *words])
        raise KeyboardInterrupt(f"\nStopped. Go on with the same command:\n{command}")


def _refuse_counted(base: SVIConfig) -> None:
    pair = build_pair(base.pair, asdict(base.settings), items=1)
    require(has_parameters(*pair), f"--model {base.pair.model} is counted, not trained: it has no epochs to search by.")


if __name__ == "__main__":
    run_command(main)
