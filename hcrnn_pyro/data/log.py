"""A user's own log of events: .tsv, .csv or .parquet files, or a DataFrame.

One row per event, with a header. Columns ``SessionId``, ``ItemId`` and ``Time`` (numeric seconds; in Parquet and frames
also timestamps), or others that the user names; where present, ``Title`` and ``Categories`` (names joined by ``|``)
describe the item of the row, and an item's first row counts. Text files are UTF-8. Rows are numbered from 1 in
messages, in every file anew and the header not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hcrnn_pyro.data.columns import DESCRIPTIONS, Columns, check_columns
from hcrnn_pyro.data.events import Collector, EventLog, Ids, text_ids
from hcrnn_pyro.data.log_files import files_of, read_file
from hcrnn_pyro.errors import UserError, require


def read_log(source: Path | pd.DataFrame, columns: Columns | None = None) -> EventLog:
    """Read a log, sequences in order of first appearance, events by time with ties in the order of the rows.

    Args:
        source: a file; a folder, which means all Parquet files in it and in its subfolders; a pattern such as
            ``logs/2024-*.csv``; or a frame with the same columns. Several files are read in the order of their paths,
            and a sequence may go on from one to the next.
        columns: the names of the columns.

    Raises:
        UserError: a file is missing, not of a known kind, damaged or empty; a column is missing; an identifier is
            empty; a time is not a number.
    """
    columns = columns or Columns()
    collector = Collector()
    files = _tables(source, columns)
    described = [new for origin, tables in files for new in _collect(tables, columns, origin, collector)]
    origin = "the frame" if isinstance(source, pd.DataFrame) else source
    require(len(described) > 0, f"Expected events in {origin}; it has a header but no rows.")
    items = pd.concat(
        [pd.DataFrame({"item_id": collector.item_names}), pd.concat(described, ignore_index=True)], axis=1
    )
    for name in items.columns[1:]:
        items[name] = items[name].astype(object).where(items[name].notna(), "").astype(str)
    return collector.log(items)


def _tables(source: Path | pd.DataFrame, columns: Columns) -> Iterator[tuple[str, Iterator[pd.DataFrame]]]:
    """Name and tables of every file of a log, in the order in which they are read."""
    if isinstance(source, pd.DataFrame):
        check_columns(source.columns.tolist(), columns, "the frame")
        yield "the frame", iter([source])
        return
    for path in files_of(source):
        yield str(path), read_file(path, columns)


def _collect(
    tables: Iterator[pd.DataFrame], columns: Columns, origin: str, collector: Collector
) -> Iterator[pd.DataFrame]:
    """Check the tables of one file and add their events; yields what they say of items that are new."""
    row = 0  # of the file, where a table begins
    for table in tables:
        sessions = _ids(table, columns.session, origin, row, tables)
        items = _ids(table, columns.item, origin, row, tables)
        times = {} if columns.time is None else {"time": _seconds(table[columns.time], columns.time, origin, row)}
        new = collector.add(sessions, items, **times)
        described = {DESCRIPTIONS[name]: table[name].iloc[new].to_numpy() for name in DESCRIPTIONS if name in table}
        if len(table):
            yield pd.DataFrame(described, index=new)
        row += len(table)


def _ids(table: pd.DataFrame, name: str, origin: str, row: int, later: Iterator[pd.DataFrame]) -> Ids:
    """The identifiers of a table that begins at a row of its file; the later tables serve to count the empty ones."""
    ids = text_ids(table[name])
    bad = _empty(ids)
    if bad.any():
        count = bad.sum() + sum(_empty(text_ids(other[name])).sum() for other in later)
        raise UserError(f"Column {name} of {origin} is empty in {count:,} rows, first in row {row + bad.argmax() + 1}.")
    return ids


def _empty(ids: Ids) -> np.ndarray:
    blank = np.array(
        [not name.strip() for name in ids.names] + [True]
    )  # the last entry answers for code -1, a missing value
    return blank[ids.codes]


def _seconds(column: pd.Series, name: str, origin: str, first: int) -> np.ndarray:
    """(N,) float64 seconds, of a column that begins at a row of its file; timestamps count from 1970."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = (column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))) / pd.Timedelta(seconds=1)
    numbers = pd.to_numeric(column.astype(object) if column.dtype == "category" else column, errors="coerce")
    seconds = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(seconds)
    if bad.any():
        row = int(bad.argmax())
        value = "an empty cell" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        raise UserError(f"Expected seconds in column {name} of {origin}; got {value} in row {first + row + 1}.")
    return seconds
