"""What a search may know of a data set."""

from __future__ import annotations

from dataclasses import replace

from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.data.sources import DataConfig, load_data


def load_without_test(source: DataConfig) -> DataSet:
    """A data set with an empty test part, so that nothing in a search can read it.

    Args:
        source: where it comes from.
    """
    return replace(load_data(source), test=Sequences.from_lists([]))
