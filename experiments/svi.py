"""Train a model by stochastic variational inference, and evaluate it by the paper's protocol.

python -m experiments.svi                                    the embedded synthetic set, under three minutes
python -m experiments.svi --data movielens --out runs/ml     the paper's split of MovieLens
python -m experiments.svi --data my_log.csv --columns user,item,when
python -m experiments.svi --preset citeulike                 named settings, the best that were found for a set
python -m experiments.svi --model sasrec                     another model, with flags of its own (add --help)
python -m experiments.svi --model item-knn-decay             a model that is counted, not trained
python -m experiments.svi --refit runs/ml --out runs/final   the same on train and valid together, epochs as were best
python -m experiments.svi --resume --out runs/ml             go on where a killed run stopped
torchrun --nproc-per-node 2 -m experiments.svi               two processes, each with a GPU or on the CPU
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
from torch import nn

from experiments.command import run_command
from experiments.likelihoods import check_support, likelihood_line
from experiments.options import changed_flags, first_look, from_dict, parse, to_dict
from experiments.presets import MODEL, preset_flags
from hcrnn_pyro.checks import require_scopes
from hcrnn_pyro.contracts import ContextModel, has_parameters
from hcrnn_pyro.data.audit import audit
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.distributed import (
    at_rank_zero,
    local_world_size,
    may_restart,
    rank,
    restart_count,
    torchrun_job,
    world_size,
)
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.evaluation import SCOPE_OF, EvaluationConfig, evaluate, evaluate_parts, summarise
from hcrnn_pyro.nn.event_inputs import require_times
from hcrnn_pyro.pair import NONE, PairConfig, build_pair, default_settings
from hcrnn_pyro.posterior.activity import posterior_activity
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.report import pair_summary, result_table
from hcrnn_pyro.runs import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    Run,
    best_epoch,
    check_data,
    load_run,
    read_config,
    refitted_run,
    save_results,
    start_run,
)
from hcrnn_pyro.svi_module import VALIDATION_SCOPE
from hcrnn_pyro.training import Interrupted, fit
from hcrnn_pyro.training_config import TrainingConfig
from models import HCRNNConfig

COMMAND = "python -m experiments.svi"
LATENT_FLAGS = (
    "--kl-weight",
    "--kl-anneal",
    "--free-bits",
    "--objective",
    "--particles",
    "--guide-epochs",
    "--theta-samples",
)
FEW_DRAWS, MANY_DRAWS = 10, 100  # of theta for each sequence of the valid part, to see whether it is alive
FLAGS_OF_COUNTING = ("--seed", "--device")  # of the training flags, those that mean something without training


@dataclass(frozen=True)
class SVIConfig:
    """Train a model by stochastic variational inference, and evaluate it by the paper's protocol.

    The result is printed and kept in a run folder, which hcrnn_pyro.load_run reads.
    """

    data: DataConfig = field(default_factory=DataConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    settings: Any = field(default_factory=HCRNNConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    preset: str | None = None
    """Named settings, citeulike or movielens: the best that were found for a set. Other flags given change them."""
    out: Path | None = None
    """Folder of the run; by default runs/DATA-MODEL-TIME."""
    refit: Path | None = None
    """Folder of a finished run to train anew, on train and valid together and for as many epochs as were best."""
    resume: bool = False
    """Continue the run in --out where it was killed or stopped."""


def main(argv: list[str] | None = None) -> None:
    """Parse, build, run, report."""
    config = at_rank_zero(lambda: configuration(argv))
    device = config.training.torch_device
    data = at_rank_zero(lambda: load_data(config.data))
    print(audit(data))
    model, guide = build(config, data)
    folder = at_rank_zero(lambda: _folder(config, data))
    first = refitted_run(folder)  # before the training, which is lost without it
    if (folder / METRICS).is_file():
        print(f"\nThe run in {folder} is finished.\n")
        print(result_table(load_run(folder).metrics, data, config.pair.model))
        return

    print(
        f"\n{pair_summary(config.pair, model, guide)}\n{likelihood_line(config.settings, data)}\non {_where(device)}\n"
    )
    if config.resume and restart_count() > 0:
        print(f"torchrun started the processes anew; the run in {folder} goes on from its last epoch.\n")
    _train(model, guide, data, config, folder)
    # Draws of theta are the same in a run that was resumed after training.
    pyro.set_rng_seed((config.training.seed + rank()) % 2**32)
    metrics, ranks = _evaluate(model.to(device), guide.to(device), data, config, device, first)
    at_rank_zero(lambda: _finish(folder, metrics, ranks))
    print(f"\n{result_table(metrics, data, config.pair.model)}\n\n{_theta(model, guide, data, config)}Kept in {folder}")


def _theta(model: nn.Module, guide: nn.Module, data: DataSet, config: SVIConfig) -> str:
    """Whether theta is alive, where there is one: a posterior that is the prior should not be read as a finding."""
    if config.pair.guide == NONE or not isinstance(model, ContextModel) or len(data.valid) < 2:
        return ""
    scope = config.training.scope
    draws = FEW_DRAWS if scope == "filtering" else MANY_DRAWS  # one theta a step costs more
    found = posterior_activity(model, guide, data.valid, draws, scope, device=config.training.torch_device)
    seen = ", which it was trained on," if config.refit else ""
    return f"On the valid part{seen} {found.verdict()}\n\n"


def build(config: SVIConfig, data: DataSet) -> tuple[nn.Module, nn.Module]:
    """Model and guide, untrained, from the seed of the training.

    Raises:
        UserError: what was asked for does not go together, or not with the data.
    """
    check_support(config.settings, data)
    pyro.set_rng_seed(config.training.seed)
    model, guide = build_pair(config.pair, asdict(config.settings), data.catalogue_size)
    _refuse_training_flags(config, model, guide)
    _refuse_scopes(config, model, guide, data)
    require_times(model, data)
    return model, guide


def _where(device: str) -> str:
    return device if world_size() == 1 else f"{device}, {world_size()} processes"


def _command() -> str:
    return COMMAND if world_size() == 1 else f"torchrun --nproc-per-node {local_world_size()} -m experiments.svi"


def _train(model: nn.Module, guide: nn.Module, data: DataSet, config: SVIConfig, folder: Path) -> None:
    refits = config.refit is not None
    if refits:
        data = data.with_valid_in_train()
        print("Trained on train and valid together: the valid columns of its epochs are no validation.\n")
    try:
        result = fit(model, guide, data, config.training, folder, config.resume, keep_last=refits)
    except Interrupted as stop:
        raise KeyboardInterrupt(f"\n{stop}") from stop
    if result.best_epoch is None:
        print("Counted, not trained: the model has no parameters.")
        return
    if refits and not result.interrupted:
        print(f"\nRefitted for {len(result.history)} epochs in {result.history['seconds'].sum():.0f} s.")
        return
    if refits:
        raise KeyboardInterrupt(
            f"\nStopped after {len(result.history)} of {config.training.epochs} epochs.\n"
            f"Go on with: {_command()} --resume --out {folder}"
        )
    best = f"epoch {result.best_epoch}, valid {config.training.monitor} {result.best_value:.3f}"
    if result.interrupted:
        raise KeyboardInterrupt(
            f"\nStopped. The best model so far ({best}) is kept in {folder}; the test part was not read.\n"
            f"Go on with: {_command()} --resume --out {folder}"
        )
    print(f"\nBest: {best}, of {len(result.history)} epochs in {result.history['seconds'].sum():.0f} s.")


def _evaluate(
    model: nn.Module, guide: nn.Module, data: DataSet, config: SVIConfig, device: str, first: Run | None
) -> tuple[dict[str, dict[str, float]], pd.DataFrame]:
    samples = config.evaluation.theta_samples
    predictive = PosteriorPredictive(model.eval(), guide.eval(), samples)
    selected = predictive if first is None else PosteriorPredictive(first.model, first.guide, samples).to(device)
    # Without a latent no prefix has a posterior of its own: one pass gives the same numbers, sooner.
    method = "one-pass" if config.pair.guide == NONE else config.evaluation.evaluation
    metrics, ranks = evaluate_parts({"valid": selected, "test": predictive}, data, method, device)
    if data.truth is not None:
        metrics["best_reachable"] = summarise(evaluate(data.truth, data.test, "one-pass"))
    return metrics, ranks


def _folder(config: SVIConfig, data: DataSet) -> Path:
    """The run's folder: a new one, or the one to go on in."""
    folder = config.out or _default_folder(config)
    if config.resume:
        check_data(folder, data)
        added = read_config(folder).get("added_items", 0)
        require(
            not added, f"{folder} holds a run to which items were added, not one to be trained; resume the one before."
        )
        require(
            "memory" not in read_config(folder),
            f"{folder} holds a run with a memory, not one to be trained.",
        )
        if (folder / METRICS).is_file():
            (folder / CHECKPOINT).unlink(missing_ok=True)
    else:
        if config.refit is not None:
            check_data(config.refit, data)
        job = torchrun_job()
        refits = {"refits": os.path.relpath(config.refit, folder)} if config.refit else {}
        start_run(folder, to_dict(config) | refits | ({"torchrun_job": job} if job else {}), data)
    return folder


def _finish(folder: Path, metrics: dict[str, dict[str, float]], ranks: pd.DataFrame) -> None:
    save_results(folder, metrics, ranks)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def configuration(argv: list[str] | None) -> SVIConfig:
    """The flags, among them the chosen model's own; with --resume those of the stored run, which may not be changed."""
    first = first_look(COMMAND, argv, model=None, out=None, resume=False, preset=None, refit=None)
    require(
        first.out is not None or not may_restart(),
        "torchrun --max-restarts needs --out: the folder in which restarted processes go on.",
    )
    if first.refit is not None and not (first.resume or _restarted(first.out)):
        return _refit_configuration(Path(first.refit), argv)
    if not (first.resume or _restarted(first.out)):
        default = _defaults(first.model, first.preset)
        config = parse(SVIConfig, COMMAND, argv, default=default)
        refuse_idle(config, default)
        return config
    if first.out is None:
        raise UserError("--resume needs --out: the folder of the run to continue.")
    stored = stored_config(read_config(Path(first.out)) | {"out": first.out, "resume": True})
    changed = changed_flags(stored, parse(SVIConfig, COMMAND, argv, default=stored))
    require(
        not changed,
        f"{first.out} was started with another {', '.join(changed)}. Leave it out, or choose another --out.",
    )
    return stored


def default_config(model: str) -> SVIConfig:
    """All flags of a model at their defaults.

    Args:
        model: a registered name or a path.
    """
    return SVIConfig(pair=PairConfig(model), settings=default_settings(model))


def stored_config(content: dict[str, Any]) -> SVIConfig:
    """What a run was asked for, from its ``config.json``."""
    settings = from_dict(type(default_settings(content["pair"]["model"])), content["settings"])
    return from_dict(SVIConfig, content | {"settings": settings})


def _refit_configuration(folder: Path, argv: list[str] | None) -> SVIConfig:
    """The flags of a finished run, for as many epochs as were best; besides, where to train and where to put it."""
    require((folder / CONFIG).is_file(), f"--refit: {folder} holds no run; {CONFIG} is missing.")
    run = load_run(folder)
    require(bool(run.metrics), f"--refit: {folder} is not finished. Finish it with --resume.")
    require(run.memory is None, f"--refit: {folder} was given a memory. Refit the run that it remembers.")
    again = run.config.get("refit")
    require(not again, f"--refit: {folder} is a refit itself. Refit the run in {again}.")
    stored = stored_config(run.config | {"out": None, "resume": False, "refit": str(folder)})
    best = best_epoch(folder)
    if best is not None:
        stored = replace(stored, training=replace(stored.training, epochs=best + 1))
    config = parse(SVIConfig, COMMAND, argv, default=stored)
    own = ("--out", "--device", "--data-dir")
    changed = [flag for flag in changed_flags(stored, config) if flag not in own]
    require(not changed, f"--refit takes the flags of {folder}; leave out {', '.join(changed)}.")
    return config


def _defaults(model: str | None, preset: str | None) -> SVIConfig:
    """What the flags are where they are not given: those of the model, or of the preset."""
    model = model or (MODEL if preset else PairConfig.model)
    own = default_config(model)
    if preset is None:
        return own
    require(model == MODEL, f"--preset {preset} holds settings of {MODEL}; leave --model {model} or the preset out.")
    return parse(SVIConfig, COMMAND, preset_flags(preset), default=own)


def refuse_idle(config: SVIConfig, default: SVIConfig) -> None:
    """Refuse flags that would change nothing: those of the latent, for a model without one.

    Args:
        config: what is asked for.
        default: the model's defaults.
    """
    changed = changed_flags(default, config) if config.pair.guide == NONE else []
    idle = [flag for flag in changed if flag in LATENT_FLAGS]
    require(not idle, f"{config.pair.model} has no latent variable, so {', '.join(idle)} would change nothing.")


def _refuse_training_flags(config: SVIConfig, model: nn.Module, guide: nn.Module) -> None:
    """Refuse flags that would change nothing: those of training, for a pair that has no parameter to train."""
    changed = [] if has_parameters(model, guide) else changed_flags(TrainingConfig(), config.training)
    idle = [flag for flag in changed if flag not in FLAGS_OF_COUNTING]
    require(
        not idle,
        f"{config.pair.model} has no parameters: it is counted, not trained; {', '.join(idle)} would change nothing.",
    )


def _refuse_scopes(config: SVIConfig, model: nn.Module, guide: nn.Module, data: DataSet) -> None:
    """Refuse a pair that cannot train, be validated or be evaluated as the flags say; without a latent, any can."""
    if config.pair.guide != NONE:
        evaluation = SCOPE_OF[config.evaluation.evaluation]
        require_scopes(model, guide, data.train, [config.training.scope, VALIDATION_SCOPE, evaluation])


def _restarted(out: str | None) -> bool:
    """Whether torchrun has started the processes anew after one died, so that their run goes on from its checkpoint."""
    return (
        restart_count() > 0
        and out is not None
        and (Path(out) / CONFIG).is_file()
        and read_config(Path(out)).get("torchrun_job", "") == torchrun_job()
    )


def _default_folder(config: SVIConfig) -> Path:
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    refit = "-refit" if config.refit else ""
    return Path("runs") / f"{Path(config.data.data).stem}-{config.pair.model}{refit}-{time}"


if __name__ == "__main__":
    run_command(main)
