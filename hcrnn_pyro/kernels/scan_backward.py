"""The backward pass of the recurrence, by hand.

Axes: T time, R rows, E embedding, H hidden, K global contexts; time comes first. ``grad_x`` is the gradient of the loss
with respect to x; for a gate, the candidate and the attention's query, to what goes into the activation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hcrnn_pyro.kernels import additive
from hcrnn_pyro.kernels.products import outer_products
from hcrnn_pyro.kernels.reference import ScanInputs
from hcrnn_pyro.kernels.scan_forward import ScanWeights, Steps, key_factor_at


class Slopes(NamedTuple):
    """The factors of the chain rule that are known before the backward loop."""

    candidate: Tensor  # of h_t in h~_t
    update: Tensor  # of h_t in z_t's input
    keep_hidden: Tensor  # of h_t in h_{t-1}, directly
    reset: Tensor  # of the history kept in r_t's input
    drift: Tensor  # ... in G_t^d's input
    keep_history: Tensor  # ... in h_{t-1}
    propose: Tensor  # of c_t in c~_t
    local: Tensor  # of c_t in G_t^c's input
    keep_local: Tensor  # of c_t in c_{t-1}, directly


def slopes_of(steps: Steps) -> Slopes:
    """For all steps at once."""
    hidden, local_context = steps.hidden[:-1], steps.local_context[:-1]
    embedding, size = local_context.shape[-1], hidden.shape[-1]
    local_gate, update_gate, reset_gate = steps.gates.split([embedding, size, size], dim=-1)
    keep_local, keep_hidden = 1.0 - local_gate, 1.0 - update_gate
    own_gate = len(steps.drift_gate) > 0
    return Slopes(
        candidate=update_gate * (1.0 - steps.candidate.square()),
        update=(steps.candidate - hidden) * update_gate * keep_hidden,
        keep_hidden=keep_hidden,
        reset=steps.kept * (1.0 - reset_gate),
        drift=steps.kept * (1.0 - steps.drift_gate) if own_gate else steps.drift_gate,
        keep_history=reset_gate * steps.drift_gate if own_gate else reset_gate,
        propose=local_gate,
        local=(steps.proposed - local_context) * local_gate * keep_local,
        keep_local=keep_local,
    )


class Gradients(NamedTuple):
    """What the backward loop leaves; time comes first."""

    packed: Tensor  # of the inputs of G_t^c, z_t, r_t and of the query, side by side as the weights are packed
    candidate: Tensor  # of its input
    drift: Tensor  # of the drift gate's input; of no steps where there is no such gate
    read: Tensor  # of what the drift weight reads
    proposed: Tensor  # of c~_t
    theta: Tensor
    projected_contexts: Tensor
    score: Tensor  # of v_theta
    hidden: Tensor  # of h_0
    local_context: Tensor  # of c_0


def backward(
    agreement: bool, inputs: ScanInputs, weights: ScanWeights, steps: Steps, after_hidden: Tensor, after_local: Tensor
) -> Gradients:
    """From the last step to the first.

    Args:
        agreement: whether the drift weight read x_t * c_t, or c_t alone.
        inputs: what ran through the scan.
        weights: of the cell.
        steps: what :func:`hcrnn_pyro.kernels.scan_forward.forward` left.
        after_hidden: (R, T, H) gradients of h_1..h_T, but for their way through later steps.
        after_local: (R, T, E) of c_1..c_T, likewise.
    """
    loop = _Loop(agreement, inputs, weights, steps)
    for t in reversed(range(len(loop.grads.candidate))):
        loop.grads.hidden.add_(after_hidden[:, t])
        loop.grads.local_context.add_(after_local[:, t])
        loop.leave_hidden(t)
        loop.leave_local_context(t)
        loop.leave_attention(t)
    return loop.grads


def new_gradients(inputs: ScanInputs, steps: Steps) -> Gradients:
    """Room for the gradients, laid out row by row whatever the inputs' strides; those that are added up start at 0."""
    (time, rows, size), embedding = steps.candidate.shape, inputs.items.shape[-1]

    def zeros(tensor: Tensor) -> Tensor:
        return tensor.new_zeros(tensor.shape)

    return Gradients(
        packed=inputs.items.new_empty(time, rows, embedding + 3 * size),
        candidate=torch.empty_like(steps.candidate),
        drift=torch.empty_like(steps.drift_gate),
        read=torch.empty_like(steps.read),
        proposed=torch.empty_like(steps.proposed),
        theta=zeros(inputs.theta),
        projected_contexts=zeros(inputs.projected_contexts),
        score=inputs.items.new_zeros(size),
        hidden=zeros(inputs.hidden),
        local_context=zeros(inputs.local_context),
    )


class _Loop:
    """One step back, part by part."""

    def __init__(self, agreement: bool, inputs: ScanInputs, weights: ScanWeights, steps: Steps) -> None:
        self.agreement, self.inputs, self.weights, self.steps = agreement, inputs, weights, steps
        self.slopes = slopes_of(steps)
        self.grads = new_gradients(inputs, steps)
        sizes = [inputs.items.shape[-1], *3 * [steps.candidate.shape[-1]]]
        self.local_gate, self.update, self.reset, self.query = self.grads.packed.split(sizes, dim=-1)
        self.key_factor = key_factor_at(inputs, 0)
        self.grad_key = torch.zeros_like(self.key_factor)  # without the factor v_theta

    def leave_hidden(self, t: int) -> None:
        """From h_t to h_{t-1} directly, to the gates behind h_t, and to c_t."""
        grads, slopes = self.grads, self.slopes
        torch.mul(grads.hidden, slopes.update[t], out=self.update[t])
        torch.mul(grads.hidden, slopes.candidate[t], out=grads.candidate[t])
        kept = grads.candidate[t] @ self.weights.history_to_candidate
        drift = torch.mul(kept, slopes.reset[t], out=self.reset[t])
        if self.weights.drift_bias is not None:
            drift = torch.mul(kept, slopes.drift[t], out=grads.drift[t])
        grads.hidden.mul_(slopes.keep_hidden[t]).addcmul_(kept, slopes.keep_history[t])

        read = torch.mm(drift, self.weights.drift, out=grads.read[t])
        if self.agreement:
            grads.local_context.addcmul_(read, self.inputs.items[:, t])
        else:
            grads.local_context.add_(read)
        grads.local_context.addmm_(self.update[t], self.weights.local_to_update)

    def leave_local_context(self, t: int) -> None:
        """From c_t to c_{t-1} directly, to its gate and to the context proposed."""
        grads, slopes = self.grads, self.slopes
        torch.mul(grads.local_context, slopes.local[t], out=self.local_gate[t])
        torch.mul(grads.local_context, slopes.propose[t], out=grads.proposed[t])
        grads.local_context.mul_(slopes.keep_local[t])

    def leave_attention(self, t: int) -> None:
        """From the context proposed to query, keys and v_theta, and from what the gates read to h_{t-1}, c_{t-1}."""
        inputs, grads, size = self.inputs, self.grads, self.grads.hidden.shape[-1]
        if inputs.theta_per_step:
            self.key_factor = key_factor_at(inputs, t)
            self.grad_key.zero_()
        grad = grads.proposed[t] @ inputs.global_contexts.T
        scores = torch._softmax_backward_data(grad, self.steps.attention[t], -1, grad.dtype).unsqueeze(1)
        query, query_factor = grad.new_zeros(len(grad), 1, size), self.steps.query[t].unsqueeze(1)
        additive.add_gradients(query_factor, self.key_factor, scores, query, self.grad_key, grads.score)
        torch.mul(query.squeeze(1), self.weights.context_score, out=self.query[t])
        if inputs.theta_per_step:
            self._leave_keys(inputs.theta[:, t], grads.theta[:, t])
        elif t == 0:
            self._leave_keys(inputs.theta, grads.theta)
        grads.hidden.addmm_(grads.packed[t], self.weights.hidden)
        grads.local_context.addmm_(self.local_gate[t], self.weights.local_to_local)

    def _leave_keys(self, theta: Tensor, grad_theta: Tensor) -> None:
        """From the keys, theta_k (M W_thetaa)_k, to both factors."""
        key = self.grad_key * self.weights.context_score
        grad_theta.copy_((key * self.inputs.projected_contexts).sum(-1))
        self.grads.projected_contexts.add_(torch.einsum("rkh,rk->kh", key, theta))


def to_inputs(agreement: bool, grads: Gradients, steps: Steps) -> ScanInputs:
    """Gradients of the inputs, in their order."""
    (time, rows, size), packed = grads.candidate.shape, grads.packed.shape[-1]
    projected = grads.candidate.new_empty(rows, time, packed)  # rows first, as the projection's own gradient wants it
    projected[..., :-size] = grads.packed[..., :-size].transpose(0, 1)
    projected[..., -size:] = grads.candidate.transpose(0, 1)
    items = grads.read * steps.local_context[1:] if agreement else torch.zeros_like(grads.read)
    return ScanInputs(
        items=items.transpose(0, 1),
        projected=projected,
        theta=grads.theta,
        projected_contexts=grads.projected_contexts,
        global_contexts=outer_products(steps.attention, grads.proposed),
        hidden=grads.hidden,
        local_context=grads.local_context,
    )


def to_weights(grads: Gradients, steps: Steps) -> ScanWeights:
    """Gradients of the weights, in their order, each one product over all steps and rows."""
    embedding, size = steps.read.shape[-1], steps.candidate.shape[-1]
    local_gate, update, reset, _ = grads.packed.split([embedding, size, size, size], dim=-1)
    own_drift_gate = len(grads.drift) > 0
    return ScanWeights(
        hidden=outer_products(grads.packed, steps.hidden[:-1]),
        context_score=grads.score,
        local_to_local=outer_products(local_gate, steps.local_context[:-1]),
        local_to_update=outer_products(update, steps.local_context[1:]),
        history_to_candidate=outer_products(grads.candidate, steps.kept),
        drift=outer_products(grads.drift if own_drift_gate else reset, steps.read),
        drift_bias=grads.drift.sum((0, 1)) if own_drift_gate else None,
    )
