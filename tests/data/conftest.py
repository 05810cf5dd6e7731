"""Tests of data see neither the network nor the user's own folders, unless they ask for real data with ``data_dir``."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from hcrnn_pyro.data import download, movielens, paper


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no folder of the user's, and a port that refuses for every download."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HCRNN_DATA", raising=False)
    monkeypatch.setattr(paper, "SOURCE_URL", "http://127.0.0.1:9/{path}")
    monkeypatch.setattr(movielens, "SOURCE_URL", "http://127.0.0.1:9/{file}")
    monkeypatch.setattr(download, "Patience", partial(download.Patience, attempts=1, timeout=5.0))


def make_events(text: str, times: list[float] | None = None, ratings: list[float] | None = None) -> pd.DataFrame:
    """An events frame from ``"u:a b c | v:a b"``."""
    pairs = [part.strip().split(":") for part in text.split("|")]
    rows = [(session, item) for session, items in pairs for item in items.split()]
    frame = pd.DataFrame(rows, columns=["session", "item"]).astype("category")
    if times is not None:
        frame["time"] = [float(time) for time in times]
    if ratings is not None:
        frame["rating"] = [float(rating) for rating in ratings]
    return frame


@pytest.fixture
def events_of():
    """The builder of small events frames."""
    return make_events
