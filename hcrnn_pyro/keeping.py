"""What training keeps on disk while it runs: the weights of the best epoch so far, and all that resuming needs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from hcrnn_pyro.averaging import WeightAverage
from hcrnn_pyro.distributed import rank
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.runs import CHECKPOINT, save_weights


class KeepBestAndLast(Checkpoint):
    """After every epoch: ``model.safetensors`` if its weights are to be kept, then the checkpoint to resume from.

    Each file is replaced as a whole, so a kill at any moment leaves a folder that resumes; and nothing in them
    names the folder, so it may be moved.

    Args:
        model: the Pyro model.
        guide: its guide.
        average: of whose weights the best epoch's are kept.
        folder: the run folder.
        metric: name of the logged metric that ranks the epochs.
        lower_is_better: its direction.
        always: keep the weights of the last epoch instead of those of the best.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        average: WeightAverage,
        folder: Path,
        metric: str,
        lower_is_better: bool,
        always: bool = False,
    ) -> None:
        self.pair = (model, guide)
        self.average = average
        self.folder = folder
        self.metric = metric
        self.sign = -1.0 if lower_is_better else 1.0
        self.always = always
        self.best_value: float | None = None
        self.best_epoch = -1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning calls this after validation and early stopping, whose state goes into the checkpoint."""
        value = float(trainer.callback_metrics[self.metric])
        if self.always or self.best_value is None or self.sign * value > self.sign * self.best_value:
            self.best_value, self.best_epoch = value, trainer.current_epoch
            if rank() == 0:
                with self.average.applied():
                    save_weights(self.folder, *self.pair)
        file = self.folder / CHECKPOINT
        with whole_file(file) if rank() == 0 else nullcontext(file) as path:
            trainer.save_checkpoint(path)  # every rank has to call it; rank zero writes

    def state_dict(self) -> dict[str, Any]:
        """Which epoch's weights are kept, and how good it is."""
        return {"best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the comparison up again."""
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]
