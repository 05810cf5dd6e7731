"""q(z | x_<1:T>) = Normal(mu(h_T), diag sigma(h_T)^2) on R^D, h_T the state of a GRU after x_1..x_T."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import MeanField
from hcrnn_pyro.nn.recurrent_encoder import RecurrentEncoder


class Recurrent(AmortizedGuide):
    """Embeddings in their order -> GRU -> mean and scale of every latent.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, RecurrentEncoder, MeanField)
