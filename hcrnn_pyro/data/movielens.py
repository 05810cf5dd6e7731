"""The publisher's MovieLens archives (GroupLens), and the rule that makes the paper's split from MovieLens-1M.

F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hcrnn_pyro.data.arrays import first_positions
from hcrnn_pyro.data.dataset import PARTS, Sequences
from hcrnn_pyro.data.download import fetch, md5, read_md5
from hcrnn_pyro.data.events import Collector, EventLog, Filters, filter_events, text_ids
from hcrnn_pyro.data.locate import cache_folder, find
from hcrnn_pyro.data.splits import Parts
from hcrnn_pyro.errors import UserError, require

SOURCE_URL = "https://files.grouplens.org/datasets/movielens/{file}"
RATING_COLUMNS = ["session", "item", "rating", "time"]  # the order of every release
MOVIE_COLUMNS = ["item_id", "title", "categories"]
NO_GENRES = "(no genres listed)"
GENRES = (  # of ml-100k, which has a column of 0 and 1 for each, from the seventh on; the sixth says "unknown"
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
PAPER_FILTERS = Filters(min_rating=5.0, min_item_count=50, min_length=10, last_events=100)


@dataclass(frozen=True)
class Table:
    """How one member of an archive is written."""

    member: str
    separator: str
    encoding: str = "utf-8"
    header: bool = False


def _csv_tables(name: str) -> tuple[Table, Table]:
    return Table(f"{name}/ratings.csv", ",", header=True), Table(f"{name}/movies.csv", ",", header=True)


ARCHIVES: dict[str, tuple[Table, Table]] = {  # ratings, movies
    "ml-100k": (Table("ml-100k/u.data", "\t"), Table("ml-100k/u.item", "|", "latin-1")),
    "ml-1m": (Table("ml-1m/ratings.dat", "::"), Table("ml-1m/movies.dat", "::", "latin-1")),
    "ml-latest-small": _csv_tables("ml-latest-small"),
    "ml-20m": _csv_tables("ml-20m"),
    "ml-25m": _csv_tables("ml-25m"),
    "ml-32m": _csv_tables("ml-32m"),
}


def load_archive(name: str, data_dir: Path | None = None) -> EventLog:
    """Read an archive from the user's folder (itself or ``raw/`` in it) or the cache; download it where it is in none.

    Args:
        name: a key of ``ARCHIVES``.
        data_dir: the folder given by the user; see :func:`hcrnn_pyro.data.locate.user_folder`.

    Raises:
        UserError: the archive cannot be found or downloaded, is damaged, or holds something else.
    """
    file = f"{name}.zip"
    path = find((file, f"raw/{file}"), data_dir)
    if path is None:
        sums = cache_folder() / f"{file}.md5"
        fetch(SOURCE_URL.format(file=sums.name), sums, verify=lambda path: None, progress=False)
        path = fetch(SOURCE_URL.format(file=file), cache_folder() / file, verify=md5(read_md5(sums)))
    return read_archive(path, name)


def read_archive(path: Path, name: str) -> EventLog:
    """Read ratings and movies of an archive in the format of ``name``.

    Every rating is an event; users are in the order of the file, ratings by time with ties in the order of the file.

    Raises:
        UserError: the file is no zip archive, is cut short, or lacks a member or its format.
    """
    ratings, movies = ARCHIVES[name]
    try:
        with zipfile.ZipFile(path) as archive:
            absent = {ratings.member, movies.member}.difference(archive.namelist())
            if absent:
                members = ", ".join(archive.namelist()[:8])
                raise UserError(f"Expected {', '.join(sorted(absent))} in {path}; it has {members}.")
            contents = archive.read(ratings.member), archive.read(movies.member)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        advice = f"It may be cut short: remove it and get {SOURCE_URL.format(file=f'{name}.zip')} again."
        raise UserError(f"Expected a whole zip archive at {path}; got an error, {error}. {advice}") from error
    try:
        events = _read_table(contents[0], ratings).iloc[:, :4].set_axis(RATING_COLUMNS, axis=1)
        events = events.astype({"rating": "float64", "time": "float64"})
        items = read_movies(contents[1], movies)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not in the format of {name}: {error}") from error
    collector = Collector()
    numbers = {name: events[name].to_numpy() for name in ("time", "rating")}
    collector.add(text_ids(events["session"]), text_ids(events["item"]), **numbers)
    return collector.log(pd.DataFrame({"item_id": collector.item_names}).merge(items, on="item_id", how="left"))


def read_movies(content: bytes, table: Table) -> pd.DataFrame:
    """Titles and categories: columns ``item_id``, ``title`` and ``categories`` (names joined by ``|``, or empty).

    Raises:
        ValueError: the content is not such a table.
    """
    frame = _read_table(content, table, dtype="str")
    if frame.shape[1] > 3:  # flags in place of names
        flags = frame.iloc[:, 6 : 6 + len(GENRES)].to_numpy(dtype=object) == "1"
        frame[2] = ["|".join(np.compress(row, GENRES)) for row in flags]
    movies = frame.iloc[:, :3].set_axis(MOVIE_COLUMNS, axis=1)
    return movies.replace({"categories": {NO_GENRES: ""}}).drop_duplicates("item_id")


def _read_table(content: bytes, table: Table, dtype: str | None = None) -> pd.DataFrame:
    """All columns of a table, named 0, 1, ...; only the comma-separated ones have quoted fields."""
    return pd.read_csv(
        io.BytesIO(content.replace(b"::", b"\x1f") if table.separator == "::" else content),
        sep="\x1f" if table.separator == "::" else table.separator,  # one character, for the fast parser
        header=None,
        skiprows=1 if table.header else 0,
        encoding=table.encoding,
        quoting=csv.QUOTE_MINIMAL if table.separator == "," else csv.QUOTE_NONE,
        keep_default_na=False,
        dtype=dtype,
    )


def paper_rule(log: EventLog, items: Collection[str] | None = None) -> Sequences:
    """Filter MovieLens-1M as the paper's split was: which events, in which sequences, in which order.

    Ratings of 5, of items with at least 50 of those, of users with at least 10 of those; the last 100 of each user by
    time, ties in the order of the archive. From the whole archive that leaves 930 items and 4,639 users. Users are
    ordered by their first event left, as in the published files.

    Args:
        log: the archive.
        items: names of the items to keep, in place of the count, where the archive is not whole.
    """
    sequences = filter_events(log, PAPER_FILTERS, items)
    assert sequences.times is not None
    return sequences.take(np.argsort(sequences.times[sequences.offsets[:-1]], kind="stable"))


def order_ties(part: Sequences) -> Sequences:
    """Put events of one second in the order in which their items first appear in this part, as in the published files.

    29 % of neighbouring events in the published valid and test parts are such ties.
    """
    assert part.times is not None
    rows = np.repeat(np.arange(len(part)), part.lengths)
    first_appearance = first_positions(part.items, int(part.items.max()) + 1)[part.items]
    order = np.lexsort((first_appearance, part.times, rows))
    return replace(part, items=part.items[order], times=part.times[order])


def held_out_parts(sequences: Sequences, held_out: pd.DataFrame) -> Parts:
    """Split by a list of held-out users.

    Args:
        sequences: of all users.
        held_out: the users of valid and test: columns ``ml1m_user_id`` (text) and ``split``; all others are train.

    Raises:
        UserError: a listed user has no sequence.
    """
    part_of = dict(zip(held_out["ml1m_user_id"], held_out["split"], strict=True))
    absent = part_of.keys() - set(sequences.ids)
    require(not absent, f"{len(absent):,} held-out users have no sequence, among them {min(absent, default='')}.")
    part = np.array([part_of.get(user, "train") for user in sequences.ids])
    return {name: sequences.rows(part == name) for name in PARTS}
