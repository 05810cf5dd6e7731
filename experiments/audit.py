"""Print what a data set holds: ``python -m experiments.audit --data citeulike``."""

from __future__ import annotations

import sys

import tyro

from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Load and audit; the exit status is 2 for a mistake in the input, told on standard error."""
    config = tyro.cli(DataConfig, args=argv, prog="python -m experiments.audit", description=__doc__)
    try:
        print(audit(load_data(config)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
