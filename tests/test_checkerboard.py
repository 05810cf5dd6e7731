"""A task with one right answer, which every model must learn: item i is followed by item i + 1, in a circle.

The items so far are an arc of the circle, so even a model that reads them as a bag can tell what follows.
"""

from dataclasses import fields

import numpy as np
import pyro
import pytest
import torch

from hcrnn_pyro.contracts import Prepared, has_parameters
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.evaluation import evaluate
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.prediction import PosteriorPredictive
from models import MODELS
from tests.cycles import CYCLE, cycles

SETTINGS = {"hidden": 16, "contexts": 3, "dropout": 0.0, "dropout_in": 0.0, "dropout_out": 0.0}
STEPS = 60
RIGHT = 0.95  # guessing is right once in eight
SYMMETRIC = {"pop", "s-pop", "item-knn", "item-knn-decay", "s-knn"}  # cannot tell what follows from what went before
LOSSES = [("gru4rec", {"loss": "top1"}), ("gru4rec", {"loss": "bpr-max"})]
CASES = [(name, {}) for name in MODELS if name not in SYMMETRIC] + LOSSES


@pytest.mark.parametrize(("name", "changed"), CASES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_what_follows_is_learned(name, changed):
    names = {field.name for field in fields(MODELS[name].config)}
    settings = {key: value for key, value in SETTINGS.items() if key in names} | changed
    model, guide = build_pair(PairConfig(name), settings, CYCLE)
    train = cycles(0, 60)
    if isinstance(model, Prepared):
        model.prepare(train)
    if has_parameters(model, guide):
        descend(Objective(model, guide, pyro.infer.Trace_ELBO()), train)
    ranks = evaluate(PosteriorPredictive(model.eval(), guide.eval()), cycles(1, 20), "one-pass")["rank"]
    right = (ranks == 1).mean()
    assert right > RIGHT, f"{right:.2f} of the answers are right"


def descend(objective, train):
    adam = torch.optim.Adam(objective.parameters(), lr=0.05)
    batch = make_batch(train, np.arange(len(train)), train.lengths - 1, "sequence")
    for _ in range(STEPS):
        adam.zero_grad()
        terms = objective(batch)
        (terms.loss / terms.predictions).backward()
        adam.step()
