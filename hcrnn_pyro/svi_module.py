"""The training loop's insides: what happens in a batch and at the end of an epoch.

Lightning's Trainer calls these hooks; :func:`hcrnn_pyro.training.fit` starts it.
"""

from __future__ import annotations

import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hcrnn_pyro.averaging import WeightAverage
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch, Batches, batches_by_length
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.distributed import any_rank, gather, rank, share, world_size
from hcrnn_pyro.elbo import Objective, Terms, Totals, make_bound
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.evaluation import SCOPE_OF, Method, evaluate, summarise
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.memory import return_freed_memory
from hcrnn_pyro.posterior.activity import posterior_activity
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.progress import epoch_line
from hcrnn_pyro.training_config import TrainingConfig

VALIDATION: Method = "one-pass"
VALIDATION_SCOPE = SCOPE_OF[VALIDATION]
# Draws of theta for each sequence of the valid part, to see whether it is alive; one theta a step costs more.
EPOCH_DRAWS = {"sequence": 20, "prefix": 20, "filtering": 5}
VALIDATION_POSITIONS = 1_600  # rows times time of a batch when the ELBO is measured on the valid part


def adam(module: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam over all parameters of a module."""
    return torch.optim.Adam(module.parameters(), lr=lr, fused=True)


class Diverged(UserError):
    """The loss became NaN, infinite or absurdly large."""


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


class SVIModule(pl.LightningModule):
    """One epoch = one pass over the training part, then validation by the one-pass evaluation.

    Every epoch starts from a seed of its own, so that a run resumed at an epoch repeats the run that was never stopped.
    Under ``torchrun`` each rank computes its share of the rows of a batch, and all go on with the whole batch's sums.

    Args:
        model: the Pyro model.
        guide: its guide.
        data: training and validation parts.
        config: how to train.
        history_file: where the history is kept as CSV; ``None`` for nowhere.

    Attributes:
        stop_requested: set it at any rank, and all ranks raise :class:`Interrupted` before their next batch.
    """

    def __init__(
        self, model: nn.Module, guide: nn.Module, data: DataSet, config: TrainingConfig, history_file: Path | None
    ) -> None:
        super().__init__()
        self.objective = Objective(model, guide, make_bound(config.objective, config.particles), config.free_bits)
        self.predictive = PosteriorPredictive(model, guide)
        self.average = WeightAverage(self.objective, config.averaging)
        self.data = data
        self.config = config
        self.history_file = history_file
        self.history: list[dict[str, float]] = []
        self.totals = Totals()
        self.stop_requested = False
        # Uniform guessing costs log V a prediction. The KL term has no such scale: it may start large and fall.
        self.diverged_above = 10 * float(np.log(data.catalogue_size))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over the parameters of model and guide together."""
        return adam(self, self.config.lr)

    def train_dataloader(self) -> Batches:
        """The training batches of the current epoch, in an order of their own."""
        config = self.config
        batches = Batches(self.data.train, config.scope, config.batch_size, self.epoch_seed, rank(), world_size())
        self.batches = len(batches)
        return batches

    @property
    def epoch_seed(self) -> int:
        """A seed that differs between runs and epochs."""
        return int(np.random.SeedSequence([self.config.seed, self.current_epoch]).generate_state(1)[0])

    def on_train_start(self) -> None:
        """A run that had already stopped early when it was killed has nothing left to train."""
        stopping = self.trainer.early_stopping_callback
        if stopping is not None and stopping.wait_count >= stopping.patience:
            self.trainer.should_stop = True
        # Lightning would take SIGTERM for a good end, and in a rank that torchrun ends, broadcast to the dead.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock, sums and random numbers."""
        torch.manual_seed(self.epoch_seed + rank())  # no two rows share their draws
        self.totals = Totals()
        self.epoch_start = time.perf_counter()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Stop where a rank was asked to."""
        if any_rank(self.stop_requested):
            raise Interrupted

    def kl_weight(self, batch_index: int) -> float:
        """The KL weight now: it rises linearly over the first ``kl_anneal`` epochs."""
        progress = self.current_epoch + (batch_index + 1) / self.batches
        return self.config.kl_weight * min(1.0, progress / self.config.kl_anneal if self.config.kl_anneal else 1.0)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of a batch, per prediction."""
        # Shapes and supports seldom change after two batches.
        checked = self.config.check_every_batch or (self.current_epoch == 0 and batch_index < 2)
        terms = self._terms(batch, batch_index, checked).over_ranks()
        loss: Tensor = terms.loss / terms.predictions
        if not (loss.isfinite() and terms.nll / terms.predictions < self.diverged_above):
            raise Diverged(self._divergence(f"{float(terms.nll / terms.predictions):.4g}", batch, batch_index))
        self.totals.add(terms)
        return loss

    def _terms(self, batch: Batch, batch_index: int, checked: bool) -> Terms:
        """The terms of this rank's rows, which may be none."""
        if batch.size == 0:
            return self._no_terms()
        with pyro.validation_enabled(checked), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered NaN")  # told better by the caller
            try:
                return self.objective(batch, self.kl_weight(batch_index))
            except ValueError as error:  # Pyro's own check of a distribution's parameters
                if "nan" not in str(error):
                    raise
                nan = torch.tensor(torch.nan)
                return Terms(nan, nan, nan, int(batch.scored.sum()), batch.size)

    def _no_terms(self) -> Terms:
        """The terms of no rows; the loss gives every parameter a gradient of zero, as the other ranks wait for one."""
        zero = torch.zeros((), device=self.device)
        return Terms(sum((0.0 * parameter.sum() for parameter in self.parameters()), zero), zero, zero, 0, 0)

    def _divergence(self, nll: str, batch: Batch, batch_index: int) -> str:
        rows = gather(batch.rows.tolist())
        names = ", ".join(str(name) for name in self.data.train.ids[rows[:5]])
        return (
            f"Training diverged: the nll of batch {batch_index} of epoch {self.current_epoch} is {nll} nats per "
            f"prediction (sequences {names}, ...). Try a lower --lr than {self.config.lr}."
        )

    def on_after_backward(self) -> None:
        """The ranks wait for each other's gradient of every parameter."""
        if world_size() > 1:
            idle = [name for name, p in self.objective.elbo.named_parameters() if p.requires_grad and p.grad is None]
            require(
                not idle,
                f"Under torchrun every parameter takes part in every batch, and {', '.join(idle)} did not. Leave it "
                "out, freeze it by requires_grad_(False), or train in one process.",
            )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Take the weights of this step into their average."""
        self.average.update()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the epoch's row of the history, and log it."""
        row = {"epoch": float(self.current_epoch), "kl_weight": self.kl_weight(self.batches - 1)}
        row |= {f"train_{name}": value for name, value in self.totals.means().items()}
        row |= {f"valid_{name}": value for name, value in self.validate().items()}
        row["seconds"] = time.perf_counter() - self.epoch_start
        self.history.append(row)
        self.log_dict({name: value for name, value in row.items() if name != "epoch"}, batch_size=1)
        if rank() == 0:
            self.write_history()
            tqdm.write(epoch_line(row, self.config.monitor))
        return_freed_memory()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Ranking metrics and nll by the one-pass evaluation, and the unweighted ELBO per prediction."""
        with self.average.applied():
            return self._validate()

    def _validate(self) -> dict[str, float]:
        self.eval()
        metrics = summarise(self._ranks())
        self._require_finite("nll", metrics["nll"])
        totals = Totals()
        elbo = Objective(self.predictive.model, self.predictive.guide, pyro.infer.Trace_ELBO()).eval()
        for batch in share(batches_by_length(self.data.valid, self.config.scope, VALIDATION_POSITIONS)):
            totals.add(elbo(batch.to(self.device)))
        totals.add_other_ranks()
        metrics["elbo"] = totals.means()["elbo"]
        self._require_finite("elbo", metrics["elbo"])
        metrics |= self._activity()
        self.train()
        return metrics

    def _activity(self) -> dict[str, float]:
        """How many contexts follow the sequences, where there are some: a posterior that collapses is seen at once."""
        model, guide = self.predictive.model, self.predictive.guide
        if not isinstance(model, ContextModel) or len(self.data.valid) < 2:
            return {}
        activity = posterior_activity(
            model, guide, self.data.valid, EPOCH_DRAWS[self.config.scope], self.config.scope, device=self.device
        )
        return {"kl": activity.kl, "active": float(activity.active.sum())}

    def _ranks(self) -> pd.DataFrame:
        return evaluate(self.predictive, self.data.valid, VALIDATION, self.device, self.data.catalogue_size)

    def _require_finite(self, name: str, value: float) -> None:
        if not np.isfinite(value):
            raise Diverged(
                f"Training diverged: after epoch {self.current_epoch} the valid {name} is {value:.4g}. "
                f"Try a lower --lr than {self.config.lr}."
            )

    def write_history(self) -> None:
        """Write the history so far."""
        if self.history_file is not None:
            with whole_file(self.history_file) as temporary:
                pd.DataFrame(self.history).astype({"epoch": int}).to_csv(temporary, index=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep with the weights the history, and what a model calculated from the training part.

        Another machine may calculate it otherwise: the sign of a singular vector is a matter of its linear algebra.
        """
        checkpoint["history"] = self.history
        weights = self.state_dict()
        checkpoint["prepared"] = {name: buffer for name, buffer in self.named_buffers() if name not in weights}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        self.history = checkpoint["history"]
        buffers = dict(self.named_buffers())
        for name, prepared in checkpoint.get("prepared", {}).items():
            if name in buffers and buffers[name].shape == prepared.shape:  # a cache may have grown since
                buffers[name].copy_(prepared)
