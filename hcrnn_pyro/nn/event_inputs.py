"""What a model reads of each event: the item's embedding and, where asked, how long ago the event before it was.

Axes: B rows, T time, E embedding, J knots.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.data.dataset import PARTS, DataSet
from hcrnn_pyro.errors import require
from hcrnn_pyro.nn.dropout import Dropout

KNOTS = 32  # at 0, 1, 3, 7, ... 2^31 - 1 seconds, the last one 68 years
WITHHELD = 0.1  # share of the training's rows whose times are not told, so that the model can also do without


class EventInputs(nn.Module):
    """Dropout on the embedded items; then the time since the event before, if asked, is added.

    Args:
        size: E.
        dropout: share of the embedded items' entries.
        time_intervals: whether the times count.

    Attributes:
        intervals: the embedding of the times; ``None`` where they do not count.
    """

    def __init__(self, size: int, dropout: float, time_intervals: bool) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.intervals = IntervalEmbedding(size) if time_intervals else None

    def forward(self, items: Float[Tensor, "batch time embedding"], batch: Batch) -> Tensor:
        """The inputs of the first layer, in the shape of the embedded items of the batch."""
        items = self.dropout(items)
        return items if self.intervals is None or batch.elapsed is None else items + self.intervals(batch.elapsed)


class IntervalEmbedding(nn.Module):
    r"""A time interval as a vector: linear between knots in x = log2(1 + seconds), zero where it is unknown.

        f(x) = sum_j max(0, 1 - |x - j|) w_j

    So that events of one second, a minute and a month apart are told from each other, and a little more or less time
    means a little more or less. A tenth of the rows are told no interval in training.

    Args:
        size: E.

    Attributes:
        weight: (J, E) parameter, w.
    """

    knots: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(KNOTS, size))
        self.register_buffer("knots", torch.arange(KNOTS, dtype=self.weight.dtype), persistent=False)

    def forward(self, elapsed: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time embedding"]:
        """Embed seconds, NaN where unknown; events out of order count as simultaneous."""
        if self.training:
            withheld = torch.rand(len(elapsed), 1, device=elapsed.device) < WITHHELD
            elapsed = elapsed.masked_fill(withheld, torch.nan)
        place = elapsed.clamp(min=0.0).log1p().div(math.log(2.0)).clamp(max=KNOTS - 1.0)
        near = (1.0 - (place.unsqueeze(-1) - self.knots).abs()).clamp(min=0.0)
        return near.nan_to_num(0.0).to(self.weight.dtype) @ self.weight


def require_times(model: nn.Module, data: DataSet) -> None:
    """Look whether data have the times that a model reads.

    Raises:
        UserError: the model reads times and a part has none.
    """
    if not any(isinstance(module, IntervalEmbedding) for module in model.modules()):
        return
    without = [part for part in PARTS if len(data.part(part)) and not data.part(part).has_times]
    require(
        not without,
        f"--time-intervals reads the times of events, and {' and '.join(without)} of these data have none. Leave it "
        "out, or add --no-time-intervals to a preset that has it.",
    )
