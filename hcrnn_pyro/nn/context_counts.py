"""The encoder that counts contexts: how many items of a sequence come from each of them.

Axes: B rows, T time, P prefixes of a row that are read (T in the filtering scope, else 1), E embedding, K contexts.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch

ROUNDS = 3  # of the fixed point below
ENTRIES = 2**24  # most numbers (prefixes times T times K) that a round lays out at a time


class ContextCounts(nn.Module):
    """[log(1 + n), ELU(W [log(1 + n), s] + b)]: n counts the items of each context, s is the items' mean embedding.

    n_k = sum_t p(k | x_t), and p(k | x_t) in proportion to (c + n_k) exp(a M_k . embedding(x_t) + b_k): an item that
    could come from several contexts counts for those that the others come from. Some rounds of this fixed point, from
    equal n_k, are the expectation-maximisation of a mixture's proportions, with learned a, b_k and c; what they leave
    out is for the second part. The guide reads the contexts from the model, but gives them no gradient.

    Args:
        model: the model that the guide serves; its embeddings and contexts are read.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # bound methods: embeddings and contexts stay the model's parameters alone
        self.contexts_of = model.context_vectors
        self.output_size = model.contexts + model.embedding_size
        self.sharpness = nn.Parameter(torch.ones(()))  # a
        self.tilt = nn.Parameter(torch.zeros(model.contexts))  # b
        self.log_floor = nn.Parameter(torch.zeros(()))  # log c
        self.dropout = nn.Dropout(model.input_dropout)
        self.layer = nn.Linear(self.output_size, model.embedding_size)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """Features of the items read."""
        embedded = self.embed(batch.inputs).detach()
        speaks_for = self.sharpness * (embedded @ self.contexts_of().detach().T) + self.tilt  # (B, T, K)
        read = self.read(batch)
        size = max(1, ENTRIES // max(1, speaks_for.numel()))
        counts = torch.cat([self.counts(speaks_for, prefixes) for prefixes in read.split(size, dim=1)], dim=1).log1p()
        mean = read.to(embedded) @ embedded / read.sum(dim=-1, keepdim=True).clamp(min=1)
        rest = nn.functional.elu(self.layer(torch.cat([counts, self.dropout(mean)], dim=-1)))
        features = torch.cat([counts, rest], dim=-1)  # (B, P, F)
        return features if batch.scope == "filtering" else features.squeeze(1)

    def read(self, batch: Batch) -> Bool[Tensor, "batch prefixes time"]:
        """Which items each prefix has: all of a row's, or in the filtering scope x_1..x_t for every t."""
        valid = batch.valid.unsqueeze(1)
        if batch.scope != "filtering":
            return valid
        time = batch.inputs.shape[1]
        return valid & torch.ones(time, time, dtype=torch.bool, device=valid.device).tril()

    def counts(
        self, speaks_for: Float[Tensor, "batch time contexts"], read: Bool[Tensor, "batch prefixes time"]
    ) -> Float[Tensor, "batch prefixes contexts"]:
        """Items of each context in each prefix."""
        read = read.to(speaks_for).unsqueeze(-2)  # (B, P, 1, T)
        counts = (read @ speaks_for.softmax(dim=-1).unsqueeze(1)).squeeze(-2)
        for _ in range(ROUNDS):
            prior = (counts + self.log_floor.exp()).log().unsqueeze(-2)  # (B, P, 1, K)
            counts = (read @ (speaks_for.unsqueeze(1) + prior).softmax(dim=-1)).squeeze(-2)
        return counts
