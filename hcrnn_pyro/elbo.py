"""The ELBO as a loss, with a weight on its KL term and the unweighted value always at hand.

ELBO = E_q[log p(y | eta)] - KL(q(eta) || p(eta))
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.distributed import sum_over_ranks, world_size
from hcrnn_pyro.parameters import unannounced
from hcrnn_pyro.sites import is_latent


class Terms(NamedTuple):
    """What one batch says; sums over its rows, in nats.

    Attributes:
        loss: the negative weighted ELBO, differentiable.
        nll: estimate of -E_q[log p(y | eta)].
        kl: estimate of KL(q || p).
        predictions: number of scored items.
        rows: number of rows.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor
    predictions: int
    rows: int

    @property
    def elbo(self) -> Tensor:
        """The unweighted ELBO."""
        return -(self.nll + self.kl)

    def over_ranks(self) -> Terms:
        """The terms of the whole batch, at every rank, from those of each rank's rows.

        The loss has the value of the whole batch, and R times the gradient of this rank's rows: DistributedDataParallel
        averages the gradients of R ranks, where a loss that is a sum over rows wants their sum.
        """
        if world_size() == 1:
            return self
        values = [float(self.loss.detach()), float(self.nll), float(self.kl), float(self.predictions), float(self.rows)]
        loss, nll, kl, predictions, rows = sum_over_ranks(values)
        share = world_size() * self.loss
        whole = share + (loss - share).detach()
        return Terms(whole, torch.tensor(nll), torch.tensor(kl), int(predictions), int(rows))


class LatentTerms(Messenger):
    """Weighs every latent site of model and guide, as ``pyro.poutine.scale`` does, and adds up their log-densities.

    Both runs of an ELBO pass through one instance: the guide's sites give log q, the model's, which replay the guide's
    values, give log p, and ``kl`` is the sum of log q - log p, unweighted.

    Args:
        weight: factor on the latent sites' log-densities, above 0; 1 leaves the ELBO as it is.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.kl: Tensor | float = 0.0
        self._drawn: set[str] = set()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not is_latent(msg):
            return
        msg["scale"] = msg["scale"] * self.weight
        if msg["done"]:  # replayed: the model's side, log p of the guide's value
            self.kl = self.kl - _log_density(msg)
        else:
            self._drawn.add(msg["name"])

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self._drawn:  # the guide's side, log q of the value just drawn
            self._drawn.remove(msg["name"])
            self.kl = self.kl + _log_density(msg)


@torch.no_grad()
def _log_density(msg: dict[str, Any]) -> Tensor:
    return msg["fn"].log_prob(msg["value"]).sum()


class Objective(nn.Module):
    """The weighted negative ELBO of a batch: a loss module whose parameters are those of model and guide.

    Args:
        model: the Pyro model.
        guide: the guide.
        elbo: any Pyro loss that can be called as a module, e.g. ``Trace_ELBO()``.
    """

    def __init__(self, model: nn.Module, guide: nn.Module, elbo: ELBO) -> None:
        super().__init__()
        self.elbo = elbo(model, guide)
        self.particles = elbo.num_particles

    def forward(self, batch: Batch, kl_weight: float = 1.0) -> Terms:
        """Estimate the loss and its parts.

        Args:
            batch: rows of any scope.
            kl_weight: factor on the KL term; 1 is the true ELBO, the authors train with 1e-3.
        """
        with LatentTerms(kl_weight) as latent, unannounced():
            loss = self.elbo(batch)
        kl = torch.as_tensor(latent.kl / self.particles)
        return Terms(loss, loss.detach() - kl_weight * kl, kl, int(batch.scored.sum()), batch.size)


class Totals:
    """Running sums of the ELBO's terms over an epoch."""

    def __init__(self) -> None:
        self.loss = self.nll = self.kl = 0.0
        self.predictions = self.rows = 0

    def add(self, terms: Terms) -> None:
        """Add one batch."""
        self.loss += float(terms.loss.detach())
        self.nll += float(terms.nll)
        self.kl += float(terms.kl)
        self.predictions += terms.predictions
        self.rows += terms.rows

    def add_other_ranks(self) -> None:
        """Add what the other ranks have summed."""
        sums = vars(self)
        sums.update(zip(sums, sum_over_ranks([float(value) for value in sums.values()]), strict=True))

    def means(self) -> dict[str, float]:
        """Loss, nll and unweighted ELBO per prediction, KL per row."""
        elbo = -(self.nll + self.kl) / self.predictions
        return {
            "loss": self.loss / self.predictions,
            "nll": self.nll / self.predictions,
            "kl": self.kl / self.rows,
            "elbo": elbo,
        }
