"""The rows of the paper's table and their flags: which model each one is, and how it is trained on which data."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from experiments.presets import DENSE, HELD, LONG, NEAR_SPECTRAL, PRESETS, TIME_FLAG
from hcrnn_pyro.components import find, registry
from hcrnn_pyro.errors import require, unknown_choice

OTHER = "other"  # data sets that a row does not name
ALL = "all"
ABLATION = "ablation"
REMEMBERING = "memory"
TIMED = "times"
ENSEMBLE = 3  # seeds
DEFAULTS: Mapping[str, str] = {OTHER: ""}

SLOW = "--lr 0.002 --batch-size 32 --patience 3"
DROPOUT = "--dropout-in 0.25 --dropout-out 0.5"
PLAIN = {"citeulike": "--patience 5", OTHER: f"{DROPOUT} {SLOW}"}
PEER = {"citeulike": "--dropout-in 0.4 --patience 5", OTHER: f"{DROPOUT} {SLOW}"}
# Its authors' dropouts for sparse and for dense data.
SASREC = {"citeulike": "--patience 5", OTHER: f"--dropout 0.2 {SLOW}"}
START = "--item-embeddings spectral --averaging 0.99"
SPECTRAL = {
    "citeulike": f"--likelihood without-replacement {START} --dropout-in 0.4 --dropout-out 0.6 --lr 0.002 --patience 5",
    "movielens": f"--likelihood without-replacement {START} {DROPOUT} {SLOW}",
    OTHER: f"--likelihood categorical {START} {DROPOUT} {SLOW}",  # items may repeat
}


def with_repeats(flags: str) -> str:
    """The same flags for data in which items may repeat."""
    return flags.replace("without-replacement", "categorical")


SHORT = f"{HELD} --dropout-in 0.4 --dropout-out 0.6 --batch-size 32 --patience 4 --epochs 40"
PRIOR = {"citeulike": PRESETS["citeulike"], "movielens": DENSE, OTHER: with_repeats(SHORT)}
# With an output matrix of its own it learns too slowly under the preset.
GRU = f"{NEAR_SPECTRAL} --hidden 200 --dropout-in 0.25 --dropout-out 0.5 --lr 0.003"
GRU_PRIOR = {
    "citeulike": f"{GRU} --patience 4 --epochs 40",
    "movielens": f"{GRU} --batch-size 32 --head-layers 2 {LONG}",
    OTHER: with_repeats(f"{GRU} --batch-size 32 --patience 4 --epochs 40"),
}
SASREC_DENSE = f"{HELD} --dropout 0.2 --batch-size 32 --patience 4 --epochs 40"
SASREC_PRIOR = {
    "citeulike": f"{HELD} --dropout 0.5 {LONG}",
    "movielens": SASREC_DENSE,
    OTHER: with_repeats(SASREC_DENSE),
}
SEQUENTIAL = {"movielens": "--decay 3 --backward 0.25 --shrinkage 20", OTHER: ""}
EXPERTS = ("item-knn-decay", "sequential-knn", "markov")
REFITS = tuple(f"{name}+refit" for name in EXPERTS)
HELD_MODELS = ("gru4rec", "narm", "sasrec", "hcrnn3-bi")  # those that a prior holds near the spectral embeddings
LONG_EXPERT = "slit-long"
LONG_FLAGS = "--decay 20 --reach 5 --ridge 1000"  # what else belongs to such a sequence, beside what comes next

ABLATED_ON = "citeulike"
INGREDIENTS = {
    "no-repeats": "--likelihood without-replacement",
    "spectral-start": "--item-embeddings spectral",
    "item-prior": "--item-scale 0.04",  # around 0 without the spectral start
    "averaging": "--averaging 0.99",
    "width": "--hidden 200 --lr 0.001",
    "dropout": "--dropout-in 0.5 --dropout-out 0.7",
}
"""What ``hcrnn3-bi+prior`` has on CiteULike and ``hcrnn3-bi`` has not."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table.

    Attributes:
        name: what ``--models`` calls it, and its folder.
        model: a registered name, or the path of a user's own.
        flags: name of a data set -> flags of ``python -m experiments.svi``; those of ``OTHER`` hold for all others.
        published: the paper's name of it; empty where the paper has no such row.
        counted: whether the model only counts, so that every seed gives the same numbers and one run is enough.
        pooled: names of the rows whose runs of a seed are pooled to one of this row; empty for a row that is trained.
        refits: name of the row whose run of a seed is trained anew on train and valid together; empty likewise.
        remembers: name of the row whose run of a seed is given a memory of its training, and where that is a refit, of
            the row with the memory of its first run; empty likewise.
        seeds: how many seeds' runs of its first pooled row a pool takes: its own seed and the table's next ones, in a
            circle.
    """

    name: str
    model: str
    flags: Mapping[str, str]
    published: str = ""
    counted: bool = False
    pooled: tuple[str, ...] = ()
    refits: str = ""
    remembers: tuple[str, ...] = ()
    seeds: int = 1

    @property
    def needs(self) -> tuple[str, ...]:
        """The rows whose runs must be there before one of this row is made."""
        return (self.refits,) if self.refits else self.remembers or self.pooled

    def flags_on(self, data: str) -> list[str]:
        """The flags on a data set."""
        return shlex.split(self.flags.get(data, self.flags[OTHER]))

    @property
    def is_hcrnn(self) -> bool:
        """Whether it is one of the paper's own models."""
        return self.published.startswith("HCRNN")


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("pop", "pop", DEFAULTS, "POP", counted=True),
        Row("s-pop", "s-pop", DEFAULTS, "S-POP", counted=True),
        Row("item-knn", "item-knn", DEFAULTS, "Item-KNN", counted=True),
        Row("bpr-mf", "bpr-mf", {"citeulike": "--patience 5", OTHER: SLOW}, "BPR-MF"),
        Row("lstm4rec", "lstm4rec", PEER, "LSTM4REC"),
        Row("gru4rec", "gru4rec", PEER, "GRU4REC"),
        Row("narm", "narm", PEER, "NARM"),
        Row("stamp", "stamp", PEER, "STAMP"),
        Row("hcrnn1", "hcrnn1", PLAIN, "HCRNN-1"),
        Row("hcrnn2", "hcrnn2", PLAIN, "HCRNN-2"),
        Row("hcrnn3", "hcrnn3", PLAIN, "HCRNN-3"),
        Row("hcrnn3-bi", "hcrnn3-bi", PLAIN, "HCRNN-3+Bi"),
        Row("item-knn-decay", "item-knn-decay", {"movielens": "--decay 2", OTHER: ""}, counted=True),
        Row("sequential-knn", "sequential-knn", SEQUENTIAL, counted=True),
        Row("s-knn", "s-knn", DEFAULTS, counted=True),
        Row("markov", "markov", DEFAULTS, counted=True),
        Row("slit", "slit", DEFAULTS, counted=True),
        Row(LONG_EXPERT, "slit", {OTHER: LONG_FLAGS}, counted=True),
        Row("sasrec", "sasrec", SASREC),
        Row("narm+spectral", "narm", SPECTRAL, "NARM"),
        Row("hcrnn1+spectral", "hcrnn1", SPECTRAL, "HCRNN-1"),
        Row("hcrnn2+spectral", "hcrnn2", SPECTRAL, "HCRNN-2"),
        Row("hcrnn3+spectral", "hcrnn3", SPECTRAL, "HCRNN-3"),
        Row("hcrnn3-bi+spectral", "hcrnn3-bi", SPECTRAL, "HCRNN-3+Bi"),
        Row("gru4rec+prior", "gru4rec", GRU_PRIOR, "GRU4REC"),
        Row("narm+prior", "narm", PRIOR, "NARM"),
        Row("sasrec+prior", "sasrec", SASREC_PRIOR),
        Row("hcrnn3-bi+prior", "hcrnn3-bi", PRIOR, "HCRNN-3+Bi"),
        Row("gru4rec+experts", "gru4rec", DEFAULTS, "GRU4REC", pooled=("gru4rec+prior", *EXPERTS)),
        Row("narm+experts", "narm", DEFAULTS, "NARM", pooled=("narm+prior", *EXPERTS)),
        Row("sasrec+experts", "sasrec", DEFAULTS, pooled=("sasrec+prior", *EXPERTS)),
        Row("hcrnn3-bi+experts", "hcrnn3-bi", DEFAULTS, "HCRNN-3+Bi", pooled=("hcrnn3-bi+prior", *EXPERTS)),
        *(Row(f"{name}+refit", name, DEFAULTS, counted=True, refits=name) for name in EXPERTS),
        Row(f"{LONG_EXPERT}+refit", "slit", DEFAULTS, counted=True, refits=LONG_EXPERT),
        Row("gru4rec+refit", "gru4rec", DEFAULTS, "GRU4REC", refits="gru4rec+prior"),
        Row("narm+refit", "narm", DEFAULTS, "NARM", refits="narm+prior"),
        Row("sasrec+refit", "sasrec", DEFAULTS, refits="sasrec+prior"),
        Row("hcrnn3-bi+refit", "hcrnn3-bi", DEFAULTS, "HCRNN-3+Bi", refits="hcrnn3-bi+prior"),
        Row("gru4rec+experts+refit", "gru4rec", DEFAULTS, "GRU4REC", pooled=("gru4rec+refit", *REFITS)),
        Row("narm+experts+refit", "narm", DEFAULTS, "NARM", pooled=("narm+refit", *REFITS)),
        Row("sasrec+experts+refit", "sasrec", DEFAULTS, pooled=("sasrec+refit", *REFITS)),
        Row("hcrnn3-bi+experts+refit", "hcrnn3-bi", DEFAULTS, "HCRNN-3+Bi", pooled=("hcrnn3-bi+refit", *REFITS)),
    )
}
"""The paper's rows in its order; further baselines; models that start from the spectral embeddings; models that a prior
holds near them; the latter pooled with models that count; these all trained on train and valid; and pools of those."""


def _ablation() -> dict[str, Row]:
    alone: list[Row] = []
    left_out: list[Row] = []
    for name, flags in INGREDIENTS.items():
        others = " ".join(other for other in INGREDIENTS.values() if other != flags)
        for rows, row, all_flags in (
            (alone, f"hcrnn3-bi+{name}", f"{flags} --patience 5"),
            (left_out, f"hcrnn3-bi+prior-{name}", f"{others} --patience 6 --epochs 45"),
        ):
            rows.append(Row(row, "hcrnn3-bi", {OTHER: all_flags}, "HCRNN-3+Bi"))
    return {row.name: row for row in [*alone, *left_out]}


ABLATION_ROWS = _ablation()
"""Each ingredient alone, to compare with ``hcrnn3-bi``; and all but one, to compare with ``hcrnn3-bi+prior``."""


def _pools_of(row: str) -> tuple[str, ...]:
    return row, *EXPERTS, LONG_EXPERT


def _pools_of_refit(row: str) -> tuple[str, ...]:
    return row, *REFITS, f"{LONG_EXPERT}+refit"


def _remembering(row: Row, refit: str, begin: str) -> list[Row]:
    """A trained row and its refit with a memory of their training, and these pooled with what counts."""
    like = partial(Row, model=row.model, flags=DEFAULTS, published=row.published)
    memory = f"{begin}+memory"
    return [
        like(memory, remembers=(row.name,)),
        like(f"{memory}+experts", pooled=_pools_of(memory)),
        like(f"{memory}+refit", remembers=(refit, memory)),
        like(f"{memory}+experts+refit", pooled=_pools_of_refit(f"{memory}+refit")),
    ]


def _with_memory() -> dict[str, Row]:
    rows = [row for name in HELD_MODELS for row in _remembering(ROWS[f"{name}+prior"], f"{name}+refit", name)]
    return {row.name: row for row in rows}


def _timed() -> dict[str, Row]:
    rows: list[Row] = []
    for name in HELD_MODELS:
        prior, begin = ROWS[f"{name}+prior"], f"{name}+times"
        flags = {data: f"{flags} {TIME_FLAG}" for data, flags in prior.flags.items()}
        times = Row(begin, name, flags, prior.published)
        like = partial(Row, model=name, flags=DEFAULTS, published=prior.published)
        rows += [
            times,
            like(f"{begin}+experts", pooled=_pools_of(begin)),
            like(f"{begin}+refit", refits=begin),
            like(f"{begin}+experts+refit", pooled=_pools_of_refit(f"{begin}+refit")),
            *_remembering(times, f"{begin}+refit", begin),
        ]
    return {row.name: row for row in rows}


MEMORY_ROWS = _with_memory()
"""The models that a prior holds, with a memory of their training; these pooled, and refitted."""
TIMED_ROWS = _timed()
"""The models that a prior holds, reading time intervals as well; these with a memory, pooled, and refitted."""


def _ensembles() -> dict[str, Row]:
    begins = [f"{name}{end}" for name in HELD_MODELS for end in ("+memory", "+times+memory")]
    pools = [(MEMORY_ROWS | TIMED_ROWS)[f"{begin}+experts+refit"] for begin in begins]
    rows = [replace(pool, name=f"{pool.name}+ensemble", seeds=ENSEMBLE) for pool in pools]
    return {row.name: row for row in rows}


ENSEMBLE_ROWS = _ensembles()
"""Pools of three seeds with what counts, of the models with a memory, trained on train and valid."""


def chosen_rows(models: Iterable[str]) -> list[Row]:
    """The rows that ``--models`` names and those that they pool, in the table's order; a user's own come last.

    Args:
        models: names of rows or of registered models, ``all``, ``ablation``, ``memory``, ``times``, or own models
            (``my_file:MyModel``); each may be several, joined by commas or spaces.

    Raises:
        UserError: for an unknown name, or two own models of one name.
    """
    names = listed(models)
    require(bool(names), "--models names no model; give all, or names of rows.")
    named = [row for name in names for row in _rows(name)]
    unique = list({(row.name, row.model): row for row in _with_needs(named)}.values())
    order = list(_known())
    rows = sorted(unique, key=lambda row: order.index(row.name) if row.name in order else len(order))
    twice = {row.name for row in rows if sum(other.name == row.name for other in rows) > 1}
    require(not twice, f"--models has different models of one name: {', '.join(sorted(twice))}. Rename one.")
    return rows


def _with_needs(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, and all that they need."""
    for row in rows:
        yield row
        yield from _with_needs(_known()[name] for name in row.needs)


def _known() -> dict[str, Row]:
    """All rows by their names, in the table's order."""
    return ROWS | ABLATION_ROWS | MEMORY_ROWS | TIMED_ROWS | ENSEMBLE_ROWS


def listed(values: Iterable[str]) -> list[str]:
    """Names that were given as several words, or joined by commas or spaces."""
    return [name for part in values for name in part.replace(",", " ").split()]


def short(name: str) -> str:
    """What a table calls a component: its name, and of a user's own the file without its folders."""
    location, _, attribute = name.rpartition(":")
    return f"{Path(location).name.removesuffix('.py')}:{attribute}" if location else name


def _rows(name: str) -> list[Row]:
    groups = {ALL: ROWS, ABLATION: ABLATION_ROWS, REMEMBERING: MEMORY_ROWS, TIMED: TIMED_ROWS}
    if name in groups:
        return list(groups[name].values())
    known = _known()
    if name in known:
        return [known[name]]
    if name in registry("model"):
        return [Row(name, name, DEFAULTS)]
    if ":" in name:
        find("model", name)
        return [Row(short(name), name, DEFAULTS)]
    choices = {*groups, *known, *registry("model")}
    raise unknown_choice("model", name, choices, hint="Your own model: --models my_file:MyModel.")
