"""Two processes of torchrun train as one does: the same gradients, losses, metrics and files, and one voice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hcrnn_pyro.data.batches import SCOPES, Batches
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributed import at_rank_zero, gather, process_group, share, sum_over_ranks, world_size
from hcrnn_pyro.runs import load_run
from tests.two_ranks import BATCH, COMMAND, ROWS, observations

ROOT = Path(__file__).parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched")
    command = [*TORCHRUN, "-m", "tests.two_ranks", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return folder, done


@pytest.fixture(scope="module")
def ranks(launched):
    folder, done = launched
    assert (folder / "rank1.pt").is_file(), done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone():
    return observations()


@pytest.mark.parametrize("scope", SCOPES)
def test_gradients_are_those_of_the_whole_batch_in_one_process(ranks, alone, scope):
    batches = alone["batches"][scope]
    assert len(batches) >= -(-ROWS // BATCH)
    for one, *parts in zip(batches, *(rank["batches"][scope] for rank in ranks), strict=True):
        assert [part["rows"] for part in parts] == [one["rows"][0::2], one["rows"][1::2]]
        assert parts[0]["seed"] == one["seed"] != parts[1]["seed"], "ranks draw apart"
        for part in parts:
            assert part["gradients"].keys() == one["gradients"].keys()
            for name, gradient in part["gradients"].items():
                torch.testing.assert_close(gradient, one["gradients"][name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_batch_may_have_fewer_rows_than_there_are_ranks(ranks):
    assert [] in [batch["rows"] for batch in ranks[1]["batches"]["sequence"]]


def test_the_history_is_that_of_one_process_at_every_rank(ranks, alone):
    assert ranks[0]["history"] == ranks[1]["history"]
    assert ranks[0]["best"] == ranks[1]["best"]
    for name, values in alone["history"].items():
        np.testing.assert_allclose(ranks[0]["history"][name], values, rtol=1e-4, err_msg=name)


def test_every_rank_gets_the_table_of_one_process(ranks, alone):
    for rank in ranks:
        pd.testing.assert_frame_equal(pd.DataFrame(rank["table"]), pd.DataFrame(alone["table"]))


def test_all_ranks_judge_divergence_by_the_whole_batch(ranks):
    assert ranks[0]["divergence"] == ranks[1]["divergence"]
    assert "Training diverged: the nll of batch 2 of epoch 0 is nan" in ranks[0]["divergence"]


def test_a_parameter_without_gradient_is_told(ranks):
    assert ranks[0]["unused"] == ranks[1]["unused"]
    assert "takes part in every batch, and guide.idle did not" in ranks[0]["unused"]


def test_ctrl_c_at_one_rank_stops_all_after_the_same_epoch(ranks):
    assert ranks[0]["stop"] == ranks[1]["stop"] == {"interrupted": True, "epochs": 2}


def test_the_command_speaks_and_writes_once(launched, ranks):
    folder, done = launched
    assert done.stdout.count("Kept in") == 1
    assert done.stdout.count("on cpu, 2 processes") == 1
    assert done.stdout.count("best reachable") == 1
    assert done.stderr.count("holds another run. Choose another --out") == 1
    assert "Warning" not in done.stderr
    assert done.returncode != 0
    run = load_run(folder / "run")
    assert run.metrics["test"]["predictions"] == len(
        pd.read_parquet(folder / "run" / "ranks.parquet").query("part == 'test'")
    )
    assert len(pd.read_csv(folder / "run" / "history.csv")) == 2
    assert not list((folder / "run").glob(".*"))


@pytest.mark.parametrize("scope", SCOPES)
def test_shares_of_a_batch_make_it_up(scope):
    sequences = Sequences.from_lists([[1] * length for length in range(1, 12)])
    whole = list(Batches(sequences, scope, 4, seed=1))
    shares = [list(Batches(sequences, scope, 4, 1, rank, 3)) for rank in range(3)]
    assert {len(batches) for batches in shares} == {len(whole)}
    for batch, *parts in zip(whole, *shares, strict=True):
        for rank, part in enumerate(parts):
            assert part.rows.tolist() == batch.rows[rank::3].tolist()
            assert part.lengths.tolist() == batch.lengths[rank::3].tolist()
        assert sum(int(part.scored.sum()) for part in parts) == int(batch.scored.sum())


def test_a_plain_run_is_rank_zero_of_one():
    with process_group():
        assert world_size() == 1
        assert list(share("abc")) == ["a", "b", "c"]
        assert gather([1, 2]) == [1, 2]
        assert sum_over_ranks([3.0, 0.5]) == [3.0, 0.5]
        assert at_rank_zero(lambda: "done") == "done"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_torchrun_restarts_a_killed_rank_to_the_same_metrics(tmp_path, killed):
    flags = [*COMMAND, "--epochs", "4", "--batch-size", "8"]

    def command(name, *torchrun):
        return [*TORCHRUN, *torchrun, "-m", "experiments.svi", *flags, "--out", str(tmp_path / name)]

    subprocess.run(command("whole"), cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    with (tmp_path / "printed").open("w") as printed:
        run = subprocess.Popen(command("killed", "--max-restarts", "1"), cwd=ROOT, env=ENVIRONMENT, stdout=printed)
    history = tmp_path / "killed" / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.is_file() and history.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # into the next epoch
    workers = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(workers[killed]), signal.SIGKILL)
    assert run.wait(120) == 0
    assert "started the processes anew" in (tmp_path / "printed").read_text()
    whole, restarted = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert restarted == whole


def test_the_benchmark_tells_what_two_processes_gain(tmp_path):
    log = tmp_path / "log.csv"  # 22 to train on, in batches of 3: the last has fewer rows than there are processes
    log.write_text("SessionId,ItemId,Time\n" + "".join(f"{u},{(u + t) % 5},{t}\n" for u in range(30) for t in range(4)))
    flags = ["--data", str(log), "--hidden", "4", "--contexts", "3", "--batch-size", "3", "--repeats", "1"]
    command = [*TORCHRUN, "-m", "experiments.benchmark", *flags, "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, together = json.loads((tmp_path / "rows.json").read_text())
    assert [alone["system"], together["system"]] == ["one process", "2 processes"]
    assert done.stdout.count(f"are {alone['median'] / together['median']:.2f} times as fast as one") == 1
