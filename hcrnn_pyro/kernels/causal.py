"""Means of what a sequence has shown so far, each step by a softmax of its scores, in compiled loops for the CPU.

No step reads a later one, so half of each product is left out.

Axes: B rows, T time (of queries, keys and values), D size of a value.
"""

from __future__ import annotations

from typing import Any, no_type_check

from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from hcrnn_pyro.kernels.loops import compiled, exponential
from hcrnn_pyro.kernels.rows import over_rows
from hcrnn_pyro.kernels.tiles import ROWS, put_product


def causal_scores(
    query: Float[Tensor, "*batch time size"], key: Float[Tensor, "*batch time size"], scale: float
) -> Float[Tensor, "*batch time time"]:
    """The scores scale query_t . key_j; differentiable once, where nothing but those of j <= t is used.

    Args:
        query: one for each step, on a CPU, in single or double precision.
        key: one for each step.
        scale: factor on all scores.
    """
    return over_rows(_CausalScores.apply, (query, key), scale)


def causal_means(
    scores: Float[Tensor, "*batch time time"], values: Float[Tensor, "*batch time size"]
) -> Float[Tensor, "*batch time size"]:
    """sum_{j<=t} alpha_tj value_j with alpha_t = softmax_{j<=t}(scores_t), for every t; differentiable once.

    Args:
        scores: on a CPU, in single or double precision; those of j > t are not read.
        values: one for each step.
    """
    return over_rows(_CausalMeans.apply, (scores, values))


class _CausalScores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key)
        ctx.scale = scale
        return (query @ key.mT).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        query, key = ctx.saved_tensors
        grad = grad * ctx.scale
        return _sums_of_earlier(grad, key), _sums_of_later(grad, query), None


class _CausalMeans(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor) -> Tensor:
        weights = scores.new_zeros(scores.shape)
        _softmax(scores.detach().numpy(), weights.numpy())
        ctx.save_for_backward(weights, values)
        return _sums_of_earlier(weights, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        to_weights = grad @ values.mT
        _leave_softmax(weights.numpy(), to_weights.numpy())
        return to_weights, _sums_of_later(weights, grad)


def _sums_of_earlier(
    weights: Float[Tensor, "rows time time"], values: Float[Tensor, "rows time size"]
) -> Float[Tensor, "rows time size"]:
    """sum_{j<=t} weight_tj value_j for every t; the weights of j > t are 0."""
    sums = values.new_empty(values.shape)
    _sum_earlier(weights.numpy(), values.detach().contiguous().numpy(), sums.numpy())
    return sums


def _sums_of_later(
    weights: Float[Tensor, "rows time time"], values: Float[Tensor, "rows time size"]
) -> Float[Tensor, "rows time size"]:
    """sum_{t>=j} weight_tj value_t for every j; the weights of j > t are 0."""
    sums = values.new_empty(values.shape)
    _sum_later(weights.numpy(), values.detach().contiguous().numpy(), sums.numpy())
    return sums


@compiled
@no_type_check
def _sum_earlier(weights, values, sums):
    """A band of steps at a time: what lies behind the band's last one is passed over."""
    time = weights.shape[1]
    for b in range(len(weights)):
        for start in range(0, time, ROWS):
            stop = min(start + ROWS, time)
            put_product(start, stop, weights[b], 0, values[b, :stop], sums[b], 0)


@compiled
@no_type_check
def _sum_later(weights, values, sums):
    """A band of steps at a time: what lies before the band's first one is passed over."""
    time = weights.shape[1]
    for b in range(len(weights)):
        for start in range(0, time, ROWS):
            stop = min(start + ROWS, time)
            put_product(start, stop, weights[b].T, start, values[b, start:], sums[b], 0)


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
