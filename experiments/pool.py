"""Pool finished runs: weigh their next-item probabilities on the valid part, and evaluate what they say together.

python -m experiments.pool --runs runs/a                          one run: its temperature, for calibrated probabilities
python -m experiments.pool --runs runs/a runs/b runs/c            an ensemble, of seeds or of models
python -m experiments.pool --runs runs/a runs/knn runs/markov     a trained model with experts that count

It leaves pool.json (the weights), metrics.json and ranks.parquet in --out; hcrnn_pyro.load_pool reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.command import run_command
from experiments.options import parse
from experiments.run_data import data_of_run
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.devices import Device, torch_device
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import Method, evaluate, evaluate_parts, summarise
from hcrnn_pyro.pair import NONE
from hcrnn_pyro.pool_folder import check_pool_folder, save_pool
from hcrnn_pyro.pooling import LogPool, fit_pool
from hcrnn_pyro.posterior.reliability import Watched
from hcrnn_pyro.prediction import Scorer
from hcrnn_pyro.report import result_table
from hcrnn_pyro.runs import CONFIG, Run, load_run

COMMAND = "python -m experiments.pool"
CALIBRATION = "calibration error"  # expected, of the most probable item
NOTHING = 1e-3  # a weight that leaves nothing of a run


@dataclass(frozen=True)
class PoolOptions:
    """Weigh finished runs by the log score of their pool on the valid part, and evaluate the pool.

    p(y) is proportional to the product of the runs' p(y), each to the power of its weight.
    """

    runs: tuple[Path, ...]
    """Folders of finished runs of experiments.svi on the same data."""
    out: Path
    """Folder of the pool."""
    evaluation: Method = "exact"
    """exact: the guide reads every prefix by itself (the authors). one-pass: theta follows the sequence, faster."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    data_dir: Path | None = None
    """Folder where the runs' data are looked for first; else the one the first run was started with."""

    def __post_init__(self) -> None:
        require(len(self.runs) > 0, "--runs names no folder; give at least one finished run.")
        folders = [run.resolve() for run in self.runs]
        twice = sorted({str(run) for run, folder in zip(self.runs, folders, strict=True) if folders.count(folder) > 1})
        require(not twice, f"--runs names {', '.join(twice)} more than once.")


def main(argv: list[str] | None = None) -> None:
    """Parse, read, weigh, evaluate, report."""
    config = parse(PoolOptions, COMMAND, argv)
    device = torch_device(config.device)
    runs = [_read(folder) for folder in config.runs]
    _require_same_data(runs)
    check_pool_folder(config.out)
    data = data_of_run(runs[0], config.data_dir)
    method: Method = "one-pass" if all(_without_latent(run) for run in runs) else config.evaluation
    before = [run.selected.predictive.to(device) for run in runs]
    selected = fit_pool(before, data.valid, method, device, data.catalogue_size)
    tested = [run.predictive.to(device) for run in runs]
    pool = Watched(LogPool(tuple(tested), selected.weights))
    print(f"{_weights(runs, selected)}\n", flush=True)
    metrics, ranks = evaluate_parts({"valid": selected, "test": pool}, data, method, device)
    rows = {str(run.folder): _alone(one, data, method, device) for run, one in zip(runs, tested, strict=True)}
    rows["the pool"] = metrics["test_pessimistic_ties"] | {CALIBRATION: pool.reliability().ece}
    about = {"evaluation": method, "test_calibration_error": rows["the pool"][CALIBRATION]}
    save_pool(config.out, runs, selected, about, metrics, ranks)
    print(f"{_side_by_side(rows)}\n\n{result_table(metrics, data, runs[0].config['pair']['model'])}\n")
    print(f"Kept in {config.out}")


def _read(folder: Path) -> Run:
    require((folder / CONFIG).is_file(), f"--runs: {folder} holds no run of experiments.svi; {CONFIG} is missing.")
    run = load_run(folder)
    require(bool(run.metrics), f"--runs: {folder} is not finished. Finish it with --resume.")
    return run


def _require_same_data(runs: list[Run]) -> None:
    for run in runs[1:]:
        require(
            run.config["data_sha1"] == runs[0].config["data_sha1"],
            f"--runs: {run.folder} was trained on other data than {runs[0].folder}.",
        )


def _without_latent(run: Run) -> bool:
    return bool(run.config["pair"]["guide"] == NONE)


def _weights(runs: list[Run], pool: LogPool) -> str:
    lines = ["Weights by the log score of the valid part:"]
    for run, weight in zip(runs, pool.weights, strict=True):
        lines.append(f"  {weight:6.3f}  {run.config['pair']['model']}, {run.folder}")
    if max(pool.weights) < NOTHING:
        lines.append("  No run is better than equal chances for all items, which is what this pool gives.")
    elif len(runs) == 1:
        lines.append(f"  (a temperature of {1 / pool.weights[0]:.2f})")
    return "\n".join(lines)


def _alone(predictive: Scorer, data: DataSet, method: Method, device: str) -> dict[str, float]:
    """Metrics of a run on the test part, evaluated as the pool is; ties counted against, as some runs live on them."""
    scorer = Watched(predictive)
    metrics = summarise(evaluate(scorer, data.test, method, device, data.catalogue_size), ties="pessimistic")
    return metrics | {CALIBRATION: scorer.reliability().ece}


def _side_by_side(rows: dict[str, dict[str, float]]) -> str:
    columns = ["recall@3", "recall@20", "mrr@3", "mrr@20", "nll", CALIBRATION]
    formats = dict.fromkeys(columns, "{:.2f}".format) | {"nll": "{:.3f}".format, CALIBRATION: "{:.4f}".format}
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    return (
        f"Each run alone and the pool, on the test part, ties counted against:\n\n{table.to_string(formatters=formats)}"
    )


if __name__ == "__main__":
    run_command(main)
