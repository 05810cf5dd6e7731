"""Add items to a finished run that it was not trained on, from their titles and categories; nothing is trained.

python -m experiments.new_items --run runs/ml --items new.csv --out runs/ml-new

new.csv has a column item_id, and title (a year at its end counts), categories (names joined by |), or both. The new run
is read by hcrnn_pyro.load_run, and its predictions are over all items, the new ones last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.command import run_command
from experiments.options import parse
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.new_items import UNCERTAINTY, add_items, nearest_items
from hcrnn_pyro.runs import Run, load_run

COMMAND = "python -m experiments.new_items"
NEIGHBOURS = 3


@dataclass(frozen=True)
class NewItemsOptions:
    """Add items to a finished run without training, from what is known of them."""

    run: Path
    """Folder of a finished run of experiments.svi, on data whose items have categories or titles with a year."""
    items: Path
    """Table of the new items: .csv, .tsv or .parquet, with item_id, and title, categories, or both."""
    out: Path
    """Folder of the run with the new items."""


def main(argv: list[str] | None = None) -> None:
    """Parse, read, add, report."""
    options = parse(NewItemsOptions, COMMAND, argv)
    items = read_items(options.items)
    run = add_items(load_run(options.run), items, options.out)
    print(f"{_report(run, len(items))}\n\nKept in {options.out}")


def read_items(path: Path) -> pd.DataFrame:
    """A table of items, every cell as text, empty ones as empty text.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype("string").fillna("")
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # parsers' errors are ValueErrors
        raise UserError(f"--items: {path} cannot be read as a table of items: {str(error).strip()}") from error
    require(  # else the first column would be taken for names of rows, and every value for its neighbour's
        isinstance(table.index, pd.RangeIndex),
        f"--items: the rows of {path} have more values than its header has names. Quote a title that has a comma.",
    )
    return table


def _report(run: Run, added: int) -> str:
    """What became of each new item."""
    first = len(run.items) - added
    rows = []
    for index in range(first, len(run.items)):
        item, near = run.items.iloc[index], nearest_items(run, index + 1, NEIGHBOURS)
        names = ", ".join(_name(other) for _, other in near.iterrows())
        rows.append({"item": _name(item), "uncertainty": item[UNCERTAINTY], "nearest": names})
    table = pd.DataFrame(rows).to_string(index=False, justify="left", formatters={"uncertainty": "{:.2f}".format})
    return (
        f"{added} items added to {first}, with the mean of what their side information says of the embedding.\n"
        "uncertainty: its standard deviation, over that of the trained items' embeddings; from 1 on nothing is known."
        "\n\n"
        f"{table}"
    )


def _name(item: pd.Series) -> str:
    title = item.get("title")
    return title if isinstance(title, str) and title else str(item["item_id"])


if __name__ == "__main__":
    run_command(main)
