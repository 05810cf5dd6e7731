"""What adding items without training is worth: train a run anew without a share of its items, add those, predict them.

python -m experiments.cold_start --run runs/ml --held-out 0.1 --out runs/cold

The run's own flags train the new one, which lies in --out/without; with the items added it lies in --out/added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.command import run_command
from experiments.options import parse, to_dict
from experiments.run_data import data_of_run
from experiments.svi import build, stored_config
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.devices import Device, torch_device
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import Method, evaluate, summarise
from hcrnn_pyro.new_items import add_items, side_information
from hcrnn_pyro.runs import Run, load_run, start_run
from hcrnn_pyro.training import fit

COMMAND = "python -m experiments.cold_start"
SHOWN = ["recall@3", "recall@20", "mrr@3", "mrr@20", "nll"]


@dataclass(frozen=True)
class ColdStartOptions:
    """Train a run anew without a share of its items, add those without training, and predict them."""

    run: Path
    """Folder of a finished run of experiments.svi, on data whose items have categories or titles with a year."""
    out: Path
    """Folder of the results."""
    held_out: float = 0.1
    """Share of the items to leave out, at random."""
    seed: int = 0
    """Seed of the choice of items."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    data_dir: Path | None = None
    """Folder where the run's data are looked for first; else the one the run was started with."""

    def __post_init__(self) -> None:
        require(0.0 < self.held_out < 1.0, f"--held-out is a share between 0 and 1; got {self.held_out}.")


def main(argv: list[str] | None = None) -> None:
    """Parse, leave out, train, add, evaluate, report."""
    options = parse(ColdStartOptions, COMMAND, argv)
    run = load_run(options.run)
    side_information(run)  # before the training, which is in vain without it
    data = data_of_run(run, options.data_dir)
    chosen = _choose(data.catalogue_size, options)
    left, new = without_items(data, chosen), data.items[chosen]
    print(
        f"{len(new)} of {data.catalogue_size:,} items are left out, and with them "
        f"{data.train.events - left.train.events:,} of {data.train.events:,} training events.\n"
    )
    trained = _train(run, left, options)
    runs = {
        "not added": trained,
        "added by side information": add_items(trained, new, options.out / "added"),
        "added, nothing known of them": add_items(trained, new[["item_id"]], options.out / "unknown"),
        "trained with them": run,
    }
    method: Method = run.config["evaluation"]["evaluation"]
    ranks = {
        name: _ranks(one, left.test if one is trained else data.test, data.items, method, torch_device(options.device))
        for name, one in runs.items()
    }
    for which, wanted in (("The items left out", True), ("All other items", False)):
        rows = {name: table[table["item_id"].isin(new["item_id"]) == wanted] for name, table in ranks.items()}
        print(_report(f"{which} as targets", {name: rows for name, rows in rows.items() if len(rows)}))
    print(f"Kept in {options.out}")


def without_items(data: DataSet, chosen: np.ndarray) -> DataSet:
    """A data set without some items, as if nobody had ever met them; the test part keeps its item indices.

    Args:
        data: the data set.
        chosen: (V,) bool, which items go.
    """

    def cut(part: Sequences) -> Sequences:
        kept = part.where(~chosen[part.items - 1])
        return kept.rows(kept.lengths >= 2)  # a single event predicts nothing

    items = data.items[~chosen].reset_index(drop=True)
    train, valid = (renumbered(cut(part), data.items, items) for part in (data.train, data.valid))
    return replace(data, train=train, valid=valid, test=cut(data.test), items=items, truth=None)


def renumbered(part: Sequences, before: pd.DataFrame, after: pd.DataFrame) -> Sequences:
    """The same sequences in another vocabulary, which has all of their items.

    Args:
        part: the sequences.
        before: their vocabulary.
        after: the other one.
    """
    index = pd.Index(after["item_id"]).get_indexer(before["item_id"]) + 1
    return replace(part, items=index[part.items - 1].astype(part.items.dtype))


def _choose(items: int, options: ColdStartOptions) -> np.ndarray:
    """(V,) bool, the items to leave out: at least one, and not all."""
    number = min(max(1, round(options.held_out * items)), items - 1)
    chosen = np.zeros(items, dtype=bool)
    chosen[np.random.default_rng(options.seed).permutation(items)[:number]] = True
    return chosen


def _train(run: Run, data: DataSet, options: ColdStartOptions) -> Run:
    """A run by the flags of another one, on other data."""
    folder = options.out / "without"
    asked = replace(stored_config(run.config), out=folder, resume=False)
    asked = replace(asked, training=replace(asked.training, device=options.device))
    model, guide = build(asked, data)
    start_run(folder, to_dict(asked), data)
    fit(model, guide, data, asked.training, folder)
    print()
    return load_run(folder)


def _ranks(run: Run, test: Sequences, items: pd.DataFrame, method: Method, device: str) -> pd.DataFrame:
    """The ranks of a part's targets, with their names."""
    part = renumbered(test, items, run.items)
    table = evaluate(run.predictive.to(device), part, method, device, len(run.items))
    return table.assign(item_id=run.items["item_id"].to_numpy()[table["item"] - 1])


def _report(title: str, tables: dict[str, pd.DataFrame]) -> str:
    """Metrics among the items that a prefix has not shown, a row for each way to know of the items."""
    rows = {
        name: summarise(table, filter_seen=True) | {"nll": summarise(table)["nll"]} for name, table in tables.items()
    }
    formats = dict.fromkeys(SHOWN, "{:.2f}".format) | {"nll": "{:.3f}".format}
    shown = pd.DataFrame.from_dict(rows, orient="index")[[*SHOWN, "predictions"]]
    return f"{title}, seen items filtered:\n\n{shown.to_string(formatters=formats)}\n"


if __name__ == "__main__":
    run_command(main)
