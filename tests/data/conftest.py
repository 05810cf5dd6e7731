"""Tests of data see neither the network nor the user's own folders, unless they ask for real data with ``data_dir``."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hcrnn_pyro.data import download, movielens, paper
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.events import Collector, EventLog, text_ids


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no folder of the user's, and a port that refuses for every download."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HCRNN_DATA", raising=False)
    monkeypatch.setattr(paper, "SOURCE_URL", "http://127.0.0.1:9/{path}")
    monkeypatch.setattr(movielens, "SOURCE_URL", "http://127.0.0.1:9/{file}")
    monkeypatch.setattr(download, "Patience", partial(download.Patience, attempts=1, timeout=5.0))


def make_log(text: str, times: list[float] | None = None, ratings: list[float] | None = None) -> EventLog:
    """A log from ``"u:a b c | v:a b"``, in that order where there are no times."""
    pairs = [part.strip().split(":") for part in text.split("|")]
    rows = [(session, item) for session, items in pairs for item in items.split()]
    numbers = {name: np.array(given) for name, given in (("time", times), ("rating", ratings)) if given is not None}
    collector = Collector()
    collector.add(*(text_ids(pd.Series(column)) for column in zip(*rows, strict=True)), **numbers)
    return collector.log(pd.DataFrame({"item_id": collector.item_names}))


def read_back(sequences: Sequences, items: pd.DataFrame) -> str:
    """The sequences as the text that :func:`make_log` could have made them from."""
    names = items["item_id"].to_numpy()
    listed = zip(sequences.ids, sequences, strict=True)
    return " | ".join(f"{session}:{' '.join(names[indices - 1])}" for session, indices in listed)


@pytest.fixture
def log_of():
    """The builder of small logs."""
    return make_log


@pytest.fixture
def as_text():
    """The way back."""
    return read_back
