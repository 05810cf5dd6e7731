"""The plate over a batch's rows: they are independent given the parameters."""

from __future__ import annotations

from typing import Any

import pyro
from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.util import is_validation_enabled

from hcrnn_pyro.data.batches import Batch


class _WholePlate(IndepMessenger):
    """``pyro.plate`` of all its indices. As it need not draw them, it sends no message of its own.

    That message, and two nodes of traces that Pyro then prunes, are a sixth of what Pyro costs a training step.
    """

    def _process_message(self, msg: Any) -> None:
        super()._process_message(msg)
        BroadcastMessenger._pyro_sample(msg)


def sequences_plate(batch: Batch) -> Any:
    """``pyro.plate("sequences", B, dim=-1)``: a context manager, inside which sites have one value for each row.

    Where Pyro validates, as in a run's first batches and wherever a user traces a model, it is that plate. Elsewhere it
    is a lighter one, which expands distributions and marks sites alike, and leaves no node ``sequences`` in a trace.

    Args:
        batch: its rows.

    Raises:
        ZeroDivisionError: the batch has no rows.
    """
    # Pyro's checks ask for a node in the model's trace for each plate of the guide, which may be the user's.
    return (pyro.plate if is_validation_enabled() else _WholePlate)("sequences", batch.size, dim=-1)
