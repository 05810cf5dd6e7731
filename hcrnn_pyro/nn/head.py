"""The head: from what a model reads out of a sequence to the space in which it scores the items.

Axes: ``*batch`` predictions, R readout, E embedding.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.errors import require
from hcrnn_pyro.nn.dropout import Dropout

WIDTH = 4
"""Units of a hidden layer, in units of E: the feed-forward layers of Vaswani et al. (2017)."""


def check_head_layers(layers: int) -> None:
    """Refuse what is no number of layers.

    Raises:
        UserError: it is not.
    """
    require(layers >= 0, f"--head-layers is a number of hidden layers, 0 for none; got {layers}.")


class LinearHead(nn.Linear):
    """r -> W r + FeedForward(r); the feed-forward part starts at zero, and with no hidden layers there is none.

    Args:
        readout_size: R.
        embedding_size: E.
        layers: hidden layers of the feed-forward part.
        dropout: share of the hidden units that are dropped.
    """

    def __init__(self, readout_size: int, embedding_size: int, layers: int = 0, dropout: float = 0.0) -> None:
        super().__init__(readout_size, embedding_size, bias=False)
        self.beyond = feed_forward(readout_size, embedding_size, layers, dropout) if layers else None

    def forward(self, readout: Float[Tensor, "*batch readout"]) -> Float[Tensor, "*batch embedding"]:
        """The features that are compared with the embedding of every item."""
        features = super().forward(readout)
        return features if self.beyond is None else features + self.beyond(readout)


class ResidualHead(nn.Module):
    """r -> r + FeedForward(r), for a readout that lives in the items' space already (R = E).

    Args:
        size: E.
        layers: hidden layers of the feed-forward part.
        dropout: share of the hidden units that are dropped.
    """

    def __init__(self, size: int, layers: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.beyond = feed_forward(size, size, layers, dropout) if layers else None

    def forward(self, readout: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch embedding"]:
        """The features that are compared with the embedding of every item."""
        return readout if self.beyond is None else readout + self.beyond(readout)


def feed_forward(inputs: int, outputs: int, layers: int, dropout: float) -> nn.Sequential:
    """Hidden layers of ``WIDTH`` E units, each with GELU and dropout, and a map to E units that starts at zero."""
    width = WIDTH * outputs
    sizes = [inputs, *[width] * layers]
    hidden: list[nn.Module] = []
    for before, after in pairwise(sizes):
        hidden += [nn.Linear(before, after), nn.GELU(), Dropout(dropout)]
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)
