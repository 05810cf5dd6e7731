"""The backward pass of the recurrence, by hand.

Axes: T time, R rows, E embedding, H hidden, K global contexts; time comes first. ``grad_x`` is the gradient of the loss
with respect to x; for a gate, the candidate and the attention's query, to what goes into the activation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hcrnn_pyro.kernels import additive
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


class ScanBackward:
    """Gradients of everything that went into a scan.

    Args:
        agreement: whether the drift weight read x_t * c_t, or c_t alone.
        inputs: what ran through the scan.
        weights: of the cell.
        steps: what :func:`hcrnn_pyro.kernels.scan_forward.forward` left.
    """

    def __init__(self, agreement: bool, inputs: ScanInputs, weights: ScanWeights, steps: Steps) -> None:
        self.agreement, self.inputs, self.weights, self.steps = agreement, inputs, weights, steps
        self.own_drift_gate = weights.drift_bias is not None
        embedding, size = inputs.items.shape[-1], inputs.hidden.shape[-1]
        like = steps.candidate
        # Side by side, as the weights are packed: G_t^c, z_t, r_t and the query, so that one product serves all four.
        self.packed = like.new_empty(*like.shape[:2], embedding + 3 * size)
        self.local_gate, self.update, self.reset, self.query = self.packed.split([embedding, size, size, size], dim=-1)
        self.candidate = torch.empty_like(like)
        self.drift = torch.empty_like(like) if self.own_drift_gate else self.reset
        self.read, self.proposed = torch.empty_like(steps.read), torch.empty_like(steps.proposed)
        self.hidden, self.local_context = torch.zeros_like(inputs.hidden), torch.zeros_like(inputs.local_context)
        self.unscored_query = torch.zeros_like(steps.query)  # without the factor v_theta
        self.score = torch.zeros_like(weights.context_score)
        self.key_factor = key_factor_at(inputs, 0)
        self.key = torch.zeros_like(self.key_factor)
        self.theta = torch.empty_like(inputs.theta)
        self.projected_contexts = torch.zeros_like(inputs.projected_contexts)

    def run(self, grad_hidden: Tensor, grad_local_context: Tensor) -> None:
        """From the last step to the first.

        Args:
            grad_hidden: (R, T, H) of the loss in h_1..h_T, but for its way through later steps.
            grad_local_context: (R, T, E) of the loss in c_1..c_T, likewise.
        """
        slopes = Slopes(*(tensor.unbind(0) for tensor in slopes_of(self.steps)))  # type: ignore[arg-type]
        hidden, local_context = grad_hidden.unbind(1), grad_local_context.unbind(1)
        for t in reversed(range(len(self.candidate))):
            self.hidden += hidden[t]
            self.local_context += local_context[t]
            self._temporary_context(t, slopes)
            self._local_context(t, slopes)
            self._attention(t)
            self.hidden.addmm_(self.packed[t], self.weights.hidden)
            self.local_context.addmm_(self.local_gate[t], self.weights.local_to_local)
        if not self.inputs.theta_per_step:
            self._keys(self.inputs.theta, self.theta)

    def _temporary_context(self, t: int, slopes: Slopes) -> None:
        """From h_t to h_{t-1} directly, to the gates behind h_t, and to c_t."""
        torch.mul(self.hidden, slopes.update[t], out=self.update[t])
        candidate = torch.mul(self.hidden, slopes.candidate[t], out=self.candidate[t])
        kept = candidate @ self.weights.history_to_candidate
        torch.mul(kept, slopes.reset[t], out=self.reset[t])
        if self.own_drift_gate:
            torch.mul(kept, slopes.drift[t], out=self.drift[t])
        self.hidden.mul_(slopes.keep_hidden[t]).addcmul_(kept, slopes.keep_history[t])

        read = torch.mm(self.drift[t], self.weights.drift, out=self.read[t])
        if self.agreement:
            self.local_context.addcmul_(read, self.inputs.items[:, t])
        else:
            self.local_context += read
        self.local_context.addmm_(self.update[t], self.weights.local_to_update)

    def _local_context(self, t: int, slopes: Slopes) -> None:
        """From c_t to c_{t-1} directly, to its gate and to the context proposed."""
        torch.mul(self.local_context, slopes.local[t], out=self.local_gate[t])
        torch.mul(self.local_context, slopes.propose[t], out=self.proposed[t])
        self.local_context.mul_(slopes.keep_local[t])

    def _attention(self, t: int) -> None:
        """From the context proposed to query, keys and v_theta of the context attention."""
        if self.inputs.theta_per_step:
            self.key_factor = key_factor_at(self.inputs, t)
            self.key.zero_()
        grad = (self.proposed[t] @ self.inputs.global_contexts.T).unsqueeze(1)
        grad_scores = torch._softmax_backward_data(grad, self.steps.attention[t], -1, grad.dtype)
        query = self.unscored_query[t]
        additive.add_gradients(self.steps.query[t], self.key_factor, grad_scores, query, self.key, self.score)
        torch.mul(query.squeeze(1), self.weights.context_score, out=self.query[t])
        if self.inputs.theta_per_step:
            self._keys(self.inputs.theta[:, t], self.theta[:, t])

    def _keys(self, theta: Tensor, grad_theta: Tensor) -> None:
        """From the keys, theta_k (M W_thetaa)_k, to both factors."""
        key = self.key * self.weights.context_score
        grad_theta.copy_((key * self.inputs.projected_contexts).sum(-1))
        self.projected_contexts += torch.einsum("rkh,rk->kh", key, theta)

    def grad_inputs(self) -> ScanInputs:
        """Of the inputs, in their order."""
        gates = self.packed[..., : -self.candidate.shape[-1]]
        items = self.read * self.steps.local_context[1:] if self.agreement else torch.zeros_like(self.read)
        return ScanInputs(
            items=items.transpose(0, 1),
            projected=torch.cat([gates, self.candidate], dim=-1).transpose(0, 1),
            theta=self.theta,
            projected_contexts=self.projected_contexts,
            global_contexts=_product(self.steps.attention, self.proposed),
            hidden=self.hidden,
            local_context=self.local_context,
        )

    def grad_weights(self) -> ScanWeights:
        """Of the weights, in their order."""
        return ScanWeights(
            hidden=_product(self.packed, self.steps.hidden[:-1]),
            context_score=self.score,
            local_to_local=_product(self.local_gate, self.steps.local_context[:-1]),
            local_to_update=_product(self.update, self.steps.local_context[1:]),
            history_to_candidate=_product(self.candidate, self.steps.kept),
            drift=_product(self.drift, self.steps.read),
            drift_bias=self.drift.sum((0, 1)) if self.own_drift_gate else None,
        )


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Sum over steps and rows of the outer products."""
    return left.flatten(0, -2).T @ right.flatten(0, -2)
