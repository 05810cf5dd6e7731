"""A recurrent encoder: what a GRU remembers of a sequence, order and repetitions included.

Axes: B rows, T time, F features.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.nn.dropout import Dropout
from hcrnn_pyro.nn.encoders import after_last


class RecurrentEncoder(nn.Module):
    """h_t = GRU(x_1..x_t) over the items' embeddings: of each row's last input, or of each t in the filtering scope.

    Args:
        model: the model that the guide serves; its embeddings are shared.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.embed = model.embed  # a bound method: the embeddings stay the model's parameters alone
        self.output_size = model.embedding_size
        self.dropout = Dropout(model.input_dropout)
        self.recurrence = nn.GRU(model.embedding_size, self.output_size, batch_first=True)

    def forward(self, batch: Batch) -> Float[Tensor, "batch *time feature"]:
        """States; padding stands behind the last input, where no state that is kept can see it."""
        states, _ = self.recurrence(self.dropout(self.embed(batch.inputs)))
        return states if batch.scope == "filtering" else after_last(states, batch)
