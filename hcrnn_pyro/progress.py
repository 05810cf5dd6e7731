"""What a training run shows: one bar over all its batches, and one line for every epoch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class RunProgress(ProgressBar):
    """A bar over the whole run with loss, best validation metric and time left.

    Silent where output is no terminal, and at other ranks than zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Lightning's switch for runs without a bar; this one looks at the terminal itself."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the run starts, or where it is taken up again."""
        batches = int(trainer.num_training_batches)
        total = batches * (trainer.max_epochs or 1)
        disable = None if trainer.is_global_zero else True  # None: where output is no terminal
        start = batches * trainer.current_epoch
        self.bar = tqdm(total=total, initial=start, unit="batch", disable=disable, leave=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance, and show the loss."""
        if self.bar is None or self.bar.disable:
            return
        best = trainer.early_stopping_callback.best_score if trainer.early_stopping_callback else None
        shown = {"epoch": trainer.current_epoch, "loss": f"{float(outputs['loss']):.3f}"}
        if best is not None and best.isfinite():
            shown["best"] = f"{float(best):.2f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def epoch_line(row: dict[str, float], monitor: str) -> str:
    """One epoch in a line.

    Args:
        row: the epoch's row of the history.
        monitor: name of the validation metric that picks the best epoch.
    """
    shown = [monitor, *(name for name in ("recall@20", "mrr@20", "nll") if name != monitor)]
    metrics = "  ".join(f"{name} {row[f'valid_{name}']:.3f}" for name in shown)
    active = f"  active {row['valid_active']:.0f}" if "valid_active" in row else ""
    return (
        f"epoch {row['epoch']:>3.0f}  train nll {row['train_nll']:.3f}  kl {row['train_kl']:.3f}  "
        f"elbo {row['train_elbo']:.3f}  |  valid {metrics}{active}  |  {row['seconds']:.1f} s"
    )
