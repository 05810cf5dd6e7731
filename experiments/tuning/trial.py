"""One trial of a search in a process of its own: a training that leaves its history, and never sees the test part.

python -m experiments.tuning.trial FLAGS --out FOLDER        FLAGS are those of experiments.svi
"""

from __future__ import annotations

import sys

from experiments.command import run_command
from experiments.svi import build, configuration
from experiments.tuning.data import load_without_test
from hcrnn_pyro.svi_module import Diverged, Interrupted
from hcrnn_pyro.training import fit

DIVERGED = 3  # exit status


def main(argv: list[str] | None = None) -> None:
    """Parse, build, train."""
    config = configuration(argv)
    data = load_without_test(config.data)
    model, guide = build(config, data)
    try:
        interrupted = fit(model, guide, data, config.training, config.out).interrupted
    except Diverged as error:
        print(error, file=sys.stderr)
        sys.exit(DIVERGED)
    except Interrupted:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt


if __name__ == "__main__":
    run_command(main)
