"""Draws as an ArviZ data set: ``pip install 'hcrnn_pyro[analysis]'``.

============== =============================================================================================
group          variables
============== =============================================================================================
posterior      ``theta`` (chain, draw, sequence, context), and every latent of the prior
log_likelihood ``next_item`` (chain, draw, sequence), summed over a sequence's predictions, in nats
log_prior      ``latents`` (chain, draw, sequence)
sample_stats   ``log_weight`` (chain, draw, sequence): log p(y, z | x) - log q(z | x); ``k_hat`` (sequence)
constant_data  ``length`` (sequence): events of each
============== =============================================================================================

The draws are the guide's, independent of each other: one chain, whose R-hat says nothing of the guide. What does is
``k_hat``, and the log weights turn the draws into the posterior's where it is below 0.7.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hcrnn_pyro.errors import require
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.posterior.draws import Draws
from hcrnn_pyro.posterior.weights import pareto_k

ENGINE = "h5netcdf"
HOW = "pip install 'hcrnn_pyro[analysis]'"


def can_convert() -> bool:
    """Whether ArviZ and what writes its files are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("arviz_base", "arviz_stats", ENGINE))


def to_arviz(draws: Draws, ids: np.ndarray, lengths: np.ndarray, attributes: Mapping[str, str] | None = None) -> Any:
    """The draws as an ``xarray.DataTree`` by ArviZ's conventions, for its parts of version 0.8 as for ArviZ 1.

    Args:
        draws: S of each of B sequences, 25 or more.
        ids: (B,) names of the sequences, no two the same.
        lengths: (B,) events of each.
        attributes: what else to say of the whole, as text.

    Raises:
        UserError: ArviZ is missing, there are too few draws, or two sequences share a name.
    """
    require(len(set(ids)) == len(ids), "Sequences are told apart by their names in a data set, and two share one.")
    values = {**draws.latents, **draws.deterministic}
    require(can_convert(), f"A data set of draws needs ArviZ and h5netcdf: {HOW}.")
    from arviz_base import from_dict  # the same in version 0.8 and in 1

    tree = from_dict(
        {
            "posterior": {name: _one_chain(value) for name, value in values.items()},
            "log_likelihood": {"next_item": _one_chain(draws.log_likelihood)},
            "log_prior": {"latents": _one_chain(draws.log_prior)},
            "sample_stats": {"log_weight": _one_chain(draws.log_weights)},
            "constant_data": {"length": np.asarray(lengths)},
        },
        dims={
            **{name: _dimensions(name, value, draws.theta.shape[-1]) for name, value in values.items()},
            **{name: ["sequence"] for name in ("next_item", "latents", "log_weight", "length")},
        },
        coords={"sequence": np.asarray(ids, dtype=object), "context": np.arange(draws.theta.shape[-1])},
        attrs={"/": dict(attributes or {})},
    )
    statistics = tree["sample_stats"]
    statistics.dataset = statistics.to_dataset().assign(k_hat=("sequence", pareto_k(draws.log_weights)))
    return tree


def write_netcdf(tree: Any, path: Path) -> None:
    """Write a data set as NetCDF, whole or not at all; ``xarray.open_datatree(path)`` reads it.

    Args:
        tree: as of :func:`to_arviz`.
        path: the file.
    """
    with whole_file(path) as temporary:
        tree.to_netcdf(temporary, engine=ENGINE)


def _one_chain(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()[None]


def _dimensions(name: str, value: Tensor, contexts: int) -> list[str]:
    """Names of the axes after chain and draw; one of a length of its own is named after its variable."""
    rest = value.shape[2:]
    named = ["context"] if tuple(rest) == (contexts,) else [f"{name}_dim_{axis}" for axis in range(len(rest))]
    return ["sequence", *named]
