"""The files of a log, read in tables of about a million rows; what is wrong with a file is told in a sentence."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hcrnn_pyro.data.arrays import BLOCK
from hcrnn_pyro.data.columns import DESCRIPTIONS, Columns, check_columns
from hcrnn_pyro.errors import UserError, require

SEPARATORS = {".tsv": "\t", ".csv": ","}
SEPARATOR_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
TEXT_BLOCK = 1 << 25  # bytes of a text file that are parsed at a time: about a million rows


def files_of(source: Path) -> list[Path]:
    """The files that a path means, sorted: one file, the Parquet files of a folder, or those that fit a pattern.

    Raises:
        UserError: the folder has no Parquet file, or no file fits the pattern.
    """
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*.parquet") if path.name[0] not in "._")
        advice = f"Name files of another kind by a pattern, '{source / '*.csv'}'."
        require(len(paths) > 0, f"Expected Parquet files (*.parquet) in the folder {source}; it has none. {advice}")
        return paths
    if source.exists() or not set("*?[") & set(str(source)):
        return [source]
    paths = sorted(Path(source.anchor).glob(str(source.relative_to(source.anchor))))
    require(len(paths) > 0, f"Expected a log of events at {source}; no file fits that pattern.")
    return paths


def read_file(path: Path, columns: Columns) -> Iterator[pd.DataFrame]:
    """The columns needed of a file, in tables of about a million rows.

    Raises:
        UserError: the file is missing, not of a known kind, damaged or empty, or lacks a column.
    """
    require(path.is_file(), f"Expected a log of events at {path}; there is no such file or folder.")
    require(path.stat().st_size > 0, f"Expected a log of events at {path}; the file is empty.")
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix in SEPARATORS:
        return _read_text(path, SEPARATORS[path.suffix], columns)
    raise UserError(f"Expected a .tsv, .csv or .parquet file; got {path.name}.")


def _read_parquet(path: Path, columns: Columns) -> Iterator[pd.DataFrame]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            found = file.schema_arrow.names
            check_columns(found, columns, str(path))
            wanted = [name for name in found if name in (*columns.required, *DESCRIPTIONS)]
            for batch in file.iter_batches(BLOCK, columns=wanted):
                yield batch.to_pandas(ignore_metadata=True)  # a frame's index is a column like others
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error


def _read_text(path: Path, separator: str, columns: Columns) -> Iterator[pd.DataFrame]:
    """The columns needed, times as numbers; from the block on that has a time that is none, times as text."""
    header = _header(path, separator)
    _check_separator(header, separator, path)
    check_columns(header, columns, str(path))
    types = {name: pa.string() for name in header if name in (*columns.required, *DESCRIPTIONS)}
    done = 0
    try:
        for batch in _parse(path, separator, types | ({columns.time: pa.float64()} if columns.time else {})):
            yield batch.to_pandas()
            done += len(batch)
        return
    except pa.ArrowInvalid:
        _check_decodable(path)
    try:
        for batch in _parse(path, separator, types):
            yield batch.slice(min(done, len(batch))).to_pandas()
            done -= min(done, len(batch))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from error


def _parse(path: Path, separator: str, types: dict[str, pa.DataType]) -> pa.RecordBatchReader:
    return pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(block_size=TEXT_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types),
    )


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
