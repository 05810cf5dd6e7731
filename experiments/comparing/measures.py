"""The numbers of one finished run: what its posterior is worth, kept in its folder, and what it recommends and cost."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd

from experiments.options import from_dict
from experiments.tables.plan import PlannedRun
from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.files import write_json
from hcrnn_pyro.posterior.assessment import Assessment, assess
from hcrnn_pyro.runs import HISTORY, METRICS, load_run
from hcrnn_pyro.training_config import TrainingConfig

ASSESSMENT = "assessment.json"
RANKING = ("recall@20", "mrr@20", "nll")


def assessment_of(run: PlannedRun, data: DataSet, draws: int) -> Assessment:
    """The assessment of a finished run: that in its folder, or a new one where that is of other draws.

    Args:
        run: a finished run; its seed is that of the draws too.
        data: the data it was trained on.
        draws: of each sequence's posterior.
    """
    file = run.folder / ASSESSMENT
    if file.is_file():
        kept = from_dict(Assessment, json.loads(file.read_text(encoding="utf-8")))
        if (kept.draws, kept.seed) == (draws, run.seed):
            return kept
    print(f"Reading the posterior of {run}.", flush=True)
    trained = load_run(run.folder)
    device = from_dict(TrainingConfig, trained.config["training"]).torch_device
    assessment = assess(trained, data, draws, run.seed, device)
    write_json(file, asdict(assessment))
    return assessment


def measures(run: PlannedRun, assessment: Assessment) -> dict[str, float | None]:
    """All numbers of a run by name; ``None`` for what it has not."""
    test = json.loads((run.folder / METRICS).read_text(encoding="utf-8"))["test"]
    share = assessment.reliable_share
    return {
        "elbo_per_prediction": assessment.elbo_per_prediction,
        "elbo_per_sequence": assessment.elbo,
        "iwae_per_sequence": assessment.iwae,
        "reliable_percent": None if share is None else 100 * share,
        "active_contexts": assessment.active,
        "kl_per_sequence": assessment.kl,
        "coherence": assessment.coherence,
        **{name: test[name] for name in RANKING},
        "seconds": float(pd.read_csv(run.folder / HISTORY)["seconds"].sum()),
    }
