"""Print what a data set holds, and what could mislead: ``python -m experiments.audit --data citeulike``."""

from __future__ import annotations

from experiments.command import run_command
from experiments.options import parse
from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.sources import DataConfig, load_data

COMMAND = "python -m experiments.audit"


def main(argv: list[str] | None = None) -> None:
    """Parse, load, audit, print."""
    print(audit(load_data(parse(DataConfig, COMMAND, argv))))


if __name__ == "__main__":
    run_command(main)
