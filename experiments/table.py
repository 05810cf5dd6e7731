"""The paper's whole table: every model on every data set over several seeds, and a report on what is finished.

python -m experiments.table                                          citeulike and movielens, all rows, five seeds
python -m experiments.table --data citeulike --models gru4rec narm hcrnn3-bi --seeds 10 20 --jobs 2
python -m experiments.table --models all,my_file:MyModel             your own model joins as a row
python -m experiments.table --data citeulike --models ablation hcrnn3-bi --against hcrnn3-bi
python -m experiments.table --data my_log.csv --columns user,item,when

The same command again goes on where it was stopped: finished runs are never repeated.
"""

from __future__ import annotations

import shlex
import sys

from experiments.command import run_command
from experiments.options import parse
from experiments.tables.config import TableConfig
from experiments.tables.plan import check, plan, say_what_is_there
from experiments.tables.report import write_report
from experiments.tables.rows import ABLATED_ON, ABLATION_ROWS, chosen_rows, listed
from experiments.tables.runner import run_all
from experiments.tables.sources import source_of
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import load_data
from hcrnn_pyro.errors import UserError, require

COMMAND = "python -m experiments.table"


def main(argv: list[str] | None = None) -> None:
    """Parse, plan, run, report."""
    config = parse(TableConfig, COMMAND, argv)
    command = shlex.join([*COMMAND.split(), *(sys.argv[1:] if argv is None else argv)])
    rows = chosen_rows(config.models)
    ablated = sorted(row.name for row in rows if row.name in ABLATION_ROWS)
    require(
        not ablated or config.data == (ABLATED_ON,),
        f"The ablation is about the settings for {ABLATED_ON}; "
        f"add --data {ABLATED_ON}, or leave out {', '.join(ablated)}.",
    )
    against = list(dict.fromkeys(listed(config.against)))
    strangers = set(against) - {row.name for row in rows}
    require(not strangers, f"--against names what is no row of this table: {', '.join(sorted(strangers))}.")
    data, missing = _load(config)
    runs = plan(rows, {name: source for name, (_, source) in data.items()}, config.seeds, config.out)
    for run in runs:
        check(run, data[run.data][0])
    for sentence in missing:
        print(f"Left out: {sentence}", flush=True)
    say_what_is_there(runs)

    stopped, failures = False, []
    try:
        failures = run_all(runs, config.jobs, config.out, config.data_dir)
    except KeyboardInterrupt:
        stopped = True
    sets = [loaded for loaded, _ in data.values()]
    made = write_report(config.out, command, rows, sets, runs, [*missing, *failures], against)
    print(f"\n{made}" if made else "\nNo run is finished yet, so there is no table.")
    if stopped:
        raise KeyboardInterrupt(f"\nStopped. Go on with the same command:\n{command}")
    wrong = [*failures, *missing]
    require(not wrong, "\n" + "\n".join(wrong))


def _load(config: TableConfig) -> tuple[dict[str, tuple[DataSet, tuple[str, ...]]], list[str]]:
    """Data sets by name, each with the flags that name its source; and a sentence for each that cannot be had.

    A misspelt name is refused; a data set whose files are missing should not keep the others waiting.
    """
    asked = [source_of(name, config.data_dir, config.columns) for name in config.data]
    loaded: dict[str, tuple[DataSet, tuple[str, ...]]] = {}
    missing = []
    for source, flags in asked:
        try:
            data = load_data(source)
        except UserError as error:
            missing.append(f"{source.data}: {error}")
            continue
        require(data.name not in loaded, f"--data names two data sets that are called {data.name}; rename one.")
        loaded[data.name] = data, flags
    require(bool(loaded), "\n".join(missing))
    return loaded, missing


if __name__ == "__main__":
    run_command(main)
