"""Read a tab-separated text file as text, whatever its line ends, or say what is wrong with it."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from hcrnn_pyro.errors import UserError


def read_text_table(path: Path, header: bool) -> pd.DataFrame:
    """Every cell as text, empty cells as empty text; columns named by the header, else 0, 1, ...

    Raises:
        UserError: the file is missing, empty, not UTF-8, or has a row with too many cells.
    """
    try:
        return pd.read_csv(
            path,
            sep="\t",
            header=0 if header else None,
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise UserError(f"{path} cannot be read as a tab-separated table: {str(error).strip()}") from error
