"""What the printed table says beside the numbers."""

import pandas as pd
import pytest

from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.report import result_table

METRICS = {"test": {"recall@3": 1.0, "recall@20": 2.0, "mrr@3": 0.5, "mrr@20": 0.7, "nll": 5.0, "predictions": 2}}


@pytest.mark.parametrize(
    ("data_name", "model", "row", "remark"),
    [
        ("citeulike", "item-knn", "published Item-KNN", True),
        ("citeulike", "pop", "published POP", False),
        ("citeulike", "item-knn-decay", "", False),
        ("my_log", "item-knn", "", False),
    ],
)
def test_the_impossible_row_carries_a_remark(data_name, model, row, remark):
    parts = (Sequences.from_lists([[1, 1, 1]]) for _ in range(3))
    table = result_table(METRICS, DataSet(data_name, *parts, pd.DataFrame({"item_id": ["a"]})), model)
    assert row in table
    assert ("published" in table) == bool(row)
    assert ("MRR@20 is at most R@20 / 4" in table) == remark
