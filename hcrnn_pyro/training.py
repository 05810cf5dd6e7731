"""Stochastic variational inference with Lightning: early stopping, checkpoints that resume exactly, a clean Ctrl-C."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import lightning.pytorch as pl
import pandas as pd
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn

from hcrnn_pyro.checks import require_scopes
from hcrnn_pyro.contracts import Prepared, has_parameters
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.distributed import (
    any_rank,
    at_rank_zero,
    barrier,
    local_world_size,
    process_group,
    rank,
    world_size,
)
from hcrnn_pyro.guide_refit import refit_guide
from hcrnn_pyro.keeping import KeepBestAndLast
from hcrnn_pyro.memory import hold_freed_memory
from hcrnn_pyro.nn.event_inputs import require_times
from hcrnn_pyro.progress import RunProgress
from hcrnn_pyro.runs import CHECKPOINT, HISTORY, load_weights, save_weights
from hcrnn_pyro.svi_module import VALIDATION_SCOPE, Interrupted, SVIModule
from hcrnn_pyro.training_config import LOWER_IS_BETTER, TrainingConfig


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training came to.

    Attributes:
        history: one row per epoch; none for a pair without parameters.
        best_epoch: epoch (from 0) whose weights the pair now holds; ``None`` for a pair without parameters.
        best_value: its monitored validation metric, or ``None`` likewise.
        interrupted: whether the user stopped it.
    """

    history: pd.DataFrame
    best_epoch: int | None
    best_value: float | None
    interrupted: bool


def fit(
    model: nn.Module,
    guide: nn.Module,
    data: DataSet,
    config: TrainingConfig,
    folder: Path | None = None,
    resume: bool = False,
    keep_last: bool = False,
) -> FitResult:
    """Train a pair in place; afterwards it holds the weights of the best epoch, or of the last if asked.

    A pair without parameters is not trained: it is prepared, which is counting, and kept.

    Under ``torchrun`` every rank calls it with the same arguments and ends with the same weights and history.

    Args:
        model: the Pyro model.
        guide: its guide.
        data: training and validation parts; the test part is not read.
        config: how to train.
        folder: where history, weights and checkpoint go; ``None`` keeps them in a temporary folder.
        resume: continue from the checkpoint in ``folder``, if there is one.
        keep_last: train for all epochs, and hold the weights of the last: for a validation part that is trained on.

    Raises:
        UserError: the model reads times that the data do not have.
        Diverged: when the loss is NaN, infinite or far above uniform guessing.
        Interrupted: when the user stops before the first epoch ends, so that there is no epoch to keep.
    """
    hold_freed_memory()
    with process_group(), _folder(folder) as path:
        return _fit(model, guide, data, config, path, resume, keep_last)


def _fit(
    model: nn.Module,
    guide: nn.Module,
    data: DataSet,
    config: TrainingConfig,
    folder: Path,
    resume: bool,
    keep_last: bool,
) -> FitResult:
    require_times(model, data)
    if isinstance(model, Prepared):
        model.prepare(data.train)
    if not has_parameters(model, guide):
        return _keep_counts(model, guide, folder)
    metric, lower_is_better = f"valid_{config.monitor}", config.monitor in LOWER_IS_BETTER
    mode = "min" if lower_is_better else "max"
    patience = config.epochs if keep_last else config.patience
    stopping = EarlyStopping(metric, mode=mode, patience=patience, check_on_train_epoch_end=True)
    module = SVIModule(model, guide, data, config, folder / HISTORY)
    kept = KeepBestAndLast(model, guide, module.average, folder, metric, lower_is_better, keep_last)
    require_scopes(model, guide, data.train, [config.scope, VALIDATION_SCOPE])
    module.train()
    trainer = _trainer(config, folder, [RunProgress(), stopping, kept])
    last = folder / CHECKPOINT
    interrupted = False
    try:
        with _interruptible(module), _expected_warnings():
            trainer.fit(module, ckpt_path=last if resume and last.is_file() else None, weights_only=True)
    except Interrupted:
        interrupted = True
    interrupted = interrupted or any_rank(module.stop_requested)  # asked after the last batch
    if kept.best_value is None:
        raise Interrupted("Stopped before the first epoch ended; there is no trained model to keep.")
    load_weights(folder, model, guide)
    if config.guide_epochs and not interrupted:
        barrier()  # every rank has read the weights
        refit_guide(model.to(config.torch_device), guide.to(config.torch_device), data, config, keep_last)
        at_rank_zero(lambda: save_weights(folder, model, guide))
    barrier()  # a temporary folder is there until every rank has read it
    return FitResult(pd.DataFrame(module.history), kept.best_epoch, kept.best_value, interrupted)


def _keep_counts(model: nn.Module, guide: nn.Module, folder: Path) -> FitResult:
    model.eval(), guide.eval()
    if rank() == 0:
        save_weights(folder, model, guide)
    return FitResult(pd.DataFrame(), best_epoch=None, best_value=None, interrupted=False)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The folder for all ranks, made if need be; for ``None`` a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    temporary = Path(at_rank_zero(tempfile.mkdtemp))
    try:
        yield temporary
    finally:
        if rank() == 0:
            shutil.rmtree(temporary)


def _trainer(config: TrainingConfig, folder: Path, callbacks: list[Callback]) -> pl.Trainer:
    # Lightning announces devices, its tips and its own internals at INFO; a run prints what a user asked for.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator=config.torch_device,
        **_processes(),
        max_epochs=config.epochs,
        default_root_dir=folder,
        callbacks=callbacks,
        logger=_tensorboard(folder),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )


def _processes() -> dict[str, Any]:
    """The Trainer's settings of where it runs: in this process alone, or with one device for each of torchrun's."""
    if world_size() == 1:
        return {"devices": 1}
    local = local_world_size()
    return {"devices": local, "num_nodes": world_size() // local, "strategy": "ddp"}


def _tensorboard(folder: Path) -> pl.loggers.TensorBoardLogger | Literal[False]:
    """TensorBoard's log beside ``history.csv`` where TensorBoard is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return False
    return pl.loggers.TensorBoardLogger(folder, name="tensorboard", version="")


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Warnings of Lightning that tell the user nothing."""
    with warnings.catch_warnings():
        # Lightning 2.6 asks torch >= 2.9 about its pytrees in an old way, once an epoch; nothing of ours is involved.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # What is logged was summed over the ranks before.
        warnings.filterwarnings("ignore", r"It is recommended to use `self.log\(.*sync_dist=True", UserWarning)
        yield


@contextmanager
def _interruptible(module: SVIModule) -> Iterator[None]:
    """Let Ctrl-C raise :class:`Interrupted`; Lightning would end the process at a KeyboardInterrupt.

    One of several ranks may not leave alone, as the others would wait for it: it asks all to stop together.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if world_size() == 1:
            raise Interrupted
        module.stop_requested = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield
        return
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
