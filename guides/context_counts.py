"""q(eta | x_<1:T>) = Normal(mu(n, s), diag sigma(n, s)^2): n items that speak for a context, s mean embedding."""

from __future__ import annotations

import torch
from pyro.distributions import constraints

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import MeanField
from hcrnn_pyro.nn.context_counts import ContextCounts

# softplus(0.54 - 0.5 log(1 + n)) is about 1 / sqrt(1 + n): the prior's scale without items, narrower with each.
SCALE_BIAS, SCALE_SLOPE = 0.54, -0.5


class ContextCountsGuide(AmortizedGuide):
    """Counts of contexts -> mean and scale of every latent; it starts near the posterior where bag-of-items starts far.

    A latent on R^K starts at mu = log(1 + n) less its mean and a scale near 1 / sqrt(1 + n). So the ELBO does not begin
    with a KL term of tens of nats, which teaches the guide to forget the sequence before it has learnt to read it.

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
    family.location.weight[:, :contexts] = each - 1.0 / contexts
    family.scale.weight[:, :contexts] = SCALE_SLOPE * each
    family.scale.bias.fill_(SCALE_BIAS)
