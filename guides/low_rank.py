"""q(z | x_<1:T>) = Normal(mu(s), W(s) W(s)^T + diag sigma(s)^2) on R^D, s the distinct items' summed embeddings."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import LowRank
from hcrnn_pyro.nn.encoders import BagEncoder


class LowRankBag(AmortizedGuide):
    """The encoder of ``bag-of-items``, and a posterior in which the coordinates of a latent are correlated.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, BagEncoder, LowRank)
