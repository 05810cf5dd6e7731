r"""What models without a latent share: p(y | x) = prod_t p(y_t | x_1..x_t), a softmax over the items.

Axes: B rows, T time, Q queries, N scored predictions, V items, H hidden.

    +------------------------- sequences, B --+
    |  x_1..x_t ---> next_item                |
    |                (observed, time in the   |
    |                 event)                  |
    +-----------------------------------------+
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import Likelihood, NextItem
from hcrnn_pyro.errors import require
from hcrnn_pyro.nn.head import check_head_layers
from hcrnn_pyro.nn.item_prior import ItemPrior, check_scale
from hcrnn_pyro.parameters import announce_parameters
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.seen import seen_items
from hcrnn_pyro.spectral import ItemEmbeddings


@dataclass(frozen=True)
class PlainConfig:
    """What every model without a latent lets you set."""

    hidden: int = 100
    """Size of item embeddings and states H."""
    item_embeddings: ItemEmbeddings = "flat"
    """Where item embeddings start: flat from noise, spectral from what stands near what in training sequences."""
    item_scale: float | None = None
    """Standard deviation of the Normal prior on item embeddings, around the spectral ones or else 0; None: no prior."""
    likelihood: Likelihood = "categorical"
    """categorical: every item may follow. without-replacement: items already in the sequence have probability 0."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, f"--hidden is a size of at least 1; got {self.hidden}.")
        check_scale(self.item_scale)


@dataclass(frozen=True)
class DropoutConfig(PlainConfig):
    """The same, with dropout where HCRNN has it."""

    dropout_in: float = 0.25
    """Dropout on the embedded inputs."""
    dropout_out: float = 0.5
    """Dropout before the output layer."""
    head_layers: int = 0
    """Hidden layers, each 4 H wide, of a feed-forward part of the output layer; 0: none, as in the model's paper."""
    time_intervals: bool = False
    """Read how long ago the event before each one was; for data with times."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_head_layers(self.head_layers)
        for flag, value in (("--dropout-in", self.dropout_in), ("--dropout-out", self.dropout_out)):
            require(0.0 <= value < 1.0, f"{flag} is a share in [0, 1); got {value}.")


class PlainModel(nn.Module):
    """A model that issues the observed ``next_item`` and no latent; a subclass says its :meth:`features`.

    Args:
        items: V.
        config: its settings.

    Attributes:
        item_embeddings: (V + 1, H) parameter, row 0 (padding) is zero.
        item_variance: buffer of the output matrix' shape, its variances where items were added without training.
    """

    item_variance: Tensor | None

    def __init__(self, items: int, config: PlainConfig) -> None:
        super().__init__()
        self.items = items
        self.hidden = config.hidden
        self.item_prior = ItemPrior(items, config.hidden, config.item_embeddings, config.item_scale)
        self.without_replacement = config.likelihood == "without-replacement"
        self.item_embeddings = item_table(items, config.hidden)
        self.register_buffer("item_variance", None)

    def prepare(self, train: Sequences) -> None:
        """Start the item embeddings from the training part, where the settings say so, and place their prior."""
        self.item_prior.prepare(train)
        for table in self.item_tables().values():
            self.item_prior.start_(table)

    def item_tables(self) -> dict[str, Float[Tensor, "columns hidden"]]:
        """The parameters that embed items, by the name of the site of their prior."""
        return {"item_embeddings": self.item_embeddings}

    def forward(self, batch: Batch) -> Tensor:
        """The probabilistic program; returns the observed (or, without targets, drawn) next items (B, Q)."""
        announce_parameters("model", self)
        for name, table in self.item_tables().items():
            self.item_prior.observe(name, table, batch)
        with sequences_plate(batch):
            return pyro.sample("next_item", self.likelihood(batch), obs=batch.targets)

    def likelihood(self, batch: Batch) -> NextItem:
        """p(y | x): softmax of features . output matrix."""
        seen = seen_items(batch.inputs, batch.queries, batch.scored) if self.without_replacement else None
        return NextItem(self.features(batch), self.output_matrix, batch.scored, seen, self.item_variance)

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """What the model says after x_1..x_t, for the scored t of all rows."""
        raise NotImplementedError

    @property
    def output_matrix(self) -> Float[Tensor, "columns size"]:
        """What features are compared with, a row for each item: the item embeddings, shared with the input."""
        return self.item_embeddings

    def embed(self, items: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape hidden"]:
        """Embeddings of item indices; padding embeds to zero."""
        return nn.functional.embedding(items, self.item_embeddings, padding_idx=0)


class UntiedModel(PlainModel):
    """A plain model with an output matrix of its own and a bias for each item, which is the matrix's last column.

    Args:
        items: V.
        config: its settings.

    Attributes:
        output: (V + 1, H + 1) parameter; the bias starts at zero.
    """

    def __init__(self, items: int, config: PlainConfig) -> None:
        super().__init__(items, config)
        self.output = item_table(items, config.hidden + 1)
        self.output.data[:, -1] = 0.0

    def item_tables(self) -> dict[str, Float[Tensor, "columns hidden"]]:
        """The item embeddings of both sides; the bias has no prior."""
        return {**super().item_tables(), "output": self.output[:, :-1]}

    @property
    def output_matrix(self) -> Float[Tensor, "columns size"]:
        """Its own."""
        return self.output

    def with_bias(self, features: Float[Tensor, "predictions hidden"]) -> Float[Tensor, "predictions size"]:
        """Append the 1 that takes in the bias."""
        return nn.functional.pad(features, (0, 1), value=1.0)


def item_table(items: int, size: int) -> nn.Parameter:
    """A row of noise, standard deviation 0.1, for each item, and a row 0 of zeros for padding."""
    return nn.Parameter(0.1 * torch.randn(items + 1, size).index_fill(0, torch.tensor(0), 0.0))


def glorot_(module: nn.Module) -> None:
    """Start weight matrices uniformly as Glorot and Bengio (2010), each gate's by itself, and biases at zero."""
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            rows = part.hidden_size if isinstance(part, nn.RNNBase) else len(parameter)
            for matrix in parameter.data.split(rows):
                if matrix.dim() == 1:
                    nn.init.zeros_(matrix)
                else:
                    nn.init.xavier_uniform_(matrix)
