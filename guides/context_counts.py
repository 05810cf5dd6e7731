"""q(eta | x_<1:T>) = Normal(mu, diag sigma^2), from the items counted by context: near the posterior from the start."""

from __future__ import annotations

import torch
from pyro.distributions import constraints

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import MeanField
from hcrnn_pyro.nn.context_counts import ContextCounts

# softplus(0.54 + 1.35 log s) is s to within a tenth, for s from 0.2 to 1.
SCALE_BIAS, SCALE_SLOPE = 0.54, 1.35


class ContextCountsGuide(AmortizedGuide):
    """Items counted by context -> mean and scale of every latent; it starts near the posterior, where others start far.

    A latent on R^K starts at Laplace's approximation of :class:`hcrnn_pyro.nn.context_counts.ContextCounts`. So the
    ELBO does not begin with a KL term of tens of nats, which teaches a guide to forget the sequence before it has
    learnt to read it.

    Args:
        model: the model whose posterior it approximates; its embeddings and contexts are read.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, ContextCounts, MeanField)
        for family in self.families.values():
            assert isinstance(family, MeanField)
            if family.site.support is constraints.real and family.site.shape == (model.contexts,):
                start_from_counts(family, model.contexts)


@torch.no_grad()
def start_from_counts(family: MeanField, contexts: int) -> None:
    """Let mean and scale begin with the counts, and little else."""
    for layer in (family.location, family.scale):
        layer.weight *= 0.1
    each = torch.eye(contexts)
    family.location.weight[:, : 2 * contexts] = torch.cat([each, 0.0 * each], dim=1)
    family.scale.weight[:, : 2 * contexts] = torch.cat([0.0 * each, SCALE_SLOPE * each], dim=1)
    family.scale.bias.fill_(SCALE_BIAS)
