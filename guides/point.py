"""q(z | x_<1:T>) = Delta(z; mu(s)), s the distinct items' summed embeddings: one point, learnt as the most probable."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import Point
from hcrnn_pyro.nn.encoders import BagEncoder


class PointBag(AmortizedGuide):
    """The encoder of ``bag-of-items``, and no uncertainty: what is left of the model without inference.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, BagEncoder, Point)
