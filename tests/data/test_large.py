"""The size that the documentation promises: 10^7 events from a CSV file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from hcrnn_pyro.data.dataset import PARTS
from hcrnn_pyro.data.zipf import zipf_data

EVENTS = 10_000_000


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the system's count of a process's time and memory")
def test_ten_million_events(tmp_path):
    """Prepared and audited in 6 CPU microseconds and 200 bytes per event, with the imports of the program."""
    data = zipf_data(EVENTS)
    parts = [data.part(part) for part in PARTS]
    items = np.concatenate([part.items for part in parts])
    sessions = np.repeat(
        np.concatenate([part.ids for part in parts]).astype(int), np.concatenate([p.lengths for p in parts])
    )
    order = np.random.default_rng(0).permutation(EVENTS)
    table = pa.table({"SessionId": sessions[order], "ItemId": items[order], "Time": np.arange(EVENTS)})
    pyarrow.csv.write_csv(table, tmp_path / "big.csv")

    command = [sys.executable, "-m", "experiments.audit", "--data", str(tmp_path / "big.csv")]
    root = Path(__file__).resolve().parents[2]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    lines = [re.split(r" {2,}", line) for line in (tmp_path / "output").read_text().replace(",", "").splitlines()]
    rows = {label: cells for label, *cells in lines}
    assert sum(map(int, rows["sequences"])) == sum(map(len, parts))
    assert EVENTS - 1000 < sum(map(int, rows["events"])) <= EVENTS  # without the few whose items train never saw
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert used.ru_utime + used.ru_stime < 6e-6 * EVENTS
    assert peak < 200 * EVENTS
