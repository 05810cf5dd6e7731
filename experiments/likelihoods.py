"""Whether a run's likelihood goes with its data: what items can follow depends on whether they repeat."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.errors import require


def likelihood_of(settings: Any) -> str:
    """The likelihood of a model's settings, which is the categorical one where they leave no choice."""
    return getattr(settings, "likelihood", "categorical")


def check_support(settings: Any, data: DataSet) -> None:
    """Refuse a likelihood that gives probability 0 to what the data hold.

    Raises:
        UserError: it does.
    """
    require(
        likelihood_of(settings) != "without-replacement" or not data.has_repeats,
        f"--likelihood without-replacement gives repeated items probability 0, and {data.name} has repeats (see the "
        "audit above). Use --likelihood categorical, or repeat-explore with a model that has it.",
    )


def likelihood_line(settings: Any, data: DataSet) -> str:
    """The likelihood, and which other one the data speak for, if the model has it."""
    fitting, why = (
        ("repeat-explore", "items repeat") if data.has_repeats else ("without-replacement", "no item repeats")
    )
    known = get_args(get_type_hints(type(settings)).get("likelihood"))
    chosen = likelihood_of(settings)
    hint = f"; as {why} in {data.name}, --likelihood {fitting} may fit better"
    return f"likelihood {chosen}{hint if fitting in known and chosen != fitting else ''}"
