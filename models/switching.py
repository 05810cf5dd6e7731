r"""HCRNN with switching contexts: theta is the law of the contexts that items come from, so the data must use it.

Axes: B rows, T time, N scored predictions, V items, E = H embedding and hidden size, K contexts.

    z_1 ~ Categorical(theta);   z_t = z_{t-1} with probability 1 - d, else ~ Categorical(theta)
    p(y_t = i | z_t = k, x_1..x_t)  proportional to  exp(m_t a_t(i)) b_k(i),
        b_k = softmax_i(M_k . item embedding_i + popularity_i),   a_t = (W_B [readouts, h_t]) . item embeddings
    m_t ~ Bernoulli(1 - r) in training, summed out; 1 in prediction

                    +-------------------------------- sequences, B --+
                    |  eta ---> theta ---> z_1 ---> z_2 ---> ...     |
                    |                       |        |   (summed     |
    M, W, M_emb --->|                       v        v    out)       |
    (parameters)    |                 next_item  next_item  ...      |
                    |                       ^        ^  (observed)   |
                    |  x_1..x_t ---> h_1 ---+  h_2 --+               |
                    +------------------------------------------------+

In HCRNN theta only tilts an attention inside the recurrence, which can do without it, and the ELBO lets theta go. Here
each item comes from a context: b_k is its law over items (Dieng, Ruiz and Blei, "Topic modeling in embedding spaces",
2020), and the temporary context h_t of HCRNN-3+Bi re-weighs it. The contexts are summed out exactly. At a share r of
the training's steps the temporary context is missing (m_t = 0), and only theta can tell what comes: as Bowman et al.
(2016) drop words, so that h_t cannot make theta idle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import MakePrior
from hcrnn_pyro.data.batches import Batch, Scope
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.distributions import (
    ContextMixture,
    ContextMixtureWithGaps,
    Likelihood,
    below_highest,
    context_normalisers,
)
from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels import Kernel
from hcrnn_pyro.kernels.reference import ScanResult
from hcrnn_pyro.nn.attention import at_positions
from hcrnn_pyro.nn.clusters import cluster_centres
from hcrnn_pyro.nn.context_filter import context_filter, context_filter_per_step
from hcrnn_pyro.nn.head import check_head_layers
from hcrnn_pyro.nn.item_prior import check_scale
from hcrnn_pyro.seen import seen_items
from hcrnn_pyro.spectral import ItemEmbeddings

from .hcrnn import HCRNN

STRENGTH = 3.0  # of the contexts at the start, in units of the clusters of item embeddings that they start from


@dataclass(frozen=True)
class SwitchingConfig:
    """Sizes and regularisation of HCRNN with switching contexts."""

    hidden: int = 100
    """Size of item embeddings, contexts and states (E = H)."""
    contexts: int = 50
    """Number of global contexts K."""
    dropout_in: float = 0.4
    """Dropout on the embedded inputs, the guide's too."""
    dropout_out: float = 0.5
    """Dropout before the output layer."""
    missing: float = 0.75
    """Share r of the training's steps whose temporary context is missing; a higher one makes more use of theta."""
    drift: float = 1.0
    """Chance d that a step redraws its context from theta: 1 at every step; below 1 it is learned from there."""
    head_layers: int = 0
    """Hidden layers, each 4 E wide, that the output layer's linear map has beside it; 0: none."""
    time_intervals: bool = False
    """Read how long ago the event before each one was; for data with times."""
    item_embeddings: ItemEmbeddings = "spectral"
    """Where item embeddings start: flat from noise, spectral from what stands near what in training sequences."""
    item_scale: float | None = None
    """Standard deviation of the Normal prior on item embeddings, around the spectral ones or else 0; None: no prior."""
    likelihood: Likelihood = "categorical"
    """categorical: every item may follow. without-replacement: items already in the sequence have probability 0."""
    kernel: Kernel = "fast"
    """fast: recurrence and attention with gradients derived by hand. reference: the plain loop over time."""

    def __post_init__(self) -> None:
        check_scale(self.item_scale)
        check_head_layers(self.head_layers)
        require(0.0 <= self.missing < 1.0, f"--missing is a share in [0, 1); got {self.missing}.")
        require(0.0 < self.drift <= 1.0, f"--drift is a probability above 0; got {self.drift}.")


class Local(NamedTuple):
    """What a batch says whatever theta.

    Attributes:
        contexts: b_k, the item law of each context.
        logits: a_t, less the highest of its row; minus infinity for what cannot follow.
        normalisers: sums of exp(logits) b_k.
        gap_logits: the same where a_t is missing: 0, or minus infinity.
        gap_normalisers: sums of exp(gap_logits) b_k.
    """

    contexts: Float[Tensor, "contexts columns"]
    logits: Float[Tensor, "positions columns"]
    normalisers: Float[Tensor, "positions contexts"]
    gap_logits: Float[Tensor, "positions columns"]
    gap_normalisers: Float[Tensor, "positions contexts"]


class SwitchingHCRNN(HCRNN):
    """HCRNN-3+Bi whose items come from contexts; ``model(batch)`` issues the sites of the prior and ``next_item``.

    Args:
        items: V.
        make_prior: K -> prior on the context proportions.
        settings: fields of :class:`SwitchingConfig` that differ from their defaults.

    Attributes:
        popularity: (V + 1,) parameter, added to the logits of every context.
        drift_logit: parameter, log(d / (1 - d)); ``None`` where every step redraws its context.
    """

    def __init__(self, items: int, make_prior: MakePrior, **settings: Any) -> None:
        config = SwitchingConfig(**settings)
        shared = {name: value for name, value in vars(config).items() if name not in ("missing", "drift")}
        super().__init__("hcrnn3-bi", items, make_prior, **shared)
        self.missing = config.missing
        self._kept: tuple[Any, Local] | None = None
        self.popularity = nn.Parameter(torch.zeros(items + 1))
        redraws = config.drift == 1.0
        self.drift_logit = None if redraws else nn.Parameter(torch.tensor(math.log(config.drift / (1 - config.drift))))

    def prepare(self, train: Sequences) -> None:
        """Start the item embeddings from the training part, where the settings say so, and the contexts from them."""
        super().prepare(train)
        centres = cluster_centres(self.item_embeddings.detach()[1:], self.contexts)
        self.global_contexts.data.copy_(STRENGTH * (centres - centres.mean(dim=0)))

    @property
    def drift(self) -> Float[Tensor, ""]:
        """Probability d that a step redraws its context."""
        return self.popularity.new_ones(()) if self.drift_logit is None else self.drift_logit.sigmoid()

    def context_distributions(self) -> Float[Tensor, "contexts columns"]:
        """b_k, the law over items of each context; 0 for padding."""
        logits = self.global_contexts @ self.item_embeddings.T + self.popularity
        return nn.functional.pad(logits[:, 1:].softmax(dim=-1), (1, 0))

    def likelihood(self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"]) -> ContextMixture:
        """p(y | x, theta), its contexts summed out."""
        local = self.local(batch)
        if self.drift_logit is None:
            weights = at_queries(theta, batch)
        else:
            weights = at_queries(self.to_come(batch, theta, local), batch, per_step=True)
            kept = scored_among_valid(batch)
            local = Local(local.contexts, *(table[kept] for table in local[1:]))
        mixture = weights[..., batch.scored, :], local.logits, local.contexts, local.normalisers, batch.scored
        if self.missing:
            return ContextMixtureWithGaps(*mixture, local.gap_logits, local.gap_normalisers, self.missing)
        return ContextMixture(*mixture)

    def local(self, batch: Batch) -> Local:
        """What theta does not change; of frozen weights it is kept, as the next call often has the same batch."""
        weights = tuple(self.parameters())
        if self.training or any(weight.requires_grad for weight in weights):
            self._kept = None
            return self._local(batch)
        state = (batch, [weight._version for weight in weights])
        if self._kept is None or self._kept[0][0] is not batch or self._kept[0][1] != state[1]:
            self._kept = state, self._local(batch)
        return self._kept[1]

    def _local(self, batch: Batch) -> Local:
        contexts = self.context_distributions()
        logits, excluded = self.local_logits(batch if self.drift_logit is None else every_position(batch))
        logits = below_highest(logits)
        normalisers, gaps = (context_normalisers(table, contexts) for table in (logits, excluded))
        return Local(contexts, logits, normalisers, excluded, gaps)

    def local_logits(
        self, batch: Batch
    ) -> tuple[Float[Tensor, "predictions columns"], Float[Tensor, "predictions columns"]]:
        """a_t at the scored positions, minus infinity for what cannot follow; and that alone: 0 or minus infinity."""
        states = self.states(*self._without_theta(batch))
        readout = self.readout(states.hidden, states.local_context, batch.queries)[batch.scored]
        logits = self.to_item_space(self.dropout_out(readout)) @ self.item_embeddings.T
        seen = seen_items(batch.inputs, batch.queries, batch.scored) if self.without_replacement else None
        excluded = torch.zeros_like(logits)
        excluded[:, 0] = -math.inf
        if seen is not None:
            seen.exclude_(excluded)
        return logits + excluded, excluded

    def reading(self, batch: Batch, theta: Float[Tensor, "*theta_shape contexts"]) -> ScanResult:
        """The states, with what each gate decided, whatever theta."""
        return self.states(*self._without_theta(batch), keep_gates=True)

    def _without_theta(self, batch: Batch) -> tuple[Batch, Float[Tensor, "rows contexts"]]:
        """What the recurrence reads: in it theta is equal for all contexts, as it acts through the likelihood alone."""
        equal = self.item_embeddings.new_full((batch.size, self.contexts), 1.0 / self.contexts)
        return replace(batch, scope="sequence"), equal

    def to_come(
        self,
        batch: Batch,
        theta: Float[Tensor, "*theta_shape contexts"],
        local: Local,
    ) -> Float[Tensor, "*draws rows time contexts"]:
        """p(z_{t+1} | x_1..x_t, theta), from what is local to every position that is no padding."""
        of_items = local.contexts.T[batch.inputs]  # (B, T, K)
        given = torch.ones_like(of_items)  # normaliser of the step before; x_1 has none
        before = batch.valid & (torch.arange(batch.inputs.shape[1], device=theta.device) < batch.lengths[:, None] - 1)
        given[:, 1:][before[:, :-1]] = local.normalisers[before[batch.valid]]
        emission = torch.where(batch.valid.unsqueeze(-1), of_items / given, 1.0)
        run = context_filter_per_step if batch.scope == "filtering" else context_filter
        return run(theta, emission, self.drift)


def every_position(batch: Batch) -> Batch:
    """The same rows with a query after every input."""
    scope: Scope = "filtering" if batch.scope == "filtering" else "sequence"
    return replace(batch, targets=batch.inputs, scored=batch.valid, scope=scope)


def at_queries(values: Tensor, batch: Batch, per_step: bool = False) -> Float[Tensor, "*draws rows queries contexts"]:
    """A value for every query, of values that rows have, or steps (``per_step``, or in the filtering scope)."""
    if per_step or batch.scope == "filtering":
        return at_positions(values, batch.queries)
    return values.unsqueeze(-2).expand(*values.shape[:-1], batch.scored.shape[1], values.shape[-1])


def scored_among_valid(batch: Batch) -> Tensor:
    """Which of the positions that are no padding are scored, in their order."""
    scored = torch.zeros_like(batch.valid)
    rows, queries = batch.scored.nonzero(as_tuple=True)
    scored[rows, batch.queries[rows, queries]] = True
    return scored[batch.valid]
