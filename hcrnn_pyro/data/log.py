"""A user's own log of events: a .tsv, .csv or .parquet file, or a DataFrame.

One row per event, with a header. Columns ``SessionId``, ``ItemId`` and ``Time`` (numeric seconds; in Parquet and frames
also timestamps), or
others that the user names; where present, ``Title`` and ``Categories`` (names joined by ``|``) describe the item of the
row, and an item's first row counts. Text files are UTF-8. Rows are numbered from 1 in messages, the header not counted.
"""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hcrnn_pyro.data.events import EventLog, order_events, text_ids
from hcrnn_pyro.errors import UserError, require

SEPARATORS = {".tsv": "\t", ".csv": ","}
SEPARATOR_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
DESCRIPTIONS = {"Title": "title", "Categories": "categories"}


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; ``time`` is ``None`` where the order of the rows is the order of the events."""

    session: str = "SessionId"
    item: str = "ItemId"
    time: str | None = "Time"

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read ``session,item,time`` or ``session,item``."""
        names = [name.strip() for name in text.split(",")]
        expected = f"Expected two or three different column names, session,item[,time]; got {text!r}."
        require(2 <= len(names) <= 3 and all(names) and len(set(names)) == len(names), expected)
        return cls(names[0], names[1], names[2] if len(names) == 3 else None)

    @property
    def required(self) -> tuple[str, ...]:
        """The names, without a missing time."""
        return tuple(name for name in (self.session, self.item, self.time) if name is not None)


def read_log(source: Path | pd.DataFrame, columns: Columns | None = None) -> EventLog:
    """Read a log, sequences in order of first appearance, events by time with ties in the order of the rows.

    Args:
        source: the file, or a frame with the same columns.
        columns: the names of the columns.

    Raises:
        UserError: the file is missing, not of a known kind, damaged or empty; a column is missing; an identifier is
            empty; a time is not a number.
    """
    columns = columns or Columns()
    origin = "the frame" if isinstance(source, pd.DataFrame) else str(source)
    table = source if isinstance(source, pd.DataFrame) else _read_file(source, columns)
    _check_columns(table.columns.tolist(), columns, origin)
    require(len(table) > 0, f"Expected events in {origin}; it has a header but no rows.")
    events = pd.DataFrame({"session": _ids(table, columns.session, origin), "item": _ids(table, columns.item, origin)})
    if columns.time is not None:
        events["time"] = _seconds(table[columns.time], columns.time, origin)
    described = {DESCRIPTIONS[name]: table[name].to_numpy() for name in DESCRIPTIONS if name in table}
    first = ~events["item"].duplicated().to_numpy()
    items = pd.DataFrame({"item_id": events["item"][first].astype(str), **{k: v[first] for k, v in described.items()}})
    for name in described:
        items[name] = items[name].astype(object).where(items[name].notna(), "").astype(str)
    return EventLog(order_events(events), items.reset_index(drop=True))


def _read_file(path: Path, columns: Columns) -> pd.DataFrame:
    require(path.is_file(), f"Expected a log of events at {path}; there is no such file.")
    require(path.stat().st_size > 0, f"Expected a log of events at {path}; the file is empty.")
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix in SEPARATORS:
        return _read_text(path, SEPARATORS[path.suffix], columns)
    raise UserError(f"Expected a .tsv, .csv or .parquet file; got {path.name}.")


def _read_parquet(path: Path, columns: Columns) -> pd.DataFrame:
    try:
        found = pyarrow.parquet.read_schema(path).names
        _check_columns(found, columns, str(path))
        wanted = [name for name in found if name in (*columns.required, *DESCRIPTIONS)]
        return pyarrow.parquet.read_table(path, columns=wanted).to_pandas(ignore_metadata=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error


def _read_text(path: Path, separator: str, columns: Columns) -> pd.DataFrame:
    """Read the columns needed, identifiers as categories; numbers that are none leave the times as text."""
    header = _header(path, separator)
    _check_separator(header, separator, path)
    _check_columns(header, columns, str(path))
    text = pa.dictionary(pa.int32(), pa.string())
    types = {name: text for name in header if name in (*columns.required, *DESCRIPTIONS)}
    try:
        return _parse(path, separator, types | ({columns.time: pa.float64()} if columns.time else {}))
    except pa.ArrowInvalid:
        _check_decodable(path)
    try:
        return _parse(path, separator, types)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from error


def _parse(path: Path, separator: str, types: dict[str, pa.DataType]) -> pd.DataFrame:
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types),
    ).to_pandas()


def _header(path: Path, separator: str) -> list[str]:
    with path.open("rb") as file:
        line = file.readline()
    require(
        b"\r" not in line.rstrip(b"\r\n"), f"Expected line feeds (or CR LF) at the ends of lines in {path}; got CR."
    )
    try:
        return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")], delimiter=separator), [])
    except UnicodeDecodeError as error:
        raise UserError(f"Expected UTF-8 text in {path}; the byte at offset {error.start} is not.") from error


def _check_separator(header: list[str], separator: str, path: Path) -> None:
    if len(header) != 1:
        return
    for other, name in SEPARATOR_NAMES.items():
        if other in header[0]:
            raise UserError(
                f"Expected columns separated by {SEPARATOR_NAMES[separator]} in {path}; got one column {header[0]!r}, "
                f"which looks separated by {name}. A .csv file needs commas, a .tsv file tabs: rename or convert it."
            )


def _check_columns(found: Sequence[str], columns: Columns, origin: str) -> None:
    names = ", ".join(str(name) for name in found)
    missing = [name for name in columns.required if name not in found]
    hint = "Name yours with --columns session,item,time, or session,item where the rows are in order."
    require(not missing, f"No column {', '.join(missing)} in {origin}; it has {names}. {hint}")
    twice = [name for name, count in Counter(found).items() if count > 1 and name in columns.required]
    require(not twice, f"Column {', '.join(twice)} occurs more than once in {origin}; it has {names}.")


def _check_decodable(path: Path) -> None:
    """Refuse a file that is not UTF-8, with the place of the first byte that is not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0  # bytes handed to the decoder before this block
    with path.open("rb") as file:
        while True:
            block = file.read(1 << 20)
            pending = len(decoder.getstate()[0])  # bytes of a character that the last block cut in two
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                offset = done - pending + error.start
                raise UserError(f"Expected UTF-8 text in {path}; the byte at offset {offset} is not.") from error
            if not block:
                return
            done += len(block)


def _ids(table: pd.DataFrame, name: str, origin: str) -> pd.Categorical:
    ids = text_ids(table[name])
    blank = np.append(ids.categories.str.strip() == "", True)  # the last entry answers for code -1, a missing value
    bad = blank[ids.codes]
    if bad.any():
        raise UserError(f"Column {name} of {origin} is empty in {bad.sum():,} rows, first in row {bad.argmax() + 1}.")
    return ids


def _seconds(column: pd.Series, name: str, origin: str) -> np.ndarray:
    """(N,) float64 seconds; timestamps count from 1970."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = (column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))) / pd.Timedelta(seconds=1)
    numbers = pd.to_numeric(column.astype(object) if column.dtype == "category" else column, errors="coerce")
    seconds = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(seconds)
    if bad.any():
        row = int(bad.argmax())
        value = "an empty cell" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        raise UserError(f"Expected seconds in column {name} of {origin}; got {value} in row {row + 1}.")
    return seconds
