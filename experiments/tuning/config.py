"""What is searched, and how: the flags of ``python -m experiments.tune``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.children import LOCK
from experiments.svi import SVIConfig, default_config
from experiments.tables.config import require_jobs
from hcrnn_pyro.data.sources import DataConfig
from hcrnn_pyro.errors import require
from hcrnn_pyro.pair import PairConfig
from hcrnn_pyro.training_config import LOWER_IS_BETTER, Monitor, TrainingConfig

FILE, FOLDER = "study.db", "trials"
FILES = {FILE, FOLDER, LOCK}  # of a search that has not come to its report
DEFAULT_SPACE = Path(__file__).with_name("space.toml")


@dataclass(frozen=True)
class TuneConfig:
    """Search good flags of experiments.svi by the validation part; the test part is not read.

    The same command again goes on where it was stopped; finished trials are never repeated.
    """

    data: str = "citeulike"
    """Name of a data set, or path of a log."""
    data_dir: Path | None = None
    """Folder where data sets are looked for first; else $HCRNN_DATA, the cache, a download."""
    columns: str = DataConfig.columns
    """Columns of a log: session,item,time, or session,item where the rows are in order."""
    model: str = PairConfig.model
    """Model: a registered name, or my_file:MyModel."""
    space: Path = DEFAULT_SPACE
    """TOML file of flags of experiments.svi: values, and ranges to search; by default one for hcrnn3-bi."""
    monitor: Monitor = TrainingConfig.monitor
    """Validation metric that is searched by; it also picks the best epoch of each trial."""
    trials: int = 40
    """Trials in all, those of earlier commands in the folder included."""
    warmup: int = 3
    """Epochs that every trial may train before it can be pruned."""
    seed: int = 0
    """Seed of the search, and of each trial's training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    jobs: int = 1
    """Trials at a time, with one thread each."""
    out: Path = Path("tune")
    """Folder of the study, its trials and the report."""

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"--trials is a whole number of at least 1; got {self.trials}.")
        require(self.warmup >= 0, f"--warmup is a number of epochs, at least 0; got {self.warmup}.")
        require_jobs(self.jobs, self.out)
        found = {file.name for file in self.out.iterdir()} if self.out.exists() else set()
        foreign = sorted(found - FILES)
        require(
            FILE in found or not foreign,
            f"--out: {self.out} holds {', '.join(foreign[:3])}, which no search wrote. Choose another --out.",
        )

    @property
    def lower_is_better(self) -> bool:
        """The metric's direction."""
        return self.monitor in LOWER_IS_BETTER

    def base(self, source: DataConfig) -> SVIConfig:
        """The flags of every trial before the space has its say.

        Args:
            source: of the data.
        """
        default = default_config(self.model)
        training = replace(default.training, monitor=self.monitor, seed=self.seed, device=self.device)
        return replace(default, data=source, training=training)
