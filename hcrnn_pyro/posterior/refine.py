"""What the inference gap of a guide is made of: a Gaussian of each row's own against the guide, and the rest.

Axes: S draws, B rows, D reals that a row's latents have together.

    log p(y | x) - ELBO(guide) = [ELBO(refined) - ELBO(guide)] + [log p(y | x) - ELBO(refined)]
                                  amortisation gap               family gap

Refined is the Normal with full covariance on the unconstrained latents that is best for the row. So the first gap holds
what the guide loses by sharing its weights over rows, and by what its family cannot say but a Normal can, as
correlations; the second what no Normal can say.

Source: Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders", ICML 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import MultivariateNormal

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.posterior.draws import POSITIONS, draw
from hcrnn_pyro.posterior.joint import Joint, frozen, seeded
from hcrnn_pyro.posterior.weights import elbo, iwae_bound, pareto_k, require_spread

MOMENTS = 2000  # draws of the guide from which the Normals start
PARTICLES = 4  # draws of each row in one step


@dataclass(frozen=True, eq=False)
class RefinedPosterior:
    """A guide for one batch: u ~ Normal(location, L L^T) for every row, whose latents are the images of u's parts.

    The parts are drawn one given those before it, so that every latent has a site with a density of its own.

    Attributes:
        joint: the density it was fitted to.
        location: (B, D).
        scale_tril: (B, D, D) L, lower triangular.
    """

    joint: Joint
    location: Float[Tensor, "rows size"]
    scale_tril: Float[Tensor, "rows size size"]

    def __call__(self, batch: Batch) -> None:
        """Issue the latents.

        Args:
            batch: the one it was fitted to.
        """
        noise: list[Tensor] = []  # L^-1 (u - location) of the parts that are drawn
        with sequences_plate(batch):
            for c in self.joint.coordinates:
                given = self.scale_tril[:, c.place, : c.place.start]
                mean = self.location[:, c.place]
                if noise:
                    mean = mean + (given @ torch.cat(noise, dim=-1).unsqueeze(-1)).squeeze(-1)
                own = self.scale_tril[:, c.place, c.place]
                normal = dist.MultivariateNormal(mean, scale_tril=own)
                shaped = torch.distributions.ReshapeTransform(own.shape[-1:], c.free_shape)
                value = pyro.sample(c.name, dist.TransformedDistribution(normal, [shaped, c.transform]))
                u = c.transform.inv(value).flatten(-len(c.free_shape))
                noise.append(torch.linalg.solve_triangular(own, (u - mean).unsqueeze(-1), upper=False).squeeze(-1))


def refine(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    steps: int = 200,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> RefinedPosterior:
    """Fit a Normal to every row by Adam on its ELBO, from the guide's mean and covariance, with the weights frozen.

    The step size falls to zero over the steps, and the gradient leaves the score of q out, as its mean is zero: its
    noise then vanishes where q is the posterior (Roeder, Wu and Duvenaud, "Sticking the Landing", NeurIPS 2017).

    Args:
        model: the Pyro model.
        guide: where to start from; it needs a spread.
        batch: B rows, refined all at once.
        steps: of Adam.
        learning_rate: in units of the guide's own scales.
        seed: of the draws.

    Raises:
        UserError: the model has no latent, or the batch is of the filtering scope.
    """
    with frozen(model, guide), seeded(seed):
        joint = Joint.of(model, batch)
        start, scales = _moments(joint, guide)
        size = joint.size
        mean = torch.zeros_like(start, requires_grad=True)
        log_diagonal = torch.zeros_like(start, requires_grad=True)
        below = torch.zeros_like(scales, requires_grad=True)
        parameters = [mean, log_diagonal, below]
        optimiser = torch.optim.Adam(parameters, lr=learning_rate)
        decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - step / steps)
        for _ in range(steps):
            tril = log_diagonal.exp().diag_embed() + below.tril(-1)
            noise = torch.randn(PARTICLES, batch.size, size, dtype=start.dtype, device=start.device)
            w = mean + (tril @ noise.unsqueeze(-1)).squeeze(-1)
            log_guide = MultivariateNormal(mean.detach(), scale_tril=tril.detach(), validate_args=False).log_prob(w)
            u = start + (scales @ w.unsqueeze(-1)).squeeze(-1)
            loss = (log_guide - joint.log_density(u)).mean(dim=0).sum()
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimiser.step()
            decay.step()
        with torch.no_grad():
            tril = log_diagonal.exp().diag_embed() + below.tril(-1)
            location = start + (scales @ mean.unsqueeze(-1)).squeeze(-1)
            return RefinedPosterior(joint, location, scales @ tril)


def inference_gap(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    samples: int = 1000,
    steps: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Split the gap of every row of a batch.

    Args:
        model: the Pyro model.
        guide: its guide.
        batch: B rows.
        samples: S, draws for each bound.
        steps: of :func:`refine`.
        seed: of all draws.

    Returns:
        One line a row of the batch, in nats: ``row`` (its sequence), ``elbo`` (of the guide), ``refined_elbo``,
        ``evidence`` (the refined Normal's importance-weighted bound, the best estimate of log p(y | x) here),
        ``amortisation_gap``, ``family_gap``, and ``refined_k``, the refined Normal's k-hat: where it is above 0.7,
        the evidence is a lower bound and no estimate. Below zero by more than noise, an amortisation gap says that
        the steps were too few.

    Raises:
        UserError: the guide has no spread, or as for :func:`refine`.
    """
    refined = refine(model, guide, batch, steps, seed=seed)
    with frozen(model, guide), seeded(seed + 1):
        require_spread(draw(model, guide, batch, 2))
        before = _log_weights(model, guide, batch, samples)
        after = _log_weights(model, refined, batch, samples)
    first, second, evidence = elbo(before), elbo(after), iwae_bound(after)
    return pd.DataFrame(
        {
            "row": batch.rows.cpu().numpy(),
            "elbo": first,
            "refined_elbo": second,
            "evidence": evidence,
            "amortisation_gap": second - first,
            "family_gap": evidence - second,
            "refined_k": pareto_k(after),
        }
    )


def _log_weights(
    model: Callable[[Batch], Any], guide: Callable[[Batch], Any], batch: Batch, samples: int
) -> Float[Tensor, "draws rows"]:
    """Some draws at a time, as a refined guide takes its batch as a whole."""
    size = max(1, POSITIONS // batch.inputs.numel())
    counts = [min(size, samples - start) for start in range(0, samples, size)]
    return torch.cat([draw(model, guide, batch, count).log_weights for count in counts])


@torch.no_grad()
def _moments(joint: Joint, guide: Callable[[Batch], Any]) -> tuple[Tensor, Tensor]:
    """Mean (B, D) and Cholesky factor (B, D, D) of the guide's covariance, in the unconstrained space."""
    plate: Any = pyro.plate("draws", MOMENTS, dim=-2)
    nodes: Any = poutine.trace(plate(guide)).get_trace(joint.batch).nodes
    u = joint.free({c.name: nodes[c.name]["value"] for c in joint.coordinates})  # (S, B, D)
    mean = u.mean(dim=0)
    centred = (u - mean).transpose(0, 1)  # (B, S, D)
    covariance = centred.transpose(1, 2) @ centred / len(u)
    # A guide without spread, or with less than floats resolve, still needs a start that can be factored.
    floor = torch.finfo(u.dtype).eps * (1.0 + covariance.diagonal(dim1=1, dim2=2).amax(dim=1, keepdim=True))
    return mean, torch.linalg.cholesky(covariance + floor.expand_as(mean).diag_embed())
