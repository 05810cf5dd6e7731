"""The ELBO as a loss, with a weight on its KL term and the unweighted value always at hand.

ELBO = E_q[log p(y | eta)] - KL(q(eta) || p(eta))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.distributed import sum_over_ranks, world_size
from hcrnn_pyro.parameters import unannounced
from hcrnn_pyro.sites import is_data, is_latent, is_prior_on_parameter


class ImportanceWeightedELBO(Trace_ELBO):
    """The sum over rows of log( 1/S sum_s p(y, z_s | x) / q(z_s | x) ), S particles drawn in one pass.

    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016. Pyro's ``RenyiELBO(alpha=0)`` is the same
    bound, but cannot be called as a module.
    """

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The negative bound."""
        model_trace, guide_trace = next(iter(self._get_traces(model, guide, args, kwargs)))
        log_weights = log_densities(model_trace) - log_densities(guide_trace)  # (S, B)
        bound = log_weights.logsumexp(dim=-2) - math.log(self.num_particles)
        return -bound.sum() - log_prior_of_parameters(model_trace)


def log_densities(trace: Any) -> Tensor:
    """(S, B), each row's log-density of all its sites in a trace."""
    sites = [site for site in trace.nodes.values() if site["type"] == "sample" and "log_prob" in site]
    densities = [site["log_prob"] for site in sites if not is_prior_on_parameter(site)]
    return torch.stack(torch.broadcast_tensors(*densities)).sum(dim=0)


def log_prior_of_parameters(trace: Any) -> Tensor:
    """The batch's share of the log-density of the parameters that have a prior; the particles have one in common."""
    densities = [site["log_prob"].mean() for site in trace.nodes.values() if is_prior_on_parameter(site)]
    return torch.stack(densities).sum() if densities else torch.zeros(())


Bound = Literal["elbo", "mean-field-elbo", "iwae"]
BOUNDS: dict[Bound, Callable[..., ELBO]] = {
    "elbo": Trace_ELBO,
    "mean-field-elbo": TraceMeanField_ELBO,  # the KL term in closed form, where there is one
    "iwae": ImportanceWeightedELBO,
}


def make_bound(name: Bound, particles: int) -> ELBO:
    """One of Pyro's bounds on log p(y), from so many draws of the latents a row, all in one pass.

    Args:
        name: ``elbo``: Kingma and Welling (2014). ``mean-field-elbo``: the same with the KL term in closed form where
            Pyro knows one. ``iwae``: Burda, Grosse and Salakhutdinov (2016).
        particles: draws.
    """
    return BOUNDS[name](num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1)


class Terms(NamedTuple):
    """What one batch says; sums over its rows, in nats.

    Attributes:
        loss: the negative weighted ELBO, less the share of the log-prior of parameters that have one; differentiable.
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
    values, give log p, and ``kl`` is the sum of log q - log p, unweighted. ``log_prior`` is the batch's share of
    the log-density of parameters that have a prior: part of the loss, and of neither nll nor KL.

    Args:
        weight: factor on the latent sites' log-densities, above 0; 1 leaves the ELBO as it is.
        differentiable: whether ``kl`` has a gradient.
        with_likelihood: whether to add up the observed sites too, which costs another softmax over the items.
    """

    def __init__(self, weight: float, differentiable: bool = False, with_likelihood: bool = False) -> None:
        super().__init__()
        self.weight, self.differentiable, self.with_likelihood = weight, differentiable, with_likelihood
        self.kl: Tensor | float = 0.0
        self.log_likelihood: Tensor | float = 0.0
        self.log_prior: Tensor | float = 0.0
        self._replayed: dict[str, bool] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if is_latent(msg):
            msg["scale"] = msg["scale"] * self.weight
            self._replayed[msg["name"]] = msg["done"]  # on the model's side, with the guide's value

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self._replayed:
            self._add_latent(msg, self._replayed.pop(msg["name"]))
        elif is_prior_on_parameter(msg):
            self.log_prior = self.log_prior + msg["scale"] * self._log_density(msg)
        elif self.with_likelihood and is_data(msg):
            self.log_likelihood = self.log_likelihood + self._log_density(msg)

    def _add_latent(self, msg: dict[str, Any], replayed: bool) -> None:
        """Log p of a value that was replayed, log q of one just drawn; Pyro's traces keep it and need not repeat it."""
        parts = None if replayed else msg["fn"].score_parts(msg["value"])
        log_density = msg["fn"].log_prob(msg["value"]) if parts is None else parts.log_prob
        total = (log_density if self.differentiable else log_density.detach()).sum()
        self.kl = self.kl - total if replayed else self.kl + total
        # Where Pyro validates, it looks for NaN as it calculates; an effect-based guide's site becomes the model's too.
        if is_validation_enabled() or "prior" in msg["infer"]:
            return
        scaled = scale_and_mask(log_density, msg["scale"], msg["mask"])
        msg |= {"unscaled_log_prob": log_density, "log_prob": scaled, "log_prob_sum": scaled.sum()}
        if parts is not None:
            msg["score_parts"] = parts.scale_and_mask(msg["scale"], msg["mask"])

    def _log_density(self, msg: dict[str, Any]) -> Tensor:
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            density: Tensor = msg["fn"].log_prob(msg["value"]).sum()
        return density


class Objective(nn.Module):
    """The weighted negative ELBO of a batch: a loss module whose parameters are those of model and guide.

    Args:
        model: the Pyro model.
        guide: the guide.
        elbo: any Pyro loss that can be called as a module, e.g. ``Trace_ELBO()``; of an importance-weighted one, the
            logged terms are still those of the ELBO.
        free_bits: nats of KL a row that cost nothing (Kingma et al. 2016, on the whole latent): the KL term of a batch
            is taken for at least so much a row.
    """

    def __init__(self, model: nn.Module, guide: nn.Module, elbo: ELBO, free_bits: float = 0.0) -> None:
        super().__init__()
        self.elbo = elbo(model, guide)
        self.particles = elbo.num_particles
        self.free_bits = free_bits
        self.importance_weighted = isinstance(elbo, ImportanceWeightedELBO)

    def forward(self, batch: Batch, kl_weight: float = 1.0) -> Terms:
        """Estimate the loss and its parts.

        Args:
            batch: rows of any scope.
            kl_weight: factor on the KL term; 1 is the true ELBO, the authors train with 1e-3.
        """
        with LatentTerms(kl_weight, self.free_bits > 0, self.importance_weighted) as latent, unannounced():
            loss = self.elbo(batch)
        kl = torch.as_tensor(latent.kl / self.particles)
        nll = loss.detach() + latent.log_prior / self.particles - kl_weight * kl.detach()
        if self.importance_weighted:
            nll = -torch.as_tensor(latent.log_likelihood / self.particles)
        if self.free_bits:
            loss = loss + kl_weight * (kl.clamp(min=self.free_bits * batch.size) - kl)
        return Terms(loss, nll, kl.detach(), int(batch.scored.sum()), batch.size)


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
