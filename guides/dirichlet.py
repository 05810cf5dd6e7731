"""q(theta | x_<1:T>) = Dirichlet(alpha(s)), s the distinct items' summed embeddings."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import DirichletFamily
from hcrnn_pyro.nn.encoders import BagEncoder


class DirichletBag(AmortizedGuide):
    """The encoder of ``bag-of-items``, and a Dirichlet posterior, for a prior whose latent is theta itself.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.

    Raises:
        SupportMismatch: a latent does not live on the simplex.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, BagEncoder, DirichletFamily)
