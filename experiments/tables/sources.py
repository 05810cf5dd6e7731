"""Where a data set that a command names comes from."""

from __future__ import annotations

from pathlib import Path

from hcrnn_pyro.data.sources import DataConfig, options_of


def source_of(name: str, data_dir: Path | None, columns: str) -> tuple[DataConfig, tuple[str, ...]]:
    """A data set's source with those of the flags that mean something to it, and the flags that name it to a run.

    Args:
        name: of a data set, or the path of a log.
        data_dir: folder where data sets are looked for first; no part of a run, so that the data may be moved.
        columns: of a log.

    Raises:
        UserError: the name is unknown.
    """
    accepted = options_of(DataConfig(name))
    place = data_dir if "data_dir" in accepted else None
    if "columns" not in accepted:
        return DataConfig(name, place), ("--data", name)
    return DataConfig(name, place, columns), ("--data", name, "--columns", columns)
