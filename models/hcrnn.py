r"""HCRNN as a Pyro model: p(y, eta | x) = p(eta) prod_t p(y_t | x_1..x_t, theta).

Axes: B rows, T time, Q queries, N scored predictions, V items, E = H embedding and hidden size, K contexts.

    M_global  W  M_emb  (parameters)
         |     \   |
         v      v  v
    +---------------------------------- sequences, B --+
    |  eta ---> theta ---> (h_t, c_t) ---> next_item   |
    |                         ^            (observed,  |
    |                         |             time in    |
    |                     x_1..x_t          the event) |
    +--------------------------------------------------+
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyro
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hcrnn_pyro.checks import require_proportions
from hcrnn_pyro.contracts import MakePrior
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import ItemsAtPositions, LikelihoodOfHCRNN, NextItem, SampledNextItem
from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels import Kernel
from hcrnn_pyro.kernels.reference import ScanResult
from hcrnn_pyro.nn.attention import at_scored
from hcrnn_pyro.nn.cells import HCRNN1Cell, HCRNN2Cell, HCRNN3Cell, HCRNNCell
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.event_inputs import EventInputs
from hcrnn_pyro.nn.head import LinearHead, check_head_layers
from hcrnn_pyro.nn.item_prior import ItemPrior, check_scale
from hcrnn_pyro.nn.popularity_sampler import PopularitySampler
from hcrnn_pyro.nn.readouts import BiChannelReadout, SingleReadout
from hcrnn_pyro.nn.recurrence import recur
from hcrnn_pyro.parameters import announce_parameters
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.repeat_explore import RepeatHead, RepeatOrExplore
from hcrnn_pyro.seen import seen_items
from hcrnn_pyro.spectral import ItemEmbeddings

Variant = Literal["hcrnn1", "hcrnn2", "hcrnn3", "hcrnn3-bi"]
PARTS: dict[Variant, tuple[type[HCRNNCell], type[SingleReadout]]] = {
    "hcrnn1": (HCRNN1Cell, SingleReadout),
    "hcrnn2": (HCRNN2Cell, SingleReadout),
    "hcrnn3": (HCRNN3Cell, SingleReadout),
    "hcrnn3-bi": (HCRNN3Cell, BiChannelReadout),
}


@dataclass(frozen=True)
class HCRNNConfig:
    """Sizes and regularisation of HCRNN; the defaults are the paper's but for a stronger dropout on the inputs."""

    hidden: int = 100
    """Size of item embeddings, contexts and states (E = H)."""
    contexts: int = 50
    """Number of global contexts K."""
    dropout_in: float = 0.4
    """Dropout on the embedded inputs, the guide's too (the authors: 0.25)."""
    dropout_out: float = 0.5
    """Dropout before the output layer."""
    head_layers: int = 0
    """Hidden layers, each 4 E wide, that the output layer's linear map has beside it; 0: none, as in the paper."""
    time_intervals: bool = False
    """Read how long ago the event before each one was; for data with times."""
    item_embeddings: ItemEmbeddings = "flat"
    """Where item embeddings start: flat from noise, spectral from what stands near what in training sequences."""
    item_scale: float | None = None
    """Standard deviation of the Normal prior on item embeddings, around the spectral ones or else 0; None: no prior."""
    likelihood: LikelihoodOfHCRNN = "categorical"
    """categorical: every item may follow. without-replacement: items already in the sequence have probability 0.
    repeat-explore: a learned chance to repeat one of those, else an item that the sequence has not shown."""
    sampled_softmax: int = 0
    """Items drawn per training batch to estimate the softmax's sum, for catalogues near a million; 0 sums over all."""
    kernel: Kernel = "fast"
    """fast: recurrence and attention with gradients derived by hand. reference: the plain loop over time."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, f"--hidden is a size of at least 1; got {self.hidden}.")
        check_scale(self.item_scale)
        check_head_layers(self.head_layers)
        require(self.contexts >= 2, f"--contexts is a number of at least 2; got {self.contexts}.")
        for flag, value in (("--dropout-in", self.dropout_in), ("--dropout-out", self.dropout_out)):
            require(0.0 <= value < 1.0, f"{flag} is a share in [0, 1); got {value}.")
        draws = self.sampled_softmax
        require(
            not (draws and self.likelihood == "repeat-explore"),
            "--sampled-softmax estimates one softmax; leave it out with --likelihood repeat-explore, which has two.",
        )
        require(draws >= 0, f"--sampled-softmax is a number of drawn items, 0 for the full softmax; got {draws}.")


class HCRNN(nn.Module):
    """The model of one variant; ``model(batch)`` issues the sites of the prior and the observed ``next_item``.

    Args:
        variant: which history the recurrence keeps and what is read out.
        items: V.
        make_prior: K -> prior on the context proportions, see :mod:`models.priors`.
        settings: fields of :class:`HCRNNConfig` that differ from their defaults.

    Attributes:
        item_embeddings: (V + 1, E) parameter, row 0 (padding) is zero.
        item_variance: (V + 1, E) buffer, their variances where items were added without training; else ``None``.
        global_contexts: (K, E) parameter, M_global.
        prior: the prior on the context proportions.

    It also has what :class:`hcrnn_pyro.contracts.ContextModel` promises to a guide.
    """

    item_variance: Tensor | None

    def __init__(self, variant: Variant, items: int, make_prior: MakePrior, **settings: Any) -> None:
        super().__init__()
        config = HCRNNConfig(**settings)
        make_cell, make_readout = PARTS[variant]
        size = config.hidden
        self.items = items
        self.item_prior = ItemPrior(items, size, config.item_embeddings, config.item_scale)
        self.without_replacement = config.likelihood == "without-replacement"
        self.repeat_head = RepeatHead(size) if config.likelihood == "repeat-explore" else None
        self.sampler = PopularitySampler(items, config.sampled_softmax) if config.sampled_softmax else None
        self.contexts, self.embedding_size, self.input_dropout = config.contexts, size, config.dropout_in
        self.kernel = config.kernel
        self.prior = make_prior(config.contexts)
        self.item_embeddings = nn.Parameter(0.1 * torch.randn(items + 1, size).index_fill(0, torch.tensor(0), 0.0))
        self.register_buffer("item_variance", None)
        self.global_contexts = nn.Parameter(0.1 * torch.randn(config.contexts, size))
        self.cell = make_cell(size, size)
        self.readout = make_readout(size, size, config.kernel)
        self.to_item_space = LinearHead(self.readout.output_size, size, config.head_layers, config.dropout_out)  # W_B
        nn.init.xavier_uniform_(self.to_item_space.weight)
        self.event_inputs = EventInputs(size, config.dropout_in, config.time_intervals)
        self.dropout_out = Dropout(config.dropout_out)

    def prepare(self, train: Sequences) -> None:
        """Start the item embeddings from the training part, where the settings say so, and place their prior."""
        self.item_prior.prepare(train)
        self.item_prior.start_(self.item_embeddings)

    def forward(self, batch: Batch) -> Tensor:
        """The probabilistic program; returns the observed (or, without targets, drawn) next items (B, Q)."""
        announce_parameters("model", self)
        self.item_prior.observe("item_embeddings", self.item_embeddings, batch)
        with sequences_plate(batch):
            proportions = require_proportions(self.prior(batch), batch, self.contexts)
            theta = pyro.deterministic("theta", proportions, event_dim=2 if batch.scope == "filtering" else 1)
            return pyro.sample("next_item", self.likelihood(batch, theta), obs=batch.targets)

    def likelihood(self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"]) -> ItemsAtPositions:
        """p(y | x, theta), Eq. 28: softmax of head([readouts, h_t]) . item embeddings, or of seen and of new ones."""
        states = self.states(batch, theta)
        readout = self.readout(states.hidden, states.local_context, batch.queries)
        features = self.to_item_space(self.dropout_out(at_scored(readout, batch.scored)))
        if self.repeat_head is not None:
            seen = seen_items(batch.inputs, batch.queries, batch.scored)
            return RepeatOrExplore(self.repeat_head(features), self.item_embeddings, batch.scored, seen)
        excluded = seen_items(batch.inputs, batch.queries, batch.scored) if self.without_replacement else None
        if self.training and self.sampler is not None:
            negatives = self.sampler(batch.targets[batch.scored])
            return SampledNextItem(features, self.item_embeddings, batch.scored, excluded, negatives)
        return NextItem(features, self.item_embeddings, batch.scored, excluded, self.item_variance)

    def states(
        self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"], keep_gates: bool = False
    ) -> ScanResult:
        """Run the recurrence over a batch: h_t, c_t and, if asked, what each gate decided."""
        items = self.event_inputs(self.embed(batch.inputs), batch)
        per_step = batch.scope == "filtering"
        return recur(self.cell, items, theta, self.global_contexts, per_step, keep_gates, self.kernel)

    def reading(self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"]) -> ScanResult:
        """The states, with what each gate decided; for reading, as it takes the plain loop over time."""
        return self.states(batch, theta, keep_gates=True)

    @property
    def output_matrix(self) -> Float[Tensor, "columns embedding"]:
        """What features are compared with, a row for each item: the item embeddings, shared with the input."""
        return self.item_embeddings

    def context_vectors(self) -> Float[Tensor, "contexts embedding"]:
        """M_global."""
        return self.global_contexts

    def embed(self, items: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape embedding"]:
        """Embeddings of item indices; padding embeds to zero."""
        return nn.functional.embedding(items, self.item_embeddings, padding_idx=0)
