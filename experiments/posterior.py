"""Analyse the posterior of a trained run, and write a page about it.

python -m experiments.posterior --run runs/ml                      two minutes on MovieLens
python -m experiments.posterior --run runs/ml --sequences 0        every sequence of the part is scored
python -m experiments.posterior --run runs/ml --gap 10 --nuts 5    the inference gap split, and NUTS as the judge
python -m experiments.posterior --run runs/ml --scope prefix       theta.parquet with every prefix

It leaves report.html (open it in a browser), report.json, theta.parquet and posterior.nc (for ArviZ) in RUN/posterior.
"""

from __future__ import annotations

import shlex
import sys

from experiments.command import run_command
from experiments.options import parse
from experiments.posteriors.analysis import Analysis, analyse
from experiments.posteriors.config import PosteriorConfig
from experiments.posteriors.output import FILES, check_folder, write_results
from experiments.posteriors.subject import load_subject
from hcrnn_pyro.errors import require
from hcrnn_pyro.figures import can_draw
from hcrnn_pyro.posterior.dataset import HOW, can_convert

COMMAND = "python -m experiments.posterior"


def main(argv: list[str] | None = None) -> None:
    """Parse, read, analyse, report."""
    config = parse(PosteriorConfig, COMMAND, argv)
    command = shlex.join([*COMMAND.split(), *(sys.argv[1:] if argv is None else argv)])
    require(can_draw() and can_convert(), f"An analysis needs ArviZ, h5netcdf and matplotlib: {HOW}.")
    check_folder(config.folder, config.run)
    subject = load_subject(config, _say)
    analysis = analyse(subject, command, _say)
    write_results(subject, analysis)
    _say(f"\n{_summary(analysis)}\n\nKept in {config.folder}: {', '.join(FILES)}")


def _summary(analysis: Analysis) -> str:
    """A line for each section; what gives cause for doubt is marked."""
    marked = (
        f"{'!' if sentence in section.warnings else ' '} {sentence}"
        for section in analysis.sections
        for sentence in section.verdicts
    )
    return "\n".join(marked)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    run_command(main)
