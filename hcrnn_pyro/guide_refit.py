"""Fitting the guide alone to a finished model: the posterior that belongs to the weights as they stand.

While both are trained, the guide follows a model that moves, and sees it through dropout. Its posterior is then
somewhat off the finished model's own. Here the model is frozen, nothing is dropped, and the guide catches up.
"""

from __future__ import annotations

import copy

import pyro
import torch
from torch import nn
from tqdm import tqdm

from hcrnn_pyro.data.batches import Batches, batches_by_length
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.distributed import rank
from hcrnn_pyro.elbo import Objective, Totals, make_bound
from hcrnn_pyro.errors import require
from hcrnn_pyro.posterior.undisturbed import undisturbed
from hcrnn_pyro.training_config import TrainingConfig

PARTICLES = 8  # draws for each sequence: they cost little where the model computes most but once for all of them
POSITIONS = 800  # rows times time of a batch in which the ELBO of the valid part is measured


def refit_guide(
    model: nn.Module, guide: nn.Module, data: DataSet, config: TrainingConfig, keep_last: bool = False
) -> list[float]:
    """Train the guide's parameters by the ELBO, and keep those of the best epoch by the ELBO of the valid part.

    Args:
        model: finished; it is left as it is.
        guide: trained in place.
        data: training and validation parts.
        config: ``guide_epochs``, learning rate, batches, scope and seed.
        keep_last: keep those of the last epoch, as the valid part is trained on.

    Returns:
        The ELBO per prediction of the valid part, before the first epoch and after each.

    Raises:
        UserError: the guide has no parameters of its own.
    """
    own = [parameter for parameter in guide.parameters() if parameter.requires_grad]
    require(bool(own), "--guide-epochs fits the guide's own parameters, and this guide has none; leave it out.")
    of_model = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(own, lr=config.lr)
    objective = Objective(model, guide, make_bound("elbo", PARTICLES)).eval()
    for parameter in of_model:
        parameter.requires_grad_(False)
    try:
        best, elbos = copy.deepcopy(guide.state_dict()), [_elbo(objective, data.valid, config)]
        for epoch in range(config.guide_epochs):
            pyro.set_rng_seed((config.seed + epoch) % 2**32)
            for batch in Batches(data.train, config.scope, config.batch_size, config.seed + epoch):
                optimiser.zero_grad()
                terms = objective(batch.to(config.torch_device))
                (terms.loss / terms.predictions).backward()
                optimiser.step()
            elbos.append(_elbo(objective, data.valid, config))
            if keep_last or elbos[-1] == max(elbos):
                best = copy.deepcopy(guide.state_dict())
            if rank() == 0:
                tqdm.write(f"guide alone, epoch {epoch:>3}  valid elbo {elbos[-1]:.4f}")
        guide.load_state_dict(best)
    finally:
        for parameter in of_model:
            parameter.requires_grad_(True)
    return elbos


@torch.no_grad()
def _elbo(objective: Objective, sequences: Sequences, config: TrainingConfig) -> float:
    totals = Totals()
    with undisturbed(objective, seed=0, device=config.torch_device):
        for batch in batches_by_length(sequences, config.scope, POSITIONS):
            totals.add(objective(batch.to(config.torch_device)))
    return totals.means()["elbo"]
