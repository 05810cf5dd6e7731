"""The rows of a comparison: every model with every prior and every guide, as far as they go together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from experiments.comparing.config import CompareConfig
from experiments.svi import build
from experiments.tables.config import require_different
from experiments.tables.plan import PlannedRun, plan
from experiments.tables.rows import OTHER, Row, short
from hcrnn_pyro.components import find
from hcrnn_pyro.contracts import has_latent
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.pair import PairConfig


@dataclass(frozen=True, eq=False)
class PairRow(Row):
    """A row that is a model with a prior and a guide.

    Attributes:
        prior, guide: as the table calls them.
    """

    prior: str = ""
    guide: str = ""


def grid(config: CompareConfig) -> list[PairRow]:
    """All rows that are asked for; the first of each list come first.

    Raises:
        UserError: a name is unknown, two have the same, or a model has no latent.
    """
    for model in config.models:
        latent = has_latent(find("model", model))
        require(latent, f"--models {model} has no latent variable, so there are no priors and guides to compare.")
    for kind in ("models", "priors", "guides"):
        require_different(f"--{kind}", [short(name) for name in getattr(config, kind)])
    return [_row(*names, config.svi_flags) for names in product(config.models, config.priors, config.guides)]


def _row(model: str, prior: str, guide: str, flags: Sequence[str]) -> PairRow:
    PairConfig(model, prior, guide)  # refuses what has no such name
    name = "/".join(map(short, (model, prior, guide)))
    own = shlex.join(["--prior", prior, "--guide", guide, *flags])
    return PairRow(name, model, {OTHER: own}, prior=short(prior), guide=short(guide))


def planned(
    config: CompareConfig, data: DataSet, source: tuple[str, ...]
) -> tuple[list[PairRow], list[PlannedRun], list[str]]:
    """The rows that can be trained, their runs, and a sentence for each row that is left out.

    Every pair is made once and tried on a short row, so that none is refused after the others were trained.

    Args:
        config: what is asked for.
        data: the data set.
        source: the flags that name it to a run.

    Raises:
        UserError: no row is left.
    """
    rows, left_out = [], []
    for row in grid(config):
        asked = PlannedRun(row, data.name, source, config.chosen_seeds[0], config.out).configuration
        try:
            build(asked, data)
            rows.append(row)
        except UserError as error:
            left_out.append(f"{row.name}: {error}")
    require(bool(rows), "\n".join(["No prior goes with any guide:", *left_out]))
    return rows, plan(rows, {data.name: source}, config.chosen_seeds, config.out), left_out
