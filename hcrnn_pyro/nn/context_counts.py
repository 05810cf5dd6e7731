"""The encoder that counts contexts: how many items of a sequence come from each, and what proportions that speaks for.

Axes: B rows, T time, P prefixes of a row that are read (T in the filtering scope, else 1), E embedding, K contexts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.nn.dropout import Dropout

ROUNDS = 4  # of counting and of fitting proportions to the counts, in turns
NEWTON = 2  # steps in each fit
ENTRIES = 2**24  # most numbers (prefixes times T times K) that a round lays out at a time


class Fit(NamedTuple):
    """Laplace's approximation of eta for items that are counted by context."""

    location: Float[Tensor, "batch prefixes contexts"]
    log_scale: Float[Tensor, "batch prefixes contexts"]


class ContextCounts(nn.Module):
    """[eta, log s, ELU(W [eta, mean embedding] + b)]: the posterior of a plain mixture's proportions, and the rest.

    Item x_t comes from context k in proportion to theta_k exp(a M_k . embedding(x_t) + b_k), theta = softmax(eta).
    Given the counts n_k of items by context, N in all, the posterior of eta under a standard Normal prior has its mode
    where eta_k = n_k - N theta_k, and there the curvature 1 + N theta_k (1 - theta_k) = 1 / s_k^2 (Blei and Lafferty
    2007). Counts and eta are fitted in turns, as in expectation-maximisation, with learned a and b_k. What this leaves
    out, such as another prior, is for the layers behind. Embeddings and contexts are read from the model and get no
    gradient.

    Args:
        model: the model that the guide serves.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # bound methods: embeddings and contexts stay the model's parameters alone
        self.contexts_of = model.context_vectors
        self.output_size = 2 * model.contexts + model.embedding_size
        self.sharpness = nn.Parameter(torch.ones(()))  # a
        self.tilt = nn.Parameter(torch.zeros(model.contexts))  # b
        self.dropout = Dropout(model.input_dropout)
        self.layer = nn.Linear(model.contexts + model.embedding_size, model.embedding_size)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """Features of the items read."""
        embedded = self.embed(batch.inputs).detach()
        speaks_for = self.sharpness * (embedded @ self.contexts_of().detach().T) + self.tilt  # (B, T, K)
        read = self.read(batch)
        size = max(1, ENTRIES // max(1, speaks_for.numel()))
        fits = [self.fit(speaks_for, prefixes) for prefixes in read.split(size, dim=1)]
        eta, log_scale = (torch.cat(parts, dim=1) for parts in zip(*fits, strict=True))
        mean = read.to(embedded) @ embedded / read.sum(dim=-1, keepdim=True).clamp(min=1)
        rest = nn.functional.elu(self.layer(torch.cat([eta, self.dropout(mean)], dim=-1)))
        features = torch.cat([eta, log_scale, rest], dim=-1)  # (B, P, F)
        return features if batch.scope == "filtering" else features.squeeze(1)

    def read(self, batch: Batch) -> Bool[Tensor, "batch prefixes time"]:
        """Which items each prefix has: all of a row's, or in the filtering scope x_1..x_t for every t."""
        valid = batch.valid.unsqueeze(1)
        if batch.scope != "filtering":
            return valid
        time = batch.inputs.shape[1]
        return valid & torch.ones(time, time, dtype=torch.bool, device=valid.device).tril()

    def fit(self, speaks_for: Float[Tensor, "batch time contexts"], read: Bool[Tensor, "batch prefixes time"]) -> Fit:
        """Count the items of each prefix by context and fit eta to the counts, in turns."""
        mask = read.to(speaks_for).unsqueeze(-2)  # (B, P, 1, T)
        items = mask.sum(dim=-1)  # (B, P, 1)
        eta = torch.zeros_like(items).expand(-1, -1, speaks_for.shape[-1])
        for _ in range(ROUNDS):
            prior = eta.log_softmax(dim=-1).unsqueeze(-2)  # (B, P, 1, K)
            counts = (mask @ (speaks_for.unsqueeze(1) + prior).softmax(dim=-1)).squeeze(-2)
            for _ in range(NEWTON):
                expected = items * eta.softmax(dim=-1)
                eta = eta + (counts - expected - eta) / (1 + expected)
        theta = eta.softmax(dim=-1)
        return Fit(eta, -0.5 * (items * theta * (1 - theta)).log1p())
