"""The encoder that counts contexts: how many items of a sequence speak for each of them.

Axes: B rows, T time, E embedding, K contexts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch


class ContextCounts(nn.Module):
    """[log(1 + n), ELU(W s + b)], with n_k = sum_t p(k | x_t) and s the mean embedding of the items.

    p(k | x) = softmax_k(a M_k . embedding(x)), with a learned sharpness a. The counts are what a posterior of
    proportions is made of; the second part says what they leave out. The guide reads the contexts from the model, but
    gives them no gradient.

    Args:
        model: the model that the guide serves; its embeddings and contexts are read.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # bound methods: embeddings and contexts stay the model's parameters alone
        self.contexts_of = model.context_vectors
        self.output_size = model.contexts + model.embedding_size
        self.sharpness = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(model.input_dropout)
        self.layer = nn.Linear(model.embedding_size, model.embedding_size)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """Features of the items read."""
        embedded = self.embed(batch.inputs).detach()
        speaks_for = (self.sharpness * (embedded @ self.contexts_of().detach().T)).softmax(dim=-1)
        counts = self.total(speaks_for * batch.valid.unsqueeze(-1), batch)
        mean = self.total(embedded, batch) / self.total(batch.valid.unsqueeze(-1).to(embedded), batch).clamp(min=1.0)
        rest = nn.functional.elu(self.layer(self.dropout(mean)))
        return torch.cat([counts.log1p(), rest], dim=-1)

    def total(self, values: Float[Tensor, "batch time size"], batch: Batch) -> Float[Tensor, "batch *time size"]:
        """Sums over each row, or over each x_1..x_t in the filtering scope."""
        return values.cumsum(dim=1) if batch.scope == "filtering" else values.sum(dim=1)
