"""q(z | x_<1:T>) = Normal(mu(h_T), diag sigma(h_T)^2) on R^D, h_T of causal self-attention over x_1..x_T."""

from __future__ import annotations

from hcrnn_pyro.amortized import AmortizedGuide
from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.families import MeanField
from hcrnn_pyro.nn.attention_encoder import AttentionEncoder


class Attention(AmortizedGuide):
    """Embeddings and their positions -> two blocks of self-attention -> mean and scale of every latent.

    Args:
        model: the model whose posterior it approximates; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__(model, AttentionEncoder, MeanField)
