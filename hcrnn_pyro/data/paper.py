"""The paper's own splits of MovieLens, CiteULike and Last.fm, in the files of its authors.

A folder holds ``train.txt``, ``valid.txt``, ``test.txt`` (tab-separated, a header, one row per event: ItemId, Time,
SessionId, item_idx, sess_idx in any order) and ``item2idx.txt`` (ItemId, item_idx, no header). The order of the rows is
the order of the events: times are coarse, and sorting by them would undo the published order.

Axes: N events, S sequences, V items.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hcrnn_pyro.data.dataset import PARTS, DataSet, Part, Sequences
from hcrnn_pyro.data.download import fetch, git_blob_sha1
from hcrnn_pyro.data.locate import cache_folder, find, user_folder
from hcrnn_pyro.data.movielens import Table, read_movies
from hcrnn_pyro.data.tables import read_text_table
from hcrnn_pyro.errors import UserError, require

SOURCE_URL = "https://raw.githubusercontent.com/gtshs2/HCRNN/master/data/{path}"
VOCABULARY_FILE, TITLES_FILE, ORDER_FILE = "item2idx.txt", "item2genre.txt", "train_order_status.tsv.gz"
COLUMNS = ("ItemId", "SessionId", "Time", "item_idx", "sess_idx")
REQUIRED_FILES = (VOCABULARY_FILE, *(f"{part}.txt" for part in PARTS))

DIGESTS = {  # git blob SHA-1 of the published files
    "citeulike/train.txt": "6cebb9a84987882236c7f67d67023bf4230ba4e7",
    "citeulike/valid.txt": "7d748fc9a0e12f331d59782cd746647d4567e873",
    "citeulike/test.txt": "8da4cda2112da16fe460e85fdef19113d31142e2",
    "citeulike/item2idx.txt": "7839566f0c787772387daafb076b2bad6c25f3fc",
    "movielens/train.txt": "0d4c7b67c12d0b153f7707aab1f6a45de600cea6",
    "movielens/valid.txt": "4b4ecfbbe16dfd93baaf1d63b6baff22e208a437",
    "movielens/test.txt": "e6b34ed43c07f26208b0db85a18d3880c35201ad",
    "movielens/item2idx.txt": "f3c51a3f1d7f416ad696f9835b278746ceac6cd5",
    "movielens/item2genre.txt": "8cdb68f27d12a53f8fc6d2a192cb652541bac440",
    "lastfm/train.txt": "0aa2498bac4be7d0e3258df5f33743c99b2a95e4",
    "lastfm/valid.txt": "b9048ca78b93ec6ba9f1a5857e3337363598c6c8",
    "lastfm/test.txt": "dc1e5f0f5e4977784a55a04c0341824ce4d209a6",
    "lastfm/item2idx.txt": "3d66575cc178c2c94155fb77ffe5aa1be107e273",
}
TITLES = {"citeulike": "CiteULike", "movielens": "MovieLens", "lastfm": "Last.fm"}


@dataclass(frozen=True, eq=False)
class _Part:
    """A part before the names of its sequences are made unique: ``sequences.ids`` are the SessionIds."""

    sequences: Sequences
    numbers: np.ndarray  # (S,) sess_idx


def load_paper(name: str, data_dir: Path | None = None) -> DataSet:
    """Load a split of the paper from ``<folder>/<name>/`` in the user's folder or the cache; download what neither has.

    The user's own files are taken as they are; downloads are checked against the published files' sums.

    Args:
        name: ``movielens``, ``citeulike`` or ``lastfm``.
        data_dir: the folder given by the user; see :func:`hcrnn_pyro.data.locate.user_folder`.

    Raises:
        UserError: a file is missing and cannot be downloaded, or is not in the authors' layout.
    """
    paths = {file: _path_of(name, file, data_dir) for file in REQUIRED_FILES}
    vocabulary = read_vocabulary(paths[VOCABULARY_FILE])
    parts = {part: _read_part(paths[f"{part}.txt"], vocabulary) for part in PARTS}
    named = _name_sequences(parts)
    items, titles_note = _items(name, vocabulary, data_dir)
    notes = (*titles_note, *_order_notes(paths["train.txt"].with_name(ORDER_FILE)))
    description = f"{TITLES[name]}, the paper's own split, files from {paths['train.txt'].parent}"
    return DataSet(name, named["train"], named["valid"], named["test"], items, description, notes)


def read_vocabulary(path: Path) -> pd.Index:
    """Read ``item2idx.txt``: (V,) item names as text, the one at position i having item_idx i + 1.

    Raises:
        UserError: the second column does not count 1, 2, ..., or an item occurs twice.
    """
    frame = read_text_table(path, header=False)
    require(frame.shape[1] == 2, f"Expected two columns, ItemId and item_idx, in {path}; got {frame.shape[1]}.")
    wrong = (frame[1] != (np.arange(len(frame)) + 1).astype(str)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(f"Expected item_idx {row + 1} in line {row + 1} of {path}; got {frame[1][row]!r}.")
    twice = frame[0].duplicated().to_numpy()
    require(not twice.any(), f"Item {frame[0][twice.argmax()]!r} occurs again in line {twice.argmax() + 1} of {path}.")
    return pd.Index(frame[0].astype(object))


def _path_of(name: str, file: str, data_dir: Path | None) -> Path:
    """Where a file is, after a download if need be."""
    path = f"{name}/{file}"
    found = find((path,), data_dir)
    if found is not None:
        return found
    try:
        return fetch(SOURCE_URL.format(path=path), cache_folder() / path, git_blob_sha1(DIGESTS[path]))
    except UserError as error:
        folder = (user_folder(data_dir) or cache_folder()) / name
        there = [other for other in REQUIRED_FILES if (folder / other).is_file()]
        if not there:
            raise
        have = f"{folder} has {', '.join(there)} but no {file}"
        raise UserError(f"{TITLES[name]} is not whole: {have}, without which it cannot be used. {error}") from error


def _read_part(path: Path, vocabulary: pd.Index) -> _Part:
    """Read one part, checking every row against the vocabulary."""
    frame = read_text_table(path, header=True)
    missing = [name for name in COLUMNS if name not in frame]
    require(not missing, f"No column {', '.join(missing)} in {path}; it has {', '.join(frame.columns)}.")
    require(len(frame) > 0, f"Expected events in {path}; it has a header but no rows.")
    items = pd.to_numeric(frame["item_idx"], errors="coerce").to_numpy(dtype=np.float64)
    legal = (items >= 1) & (items <= len(vocabulary)) & (items % 1 == 0)  # false for NaN
    _check(legal, path, "item_idx", f"a whole number from 1 to {len(vocabulary)}", frame["item_idx"])
    agrees = vocabulary.to_numpy()[items.astype(np.int64) - 1] == frame["ItemId"].to_numpy(dtype=object)
    _check(agrees, path, "ItemId", f"the item that {VOCABULARY_FILE} gives for that item_idx", frame["ItemId"])
    times = pd.to_numeric(frame["Time"], errors="coerce").to_numpy(dtype=np.float64)
    _check(~np.isnan(times) | (frame["Time"] == "").to_numpy(), path, "Time", "seconds or nothing", frame["Time"])
    starts = (frame["sess_idx"] != frame["sess_idx"].shift()).to_numpy()
    again = frame["sess_idx"].where(starts).duplicated().to_numpy() & starts
    _check(~again, path, "sess_idx", "the rows of a sequence together", frame["sess_idx"])
    return _Part(
        sequences=Sequences(
            items=items.astype(np.int32),
            offsets=np.append(np.flatnonzero(starts), len(frame)).astype(np.int64),
            ids=frame["SessionId"].to_numpy(dtype=object)[starts],
            times=times,
        ),
        numbers=frame["sess_idx"].to_numpy(dtype=object)[starts],
    )


def _check(legal: np.ndarray, path: Path, column: str, expected: str, values: pd.Series) -> None:
    """Refuse the first row that is not legal; rows follow a header line."""
    if not legal.all():
        row = int(np.argmin(legal))
        raise UserError(f"Expected {expected} in line {row + 2}, column {column}, of {path}; got {values.iloc[row]!r}.")


def _name_sequences(parts: dict[Part, _Part]) -> dict[Part, Sequences]:
    """Sequences under their SessionId, with the sess_idx added where two sequences share one."""
    counts = pd.Series(np.concatenate([part.sequences.ids for part in parts.values()])).value_counts()
    named: dict[Part, Sequences] = {}
    for name, part in parts.items():
        ids, old = part.sequences.ids, part.sequences
        shared = counts.reindex(ids).to_numpy() > 1
        unique = np.where(shared, ids + "/" + part.numbers, ids).astype(object)
        named[name] = Sequences(old.items, old.offsets, unique, old.times)
    return named


def _items(name: str, vocabulary: pd.Index, data_dir: Path | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row per item with what is known of it; and a note where titles should be known but are not.

    Titles are no reason to go online for a user who has the rest of the files.
    """
    items = pd.DataFrame({"item_id": vocabulary})
    path = f"{name}/{TITLES_FILE}"
    if path not in DIGESTS:
        return items, ()
    found = find((path,), data_dir)
    if found is None and find((f"{name}/{VOCABULARY_FILE}",), data_dir) != cache_folder() / name / VOCABULARY_FILE:
        return items, (f"Titles and categories are unknown, as the folder has no {TITLES_FILE}.",)
    if found is None:
        found = fetch(SOURCE_URL.format(path=path), cache_folder() / path, git_blob_sha1(DIGESTS[path]))
    try:
        movies = read_movies(found.read_bytes(), Table(TITLES_FILE, "::", "latin-1"))
    except ValueError as error:
        raise UserError(f"Expected id::title::genres in every line of {found}; {error}.") from error
    return items.merge(movies, on="item_id", how="left"), ()


def _order_notes(path: Path) -> tuple[str, ...]:
    """A note where the folder says that its train part was rebuilt and the order of some events estimated."""
    if not path.is_file():
        return ()
    status = pd.read_csv(path, sep="\t", dtype=str)
    require("order_status" in status, f"No column order_status in {path}; it has {', '.join(status.columns)}.")
    estimated = int((status["order_status"] == "estimated").sum())
    return (
        f"The train part is rebuilt, not the published file: the order of some events of the same second is estimated "
        f"in {estimated:,} of {len(status):,} sequences. Their items are right.",
    )
