"""q(eta | x_<1:T>) = Normal(mu(s), diag sigma(s)^2), s = the sum of the embeddings of the DISTINCT items: the paper's.

Axes: B rows, T time, E embedding, K contexts.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.parameters import announce_parameters
from hcrnn_pyro.sites import over_steps

SMALLEST_SCALE = 1e-6


class BagOfItems(nn.Module):
    """Distinct items' embeddings -> ELU layer -> mean and scale of ``eta``.

    In the filtering scope theta_t is read from the distinct items of x_1..x_t, for all t in one pass.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # a bound method: the embeddings stay the model's parameters alone
        self.dropout = nn.Dropout(model.input_dropout)
        self.encoder = nn.Linear(model.embedding_size, model.embedding_size)
        self.location = nn.Linear(model.embedding_size, model.contexts)
        self.scale = nn.Linear(model.embedding_size, model.contexts)
        for layer in (self.encoder, self.location, self.scale):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, batch: Batch) -> None:
        """Issue ``eta``."""
        announce_parameters("guide", self)
        features = nn.functional.elu(self.encoder(self.dropout(self.bag(batch))))
        scale = SMALLEST_SCALE + nn.functional.softplus(self.scale(features))
        posterior = dist.Normal(self.location(features), scale).to_event(1)
        with pyro.plate("sequences", batch.size, dim=-1):
            pyro.sample("eta", over_steps(posterior, batch))

    def bag(self, batch: Batch) -> Float[Tensor, "batch *time embedding"]:
        """The sum of the distinct items' embeddings: of each row, or of each x_1..x_t in the filtering scope."""
        embedded = self.embed(batch.inputs) * first_occurrences(batch.inputs).unsqueeze(-1)
        return embedded.cumsum(dim=1) if batch.scope == "filtering" else embedded.sum(dim=1)


def first_occurrences(inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """True where an item occurs for the first time in its row; O(T log T) a row."""
    ordered, order = inputs.sort(dim=1, stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(new).scatter(1, order, new)
