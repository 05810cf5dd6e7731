"""Means of what a sequence has shown so far, each step by a softmax of its scores, in compiled loops for the CPU.

Axes: B rows, T time (of queries, keys and values), D size of a value.
"""

from __future__ import annotations

from typing import Any, no_type_check

from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from hcrnn_pyro.kernels.loops import compiled, exponential


def causal_means(
    scores: Float[Tensor, "*batch time time"], values: Float[Tensor, "*batch time size"]
) -> Float[Tensor, "*batch time size"]:
    """sum_{j<=t} alpha_tj value_j with alpha_t = softmax_{j<=t}(scores_t), for every t; differentiable once.

    Args:
        scores: on a CPU, in single or double precision; those of j > t are not read.
        values: one for each step.
    """
    rows = [tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (scores, values)]
    result: Tensor = _CausalMeans.apply(*rows)
    return result.view(values.shape)


class _CausalMeans(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor) -> Tensor:
        weights = scores.new_zeros(scores.shape)
        _softmax(scores.detach().numpy(), weights.numpy())
        ctx.save_for_backward(weights, values)
        return weights @ values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        to_weights = grad @ values.mT
        _leave_softmax(weights.numpy(), to_weights.numpy())
        return to_weights, weights.mT @ grad


@compiled
@no_type_check
def _softmax(scores, weights):
    """Write the softmax of the scores at j <= t."""
    for b in range(scores.shape[0]):
        for t in range(scores.shape[1]):
            some, result = scores[b, t, : t + 1], weights[b, t]
            largest = some[0]
            for score in some:
                largest = max(largest, score)
            total = scores.dtype.type(0)
            for j in range(t + 1):
                result[j] = exponential(some[j] - largest)
                total += result[j]
            for j in range(t + 1):
                result[j] /= total


@compiled
@no_type_check
def _leave_softmax(weights, grad):
    """Put the gradient of the scores in the place of that of the weights; 0 at j > t."""
    for b in range(grad.shape[0]):
        for t in range(grad.shape[1]):
            own, some = weights[b, t], grad[b, t]
            mean = grad.dtype.type(0)
            for j in range(t + 1):
                mean += own[j] * some[j]
            for j in range(grad.shape[2]):
                some[j] = own[j] * (some[j] - mean)
