"""The rows that only a GPU has, calculated where there is none, and once more where there is one."""

import pytest
import torch

from experiments.benchmark import main
from experiments.benchmarking import comparison
from experiments.benchmarking.arithmetic import Peak, hcrnn_operations
from experiments.benchmarking.config import BenchmarkConfig
from experiments.benchmarking.measure import Row
from experiments.benchmarking.systems import GRU, OURS, REFERENCE, SASREC, compared_systems
from experiments.benchmarking.workloads import Bench
from hcrnn_pyro.data.batches import Batches
from hcrnn_pyro.data.synthetic import SyntheticProcess
from models import HCRNNConfig

SETTINGS = HCRNNConfig(hidden=4, contexts=3)


class Limited:
    """A bench with memory for so many rows."""

    def __init__(self, rows, error):
        self.rows, self.error = rows, error
        self.optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)

    def train(self, batches):
        if any(batch.size > self.rows for batch in batches):
            raise self.error


BEYOND_A_KERNEL = RuntimeError("Efficient attention cannot produce valid seed and offset outputs")


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), BEYOND_A_KERNEL])
@pytest.mark.parametrize(("rows", "largest"), [(0, 0), (1, 1), (7, 4), (8, 8)])
def test_the_largest_batch_is_found(rows, largest, error):
    assert comparison.largest_batch(Limited(rows, error), events=3, items=9) == largest


def test_throughput_and_share_of_the_peak_follow_from_the_epoch(monkeypatch):
    data = SyntheticProcess(users=30, items=40).draw()
    batches = Batches(data.train, "sequence", 8, seed=0)
    benches = {system.name: Bench(system, 40, "cpu") for system in compared_systems(SETTINGS)}
    products = sum(o.products for batch in batches for o in hcrnn_operations(batch, 40, 4, 3).values())
    monkeypatch.setattr(comparison, "measure_peak", lambda _device: Peak(products=3 * products, sigmoids=1.0))
    monkeypatch.setattr(comparison, "largest_batch", lambda *_: 64)
    epoch = Row("training epoch", "wall s", {OURS: [4.0], REFERENCE: [6.0], GRU: [2.0], SASREC: [1.0]})
    rows = comparison.of_a_gpu(BenchmarkConfig(hcrnn=SETTINGS, repeats=1), data, batches, benches, epoch)
    found = {row.unit: row for row in rows}
    assert found["events/s"].runs[GRU] == [data.train.predictions / 2.0]
    assert found["%"].runs == {OURS: [pytest.approx(25.0)], REFERENCE: [pytest.approx(100 / 6)]}
    assert found["sequences"].runs == {name: [64.0] for name in benches}
    assert found["CPU s"].median(OURS) > 0


@pytest.mark.gpu
def test_every_row_on_a_gpu(capsys):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    main(["--hidden", "8", "--contexts", "4", "--repeats", "1", "--device", "cuda"])
    printed = capsys.readouterr().out
    for expected in ("wall s", "events/s", "share of the peak", "largest batch"):
        assert expected in printed
    main(["--hidden", "8", "--contexts", "4", "--repeats", "1", "--device", "cuda", "--profile"])
