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
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import Method, evaluate_parts
from hcrnn_pyro.pair import NONE
from hcrnn_pyro.pool_folder import check_pool_folder, save_pool
from hcrnn_pyro.pooling import LogPool, fit_pool
from hcrnn_pyro.posterior.reliability import reliability
from hcrnn_pyro.prediction import Scorer
from hcrnn_pyro.report import result_table
from hcrnn_pyro.runs import CONFIG, Run, load_run

COMMAND = "python -m experiments.pool"


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
    data_dir: Path | None = None
    """Folder where the runs' data are looked for first; else the one the first run was started with."""

    def __post_init__(self) -> None:
        require(len(self.runs) > 0, "--runs names no folder; give at least one finished run.")
        twice = sorted({str(run) for run in self.runs if self.runs.count(run) > 1})
        require(not twice, f"--runs names {', '.join(twice)} more than once.")


def main(argv: list[str] | None = None) -> None:
    """Parse, read, weigh, evaluate, report."""
    config = parse(PoolOptions, COMMAND, argv)
    check_pool_folder(config.out)
    runs = [_read(folder) for folder in config.runs]
    data = data_of_run(runs[0], config.data_dir)
    _require_same_data(runs)
    method: Method = "one-pass" if all(_without_latent(run) for run in runs) else config.evaluation
    scorers = tuple(run.predictive for run in runs)
    selected = fit_pool([run.selected.predictive for run in runs], data.valid, method, items=data.catalogue_size)
    pool = LogPool(scorers, selected.weights)
    print(f"{_weights(runs, pool, data)}\n", flush=True)
    metrics, ranks = evaluate_parts({"valid": selected, "test": pool}, data, method)
    everyone: tuple[Scorer, ...] = (*scorers, pool)
    errors = [_calibration_error(scorer, data, method) for scorer in everyone]
    about = {"evaluation": method, "test_calibration_error": errors[-1]}
    save_pool(config.out, runs, pool, about, metrics, ranks)
    print(f"{_side_by_side(runs, metrics, errors)}\n\n{result_table(metrics, data, _main_model(runs, pool))}\n")
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


def _main_model(runs: list[Run], pool: LogPool) -> str:
    """The model of the run with the highest weight."""
    weight, place = max((weight, -place) for place, weight in enumerate(pool.weights))
    return str(runs[-place].config["pair"]["model"]) if weight > 0 else ""


def _weights(runs: list[Run], pool: LogPool, data: DataSet) -> str:
    lines = [f"Weights by the log score of the {data.valid.predictions:,} predictions of the valid part:"]
    for run, weight in zip(runs, pool.weights, strict=True):
        lines.append(f"  {weight:6.3f}  {run.config['pair']['model']}, {run.folder}")
    if len(runs) == 1 and pool.weights[0] > 0:
        lines.append(f"  (a temperature of {1 / pool.weights[0]:.2f})")
    return "\n".join(lines)


def _calibration_error(scorer: Scorer, data: DataSet, method: Method) -> float:
    """How far the probability of the most probable item is from how often it comes, on the test part."""
    return reliability(scorer, data.test, method, items=data.catalogue_size).ece


def _side_by_side(runs: list[Run], metrics: dict[str, dict[str, float]], errors: list[float]) -> str:
    """Each run alone, and the pool. Ties are counted against, as some that count live on them."""
    columns = ("recall@3", "recall@20", "mrr@3", "mrr@20", "nll", "calibration error")
    all_metrics = {**{str(run.folder): run.metrics for run in runs}, "the pool": metrics}
    rows = {
        name: {**of_run["test_pessimistic_ties"], "calibration error": error}
        for (name, of_run), error in zip(all_metrics.items(), errors, strict=True)
    }
    formats = dict.fromkeys(columns, "{:.2f}".format) | {"nll": "{:.3f}".format, columns[-1]: "{:.4f}".format}
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(columns))
    return (
        f"Each run alone and the pool, on the test part, ties counted against:\n\n{table.to_string(formatters=formats)}"
    )


if __name__ == "__main__":
    run_command(main)
