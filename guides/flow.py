"""q(z | x_<1:T>) = the law of f_s(u), u ~ Normal(mu(s), diag sigma(s)^2), f_s of s, the distinct items."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.flow import Flow
from hcrnn_pyro.nn.encoders import BagEncoder


class FlowBag(AmortizedGuide):
    """The encoder of ``bag-of-items``, and a posterior that may be skewed, curved or of several modes.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.

    Raises:
        SupportMismatch: a latent has one coordinate alone.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, BagEncoder, Flow)
