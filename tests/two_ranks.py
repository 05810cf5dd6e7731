"""What tests/test_distributed.py looks at, in each of torchrun's processes: ``torchrun ... -m tests.two_ranks FOLDER``.

Dropout is 0 and every draw lies half a scale above its mean, so that one process and two draw the same.
"""

import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from experiments import svi
from experiments.command import run_command
from guides import GUIDES
from hcrnn_pyro.data.batches import SCOPES
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.distributed import rank
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.svi_module import Diverged, SVIModule
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from models import MODELS, PRIORS

ITEMS = 12
ROWS, BATCH = 25, 8  # the fourth batch has one row, and the second rank none of it
COMMAND = ["--hidden", "8", "--contexts", "4", "--epochs", "2", "--batch-size", "64", "--device", "cpu"]


def data():
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, 3 * ROWS)
    lists = [[int(item) for item in random.integers(1, ITEMS + 1, length)] for length in lengths]
    train, valid, test = (Sequences.from_lists(lists[start::3]) for start in range(3))
    return DataSet("random", train, valid, test, pd.DataFrame({"item_id": [str(i) for i in range(ITEMS)]}))


def pair():
    pyro.set_rng_seed(0)
    sizes = {"hidden": 8, "contexts": 3, "dropout_in": 0.0, "dropout_out": 0.0}
    model = MODELS["hcrnn3-bi"](items=ITEMS, make_prior=PRIORS["logistic-normal"], **sizes)
    return model, GUIDES["bag-of-items"](model)


def half_a_scale_above(normal, sample_shape=()):
    shape = torch.Size((*sample_shape, *normal.batch_shape))
    return (normal.loc + 0.5 * normal.scale).expand(shape)


def train(lr, epochs, **settings):
    return fit(*pair(), data(), TrainingConfig(epochs=epochs, lr=lr, batch_size=BATCH, device="cpu", **settings))


def gradients(scope):
    """Of every batch of an epoch, at the same weights, with the sequences that this rank read for them."""
    seen = []
    step = SVIModule.training_step

    def reads(self, batch, batch_index):
        seen.append({"rows": batch.rows.tolist(), "seed": torch.initial_seed()})
        return step(self, batch, batch_index)

    def look(module, _optimiser):
        seen[-1]["gradients"] = {name: p.grad.clone() for name, p in module.named_parameters()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SVIModule, "training_step", reads)
        patch.setattr(SVIModule, "on_before_optimizer_step", look)
        train(1e-12, 1, scope=scope)
    return seen


def divergence():
    """Only the last rank's rows go wrong."""
    terms = SVIModule._terms

    def poisoned(self, batch, batch_index, checked):
        right = terms(self, batch, batch_index, checked)
        return right if (rank(), batch_index) != (1, 2) else right._replace(nll=torch.tensor(torch.nan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SVIModule, "_terms", poisoned)
        try:
            train(0.01, 1)
        except Diverged as error:
            return str(error)
    return ""


def unused_parameter():
    model, guide = pair()
    guide.idle = torch.nn.Parameter(torch.zeros(1))
    try:
        fit(model, guide, data(), TrainingConfig(epochs=2, batch_size=BATCH, device="cpu"))
    except UserError as error:
        return str(error)
    return ""


def stopped_by_the_second_rank():
    step = SVIModule.training_step

    def stops(self, batch, batch_index):
        if (self.current_epoch, batch_index, rank()) == (2, 1, 1):
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SVIModule, "training_step", stops)
        result = train(0.01, 50)
    return {"interrupted": result.interrupted, "epochs": len(result.history)}


def observations():
    model, guide = (part.eval() for part in pair())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist.Normal, "rsample", half_a_scale_above)
        result = train(0.01, 4)
        batches = {scope: gradients(scope) for scope in SCOPES}
    return {
        "batches": batches,
        "history": result.history.drop(columns="seconds").to_dict("list"),
        "best": (result.best_epoch, result.best_value),
        "table": evaluate(PosteriorPredictive(model, guide), data().test, "one-pass").to_dict("list"),
    }


def main():
    folder = Path(sys.argv[1])
    seen = observations()
    seen |= {"divergence": divergence(), "unused": unused_parameter(), "stop": stopped_by_the_second_rank()}
    torch.save(seen, folder / f"rank{rank()}.pt")
    command = [*COMMAND, "--out", str(folder / "run")]
    svi.main(command)
    svi.main(command)  # refused, in a sentence


if __name__ == "__main__":
    run_command(main)
