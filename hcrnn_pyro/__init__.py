"""HCRNN as a probabilistic program: models, guides, inference, evaluation and reading of the posterior, on Pyro."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hcrnn_pyro.data.sources import DataConfig, load_data
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.metrics import contributions
from hcrnn_pyro.new_items import add_items
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import Run, load_run
from hcrnn_pyro.slices import label_predictions, slice_metrics
from hcrnn_pyro.training_config import TrainingConfig

if TYPE_CHECKING:
    from hcrnn_pyro.pool_folder import load_pool
    from hcrnn_pyro.significance import holm, seeds_t_test, sequence_bootstrap
    from hcrnn_pyro.training import fit

__all__ = [
    "DataConfig",
    "PosteriorPredictive",
    "Run",
    "TrainingConfig",
    "UserError",
    "add_items",
    "contributions",
    "evaluate",
    "fit",
    "holm",
    "label_predictions",
    "load_data",
    "load_pool",
    "load_run",
    "seeds_t_test",
    "sequence_bootstrap",
    "slice_metrics",
    "summarise",
]
__version__ = "0.1.0"

_WHEN_ASKED_FOR = {  # these bring Lightning and parts of SciPy, which take seconds that few commands need
    "fit": "hcrnn_pyro.training",
    "holm": "hcrnn_pyro.significance",
    "load_pool": "hcrnn_pyro.pool_folder",
    "seeds_t_test": "hcrnn_pyro.significance",
    "sequence_bootstrap": "hcrnn_pyro.significance",
}


def __getattr__(name: str) -> Any:
    """Import what takes long only when it is asked for."""
    if name in _WHEN_ASKED_FOR:
        return getattr(import_module(_WHEN_ASKED_FOR[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
