"""The data that a run was trained on, by the run's own flags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.options import from_dict
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.runs import Run, check_data


def data_of_run(run: Run, data_dir: Path | None = None) -> DataSet:
    """Read them again.

    Args:
        run: a run of ``experiments.svi``.
        data_dir: where they are looked for first; ``None``: where the run looked.

    Raises:
        UserError: they are gone, or have changed.
    """
    stored = from_dict(DataConfig, run.config["data"])
    if data_dir is not None:
        stored = replace(stored, data_dir=data_dir)
    try:
        data = load_data(stored)
    except UserError as error:
        raise UserError(
            f"The run was trained on --data {stored.data}, which cannot be read: {error} Paths are read as the run was "
            "given them: from the folder in which the training was started."
        ) from error
    check_data(run.folder, data)
    return data
