r"""Matrix factorisation with Bayesian personalised ranking, for users that training has not seen.

    score(y_t) = (1/t sum_{s<=t} P[x_s]) . Q[y_t] + b[y_t]

Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback",
UAI 2009. A user of a session has no row in a table of users; the mean of what its items say stands in for it, as in
Hidasi et al., ICLR 2016. The order of the items does not count.

Axes: N scored predictions, V items, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.distributions import NextItem
from hcrnn_pyro.errors import require
from hcrnn_pyro.kernels.sampled_softmax import draw_negatives
from hcrnn_pyro.nn.attention import at_positions
from hcrnn_pyro.nn.readouts import means_so_far
from hcrnn_pyro.ranking_losses import RankedNextItem

from .plain import PlainConfig, UntiedModel


@dataclass(frozen=True)
class BPRMFConfig(PlainConfig):
    """Size and negatives of BPR-MF."""

    negatives: int = 256
    """Items drawn uniformly for each training batch, for every target of it to be compared with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.negatives >= 1, f"--negatives is a number of at least 1; got {self.negatives}.")


class BPRMF(UntiedModel):
    """A user is the mean of its items' embeddings (P), an item its row of the output matrix (Q and b).

    Args:
        items: V.
        settings: fields of :class:`BPRMFConfig` that differ from their defaults.
    """

    config: ClassVar[type] = BPRMFConfig

    def __init__(self, items: int, **settings: Any) -> None:
        config = BPRMFConfig(**settings)
        super().__init__(items, config)
        self.negatives = config.negatives

    def likelihood(self, batch: Batch) -> NextItem:
        """A softmax of the scores; in training, the BPR loss in its place."""
        likelihood = super().likelihood(batch)
        if not self.training:
            return likelihood
        uniform = torch.ones(self.items + 1, dtype=torch.float64, device=batch.inputs.device)
        uniform[0] = 0.0  # padding
        return RankedNextItem(likelihood, draw_negatives(uniform, self.negatives), "bpr")

    def features(self, batch: Batch) -> Float[Tensor, "predictions size"]:
        """The users so far, and a 1."""
        users = means_so_far(self.embed(batch.inputs))
        return self.with_bias(at_positions(users, batch.queries)[batch.scored])
