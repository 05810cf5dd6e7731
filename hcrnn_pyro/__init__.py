"""HCRNN as a probabilistic program: models, guides, inference, evaluation and reading of the posterior, on Pyro."""

from typing import TYPE_CHECKING, Any

from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import Run, load_run
from hcrnn_pyro.training_config import TrainingConfig

if TYPE_CHECKING:
    from hcrnn_pyro.training import fit

__all__ = [
    "DataConfig",
    "PosteriorPredictive",
    "Run",
    "TrainingConfig",
    "UserError",
    "evaluate",
    "fit",
    "load_data",
    "load_run",
    "summarise",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import ``fit`` when it is asked for: it brings Lightning, which takes seconds that only training needs."""
    if name == "fit":
        from hcrnn_pyro.training import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
