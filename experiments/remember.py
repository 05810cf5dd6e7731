"""Give a finished run a memory: what followed the states of training that were like this one, beside what it predicts.

python -m experiments.remember --run runs/ml --out runs/ml-memory
python -m experiments.remember --run runs/refit --selected runs/ml-memory --out runs/refit-memory      of its refit

Nothing is trained. How near is near, and how much the memory counts, is chosen by the log score of the valid part. The
new run is read by hcrnn_pyro.load_run, and pooled like any other; docs/memory.md says what it is worth.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.command import run_command
from experiments.options import parse
from experiments.run_data import data_of_run
from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.devices import Device, torch_device
from hcrnn_pyro.errors import require
from hcrnn_pyro.evaluation import evaluate_parts
from hcrnn_pyro.kernel_memory import KernelMemory, Remembering, fit_memory, remember
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.report import result_table
from hcrnn_pyro.runs import HISTORY, Run, load_run, open_run, require_free, save_memory, save_results, save_weights

COMMAND = "python -m experiments.remember"


@dataclass(frozen=True)
class RememberOptions:
    """Give a finished run a memory of its training."""

    run: Path
    """Folder of a finished run of experiments.svi."""
    out: Path
    """Folder of the new run."""
    selected: Path | None = None
    """For a refit, whose valid part judges nothing: the run with a memory that its first run became."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    data_dir: Path | None = None
    """Folder where the run's data are looked for first; else the one the run was started with."""


def main(argv: list[str] | None = None) -> None:
    """Parse, read, remember, evaluate, report."""
    options = parse(RememberOptions, COMMAND, argv)
    run = load_run(options.run)
    selected = _check(run, options)
    require_free(options.out)
    data = data_of_run(run, options.data_dir)
    device = torch_device(options.device)
    predictive = PosteriorPredictive(run.model, run.guide).to(device)
    memory = _memory(predictive, selected, data, device)
    print(_told(memory, selected), flush=True)
    asked = Remembering(predictive, memory)
    judged = asked if selected is None else selected.predictive.to(device)
    method = run.config["evaluation"]["evaluation"]
    metrics, ranks = evaluate_parts({"valid": judged, "test": asked}, data, method, device)
    new = {
        "memory": {"bandwidth": memory.bandwidth, "share": memory.share},
        "remembers": os.path.relpath(run.folder, options.out),
    }
    refits = {} if selected is None else {"refits": os.path.relpath(selected.folder, options.out)}
    open_run(options.out, run.config | new | refits, run.items)
    save_weights(options.out, run.model, run.guide)
    save_memory(options.out, memory)
    shutil.copyfile(run.folder / HISTORY, options.out / HISTORY)
    save_results(options.out, metrics, ranks)
    print(f"\n{result_table(metrics, data, run.config['pair']['model'])}\n\nKept in {options.out}")


def _check(run: Run, options: RememberOptions) -> Run | None:
    """Refuse what cannot remember; the run with a memory of a refit's first run."""
    require(bool(run.metrics), f"--run: {run.folder} is not finished. Finish it with --resume.")
    require(run.memory is None, f"--run: {run.folder} has a memory already.")
    require("added_items" not in run.config, f"--run: {run.folder} was given new items, which no training has shown.")
    require(
        has_parameters(run.model, run.guide),
        f"--run: {run.folder} holds a {run.config['pair']['model']}, which counts and has no states to remember.",
    )
    first = run.config.get("refits")
    if first is None:
        require(options.selected is None, f"--selected is for a refit, and {run.folder} is none; leave it out.")
        return None
    where = run.folder / first
    require(
        options.selected is not None,
        f"--run: {run.folder} refits the run in {where} on the valid part as well, which judges nothing then. Remember "
        "that one first, and name it by --selected.",
    )
    assert options.selected is not None
    selected = load_run(options.selected)
    made_of = selected.config.get("remembers")
    require(
        made_of is not None and (selected.folder / made_of).resolve() == where.resolve(),
        f"--selected: {selected.folder} is not what {where} became with a memory.",
    )
    return selected


def _memory(predictive: PosteriorPredictive, selected: Run | None, data: DataSet, device: str) -> KernelMemory:
    if selected is None:
        return fit_memory(remember(predictive, data.train, device), predictive, data.valid, device)
    assert selected.memory is not None
    memory = remember(predictive, data.with_valid_in_train().train, device)
    return replace(memory, bandwidth=selected.memory.bandwidth, share=selected.memory.share)


def _told(memory: KernelMemory, selected: Run | None) -> str:
    by = "by the log score of the valid part" if selected is None else f"as in {selected.folder}"
    return (
        f"{len(memory.items):,} states of training, along {memory.states.shape[1]} axes; bandwidth "
        f"{memory.bandwidth:.3g}, share {memory.share:.3f}, {by}."
    )


if __name__ == "__main__":
    run_command(main)
