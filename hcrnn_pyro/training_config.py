"""How a pair is trained: the settings of :func:`hcrnn_pyro.training.fit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hcrnn_pyro.data.batches import Scope
from hcrnn_pyro.devices import Device, torch_device
from hcrnn_pyro.elbo import Bound
from hcrnn_pyro.errors import require

Monitor = Literal["recall@3", "recall@20", "mrr@3", "mrr@20", "nll", "elbo"]
LOWER_IS_BETTER = {"nll"}


@dataclass(frozen=True)
class TrainingConfig:
    """How the pair is trained."""

    epochs: int = 100
    """Most epochs to run; early stopping usually ends sooner."""
    batch_size: int = 16
    """Rows in a batch, of all processes: sequences, or prefixes with --scope prefix (the authors: 512 prefixes)."""
    lr: float = 3e-3
    """Learning rate of Adam."""
    averaging: float = 0.0
    """Share of the weights' moving average that a step keeps (try 0.99); the averages are validated and kept."""
    kl_weight: float = 1.0
    """Weight of the KL term; 1 is the true ELBO, the authors use 1e-3."""
    kl_anneal: int = 0
    """Epochs over which the KL weight rises linearly from 0 to --kl-weight."""
    free_bits: float = 0.0
    """Nats of KL a row that cost nothing, against a posterior that collapses onto the prior."""
    objective: Bound = "elbo"
    """elbo: Trace_ELBO. mean-field-elbo: its KL term in closed form where there is one. iwae: importance-weighted."""
    particles: int = 1
    """Draws of the latents for each row and step; iwae needs at least 2."""
    guide_epochs: int = 0
    """Epochs in which the guide alone is then fitted to the finished model, without dropout."""
    scope: Scope = "sequence"
    """What shares one theta in training: a sequence (paper), a prefix (authors' code) or a step (filtering)."""
    monitor: Monitor = "mrr@20"
    """Validation metric that picks the best epoch and stops early (the authors: recall@20)."""
    patience: int = 10
    """Epochs without a better --monitor before training stops."""
    check_every_batch: bool = False
    """Let Pyro check shapes and supports at every batch, not at the first two alone; for work on a prior or guide."""
    seed: int = 0
    """Seed of initial weights, order of batches, dropout and draws."""
    device: Device = "auto"
    """Where to train; auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--epochs", self.epochs),
            ("--batch-size", self.batch_size),
            ("--patience", self.patience),
            ("--particles", self.particles),
        ):
            require(value >= 1, f"{flag} is a whole number of at least 1; got {value}.")
        require(0 < self.lr < math.inf, f"--lr is above 0 and finite; got {self.lr}.")
        require(0 <= self.averaging < 1, f"--averaging is a share in [0, 1), e.g. 0.99; got {self.averaging}.")
        require(
            0 <= self.kl_weight < math.inf, f"--kl-weight is at least 0 (1 is the true ELBO); got {self.kl_weight}."
        )
        require(self.kl_anneal >= 0, f"--kl-anneal is a number of epochs, at least 0; got {self.kl_anneal}.")
        require(0 <= self.free_bits < math.inf, f"--free-bits is a number of nats, at least 0; got {self.free_bits}.")
        if self.objective == "iwae":
            require(self.particles >= 2, "--objective iwae needs --particles of at least 2; of one it is the ELBO.")
            require(
                (self.kl_weight, self.kl_anneal, self.free_bits) == (1, 0, 0),
                "--objective iwae has no KL term of its own: leave --kl-weight, --kl-anneal and --free-bits out.",
            )
        require(self.guide_epochs >= 0, f"--guide-epochs is a number, at least 0; got {self.guide_epochs}.")
        require(0 <= self.seed < 2**32, f"--seed is a whole number from 0 to 2^32 - 1; got {self.seed}.")

    @property
    def torch_device(self) -> str:
        """``cpu`` or ``cuda``."""
        return torch_device(self.device)
