"""Every source of data under one name, for commands and programs: a config in, a data set out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from hcrnn_pyro.data.columns import Columns
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.data.events import EventLog, Filters, filter_events
from hcrnn_pyro.data.locate import find
from hcrnn_pyro.data.log import read_log
from hcrnn_pyro.data.movielens import ARCHIVES, held_out_parts, load_archive, order_ties, paper_rule
from hcrnn_pyro.data.paper import TITLES, load_paper
from hcrnn_pyro.data.splits import SPLITS, encode, split_users
from hcrnn_pyro.data.tables import read_text_table
from hcrnn_pyro.errors import require, unknown_choice

HELD_OUT_FILE = "movielens/held_out_users.tsv"


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how they are filtered and split."""

    data: str = "synthetic"
    """Name of a data set; or path of a .tsv, .csv or .parquet log of events, or of a folder of Parquet files."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    columns: str = "SessionId,ItemId,Time"
    """Columns of a log: session,item,time, or session,item where the rows are in order."""
    protocol: Literal["own", "paper"] = "own"
    """For ml-1m: the filters and the split below, or the rule that made the paper's split."""
    split: Literal["users", "temporal", "leave-last-out"] = "users"
    """Random sequences, sequences by the time of their end, or the last events of every sequence."""
    min_rating: float | None = None
    """Keep events rated at least this (GroupLens archives)."""
    min_item_count: int = 1
    """Keep items with at least so many events (counted once)."""
    min_length: int = 2
    """Keep sequences of at least so many events."""
    last_events: int | None = None
    """Keep the last so many events of every sequence."""
    split_seed: int = 0
    """Seed of the random split; for synthetic data, of the draw."""

    def __post_init__(self) -> None:
        require(self.split_seed >= 0, f"--split-seed is a whole number of at least 0; got {self.split_seed}.")

    @property
    def filters(self) -> Filters:
        """The filters on events."""
        return Filters(self.min_rating, self.min_item_count, self.min_length, self.last_events)


@dataclass(frozen=True)
class Source:
    """How a data set is loaded, and which options mean something to it."""

    load: Callable[[DataConfig], DataSet]
    accepts: frozenset[str]


def load_data(config: DataConfig) -> DataSet:
    """Load, filter and split the data that ``config`` names.

    The events of large logs lie in the cache folder and are read from disk on demand; see
    :mod:`hcrnn_pyro.data.arrays`.

    Raises:
        UserError: the name is unknown, an option means nothing to this source, or the data cannot be had.
    """
    source = _source_of(config)
    _refuse_unused(config, source)
    return source.load(config)


def options_of(config: DataConfig) -> frozenset[str]:
    """The fields of a config that mean something to the source it names.

    Raises:
        UserError: the name is unknown.
    """
    return _source_of(config).accepts


def prepare(log: EventLog, config: DataConfig, name: str, origin: str) -> DataSet:
    """Filter, split and encode a log of events.

    Args:
        log: the events and what is known of the items.
        config: its filters, split and seed are used.
        name: name of the data set.
        origin: where the events come from, for the description.
    """
    parts = SPLITS[config.split](filter_events(log, config.filters), config.split_seed)
    seed = f" (seed {config.split_seed})" if config.split == "users" else ""
    return encode(parts, name, log.items, f"{origin}; kept: {config.filters}; split: {config.split}{seed}")


def _load_synthetic(config: DataConfig, repeats: bool) -> DataSet:
    from hcrnn_pyro.data.synthetic import synthetic  # not needed by those who bring data

    return synthetic(seed=config.split_seed, repeats=repeats)


def _load_paper(config: DataConfig) -> DataSet:
    return load_paper(config.data, config.data_dir)


def _load_file(config: DataConfig) -> DataSet:
    path = Path(config.data)
    return prepare(read_log(path, Columns.parse(config.columns)), config, path.name, f"Events of {path}")


def _load_movielens(config: DataConfig) -> DataSet:
    log = load_archive(config.data, config.data_dir)
    return prepare(log, config, config.data, f"GroupLens {config.data}")


def _load_movielens_as_paper(config: DataConfig) -> DataSet:
    """MovieLens-1M by the paper's rule, held-out users as published where the list of them is at hand."""
    log = load_archive(config.data, config.data_dir)
    sequences = paper_rule(log)
    listed = find((HELD_OUT_FILE,), config.data_dir)
    if listed is None:
        parts, origin = (
            split_users(sequences, config.split_seed),
            f"held-out users at random (seed {config.split_seed})",
        )
    else:
        require(config.split_seed == 0, f"--split-seed has no effect: {listed} says which users are held out.")
        parts, origin = held_out_parts(sequences, _read_held_out(listed)), f"held-out users of {listed}"
    ordered = {part: order_ties(sequences) for part, sequences in parts.items()}
    notes = _check_counts(sequences)
    return encode(ordered, config.data, log.items, f"GroupLens ml-1m by the paper's rule; {origin}", notes)


def _read_held_out(path: Path) -> pd.DataFrame:
    held_out = read_text_table(path, header=True)
    missing = {"ml1m_user_id", "split"}.difference(held_out.columns)
    require(not missing, f"No column {', '.join(sorted(missing))} in {path}; it has {', '.join(held_out.columns)}.")
    return held_out


def _check_counts(sequences: Sequences) -> tuple[str, ...]:
    found = len(np.unique(sequences.items)), len(sequences)
    if found == (930, 4639):
        return ()
    return (
        f"The paper's rule gives 930 items and 4,639 sequences on the whole archive; got {found[0]} and {found[1]:,}.",
    )


FILTERS_AND_SPLIT = frozenset({"split", "min_rating", "min_item_count", "min_length", "last_events", "split_seed"})
SYNTHETIC = frozenset({"split_seed"})
FOLDER = frozenset({"data_dir"})
FILE = Source(_load_file, FILTERS_AND_SPLIT - {"min_rating"} | {"columns"})
AS_PAPER = Source(_load_movielens_as_paper, FOLDER | {"protocol", "split_seed"})
SOURCES: dict[str, Source] = {
    "synthetic": Source(partial(_load_synthetic, repeats=False), SYNTHETIC),
    "synthetic-repeats": Source(partial(_load_synthetic, repeats=True), SYNTHETIC),
    **{name: Source(_load_paper, FOLDER) for name in TITLES},
    **{name: Source(_load_movielens, FOLDER | FILTERS_AND_SPLIT) for name in ARCHIVES},
}


def _source_of(config: DataConfig) -> Source:
    if config.data == "ml-1m" and config.protocol == "paper":
        return AS_PAPER
    if config.data in SOURCES:
        return SOURCES[config.data]
    if Path(config.data).suffix or os.sep in config.data or Path(config.data).is_dir():
        return FILE
    hint = "Or give a path to a .tsv, .csv or .parquet file, or to a folder of Parquet files."
    raise unknown_choice("data set", config.data, SOURCES, hint)


def _refuse_unused(config: DataConfig, source: Source) -> None:
    """Refuse options that were set but would change nothing."""
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(source.accepts))
    for field in fields(config):
        unused = field.name not in source.accepts | {"data"} and getattr(config, field.name) != field.default
        flag = f"--{field.name.replace('_', '-')}"
        require(not unused, f"{flag} has no meaning for {config.data}; the options that have: {flags}.")
