"""A cell over time: by the fast scan where it knows the cell's equations, by the plain loop otherwise.

Axes: ``*batch`` rows (Pyro adds dimensions on the left), T time, E embedding, K global contexts.
"""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from hcrnn_pyro.kernels import Kernel, reference
from hcrnn_pyro.kernels.reference import ScanInputs, ScanResult
from hcrnn_pyro.kernels.scan import ScanWeights, scan
from hcrnn_pyro.nn.cells import HCRNN1Cell, HCRNN2Cell, HCRNN3Cell, HCRNNCell
from hcrnn_pyro.nn.plain_linear import is_plain

# Whether the drift weight reads x_t * c_t or c_t alone, by the equation of the history kept. Looked up by the method
# and not by the class, so that a cell derived from one of these with an equation of its own is run by the plain loop.
AGREEMENT = {HCRNN1Cell.keep_history: False, HCRNN2Cell.keep_history: True, HCRNN3Cell.keep_history: True}


def recur(
    cell: HCRNNCell,
    items: Float[Tensor, "rows time embedding"],
    theta: Float[Tensor, "*theta_shape contexts"],
    global_contexts: Float[Tensor, "contexts embedding"],
    theta_per_step: bool = False,
    keep_gates: bool = False,
    kernel: Kernel = "fast",
) -> ScanResult:
    """The states after every step, from h_0 = c_0 = 0.

    Args:
        cell: one step.
        items: x_1..x_T.
        theta: context proportions, ``(*batch, K)``, or ``(*batch, T, K)`` with ``theta_per_step``.
        global_contexts: M_global.
        theta_per_step: whether every step has its own theta.
        keep_gates: whether the result has the gates of every step, for reading; this takes the plain loop.
        kernel: ``fast`` where it applies, or the plain loop everywhere.

    Raises:
        ValueError: theta does not fit the items and the global contexts.
    """
    batch = theta.shape[: -2 if theta_per_step else -1]
    last = (*items.shape[: 2 if theta_per_step else 1], len(global_contexts))
    if theta.shape[-len(last) :] != last:  # the compiled loops do not look where they write
        raise ValueError(f"Expected theta of shape (..., {', '.join(map(str, last))}); got {tuple(theta.shape)}.")
    inputs = ScanInputs(
        items,
        cell.input_projection(items),
        theta,
        cell.context_projection(global_contexts),
        global_contexts,
        *cell.initial_state(batch),
    )
    if kernel == "fast" and not keep_gates and is_known(cell):
        return scan(_weights(cell), AGREEMENT[type(cell).keep_history], inputs)
    return reference.scan(partial(cell, drift_weight=cell.drift_weight), inputs, keep_gates)


def is_known(cell: HCRNNCell) -> bool:
    """Whether the fast scan, which reads the cell's weights, computes what the cell's own step would."""
    own_step = type(cell).keep_history not in AGREEMENT or type(cell).forward is not HCRNNCell.forward
    parts = (cell.hidden_projection, cell.local_to_local, cell.local_to_update, cell.history_to_candidate)
    hooked = bool(cell._forward_hooks or cell._forward_pre_hooks)
    return not own_step and not hooked and all(is_plain(part) for part in parts)


def _weights(cell: HCRNNCell) -> ScanWeights:
    return ScanWeights(
        hidden=cell.hidden_projection.weight,
        context_score=cell.context_score,
        local_to_local=cell.local_to_local.weight,
        local_to_update=cell.local_to_update.weight,
        history_to_candidate=cell.history_to_candidate.weight,
        drift=cell.drift_weight,
        drift_bias=cell.drift_bias if isinstance(cell, HCRNN3Cell) else None,
    )
