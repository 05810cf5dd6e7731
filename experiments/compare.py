"""Every prior with every guide over several seeds: posteriors and recommendations side by side, in one table.

python -m experiments.compare                                        citeulike, two priors, two guides, three seeds
python -m experiments.compare --priors logistic-normal,dirichlet --guides bag-of-items,context-counts --jobs 2
python -m experiments.compare --priors logistic-normal,my_file:my_prior --guides my_file:my_guide
python -m experiments.compare --models hcrnn3-bi,hcrnn-switching --seeds 10 20 --flags "--epochs 10 --monitor nll"

The first row that can be trained is what the others are compared with. The same command again goes on where it was
stopped: finished runs are never repeated.
"""

from __future__ import annotations

import shlex
import sys

from experiments.command import run_command
from experiments.comparing.config import CompareConfig, joined
from experiments.comparing.grid import planned
from experiments.comparing.measures import assessment_of
from experiments.comparing.report import write_report
from experiments.options import parse
from experiments.tables.plan import check, say_what_is_there
from experiments.tables.results import read_results
from experiments.tables.runner import run_all
from experiments.tables.sources import source_of
from hcrnn_pyro.data.sources import load_data
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.weights import array_stats

COMMAND = "python -m experiments.compare"


def main(argv: list[str] | None = None) -> None:
    """Parse, plan, run, read the posteriors, report."""
    words = sys.argv[1:] if argv is None else argv
    config = parse(CompareConfig, COMMAND, joined(words))
    command = shlex.join([*COMMAND.split(), *words])
    array_stats()  # what k-hat needs is missed before the training, not after
    source, source_flags = source_of(config.data, config.data_dir, config.columns)
    data = load_data(source)
    rows, runs, left_out = planned(config, data, source_flags)
    for run in runs:
        check(run, data)
    for sentence in left_out:
        print(f"Left out: {sentence}", flush=True)
    say_what_is_there(runs)

    try:
        failures = run_all(runs, config.jobs, config.out, config.data_dir)
        assessments = {run: assessment_of(run, data, config.samples) for run in runs if run.finished}
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"\nStopped. Go on with the same command:\n{command}") from stop
    for result in read_results(rows, [data], runs):
        print(f"\n{write_report(config.out, command, result, assessments, [*left_out, *failures])}")
    require(not failures, "\n" + "\n".join(failures))


if __name__ == "__main__":
    run_command(main)
