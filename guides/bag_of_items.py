"""q(eta | x_<1:T>) = Normal(mu(s), diag sigma(s)^2), s the sum of the embeddings of the DISTINCT items: the paper's."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import MeanField
from hcrnn_pyro.nn.encoders import BagEncoder


class BagOfItems(AmortizedGuide):
    """Distinct items' embeddings -> ELU layer -> mean and scale of every latent.

    In the filtering scope theta_t is read from the distinct items of x_1..x_t, for all t in one pass.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, BagEncoder, MeanField)
