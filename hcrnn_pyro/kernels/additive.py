"""Scores of additive attention, v . sigmoid(query + key), without keeping a value for every pair and unit.

Axes: B rows, Q queries, K keys, H hidden.

Queries and keys come in as factors, exp(-query) and exp(-key): then sigmoid(query + key) is one product and one
division, 1 / (1 + exp(-query) exp(-key)). The B Q K H sigmoids are made again in the backward pass. On the CPU they
live in a register of a compiled loop, on a GPU in those of a fused kernel; elsewhere for the length of one call.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from hcrnn_pyro.kernels import forms
from hcrnn_pyro.kernels.loops import compiled, exponential
from hcrnn_pyro.kernels.rows import over_rows
from hcrnn_pyro.kernels.sigmoids import KEYS, leave_scores, score_keys


def additive_scores(
    query: Float[Tensor, "*batch queries hidden"],
    key: Float[Tensor, "*batch keys hidden"],
    weight: Float[Tensor, " hidden"],
    causal: bool = False,
) -> Float[Tensor, "*batch queries keys"]:
    """sum_h v_h sigmoid(query_h + key_h) for every pair; differentiable once.

    Equal to :func:`hcrnn_pyro.kernels.reference.additive_scores`, but that a query or key beyond +-87 (in float32; 708
    in float64) counts as that number, and that on a CPU a sigmoid may count as 5e-10 that is less.

    Args:
        query: one for each question.
        key: one for each thing asked about.
        weight: v.
        causal: whether the scores of keys behind the query's place are never read, and need not be right.
    """
    return over_rows(_AdditiveScores.apply, (query, key), weight, causal)


class _AdditiveScores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, weight: Tensor, causal: bool) -> Tensor:
        query_factor, key_factor, weight = _factor(query), _factor(key), weight.contiguous()
        ctx.save_for_backward(query_factor, key_factor, weight)
        ctx.causal = causal
        return scores(query_factor, key_factor, weight, causal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query_factor, key_factor, weight = ctx.saved_tensors
        to_query, to_key, to_weight = (torch.zeros_like(tensor) for tensor in (query_factor, key_factor, weight))
        add_gradients(query_factor, key_factor, grad.contiguous(), to_query, to_key, to_weight, ctx.causal)
        return to_query.mul_(weight), to_key.mul_(weight), to_weight, None


def factor_(value: Tensor) -> Tensor:
    """Put exp(-value) in its place, so far from overflow and underflow that a product of two is right or saturates."""
    limit = math.log(torch.finfo(value.dtype).max) - 1.0
    return value.neg_().clamp_(-limit, limit).exp_()


def _factor(value: Tensor) -> Tensor:
    """The factor in memory of its own, in one pass on a CPU."""
    if not forms.is_for_loops(value):
        return factor_(value.clone(memory_format=torch.contiguous_format))
    result = value.new_empty(value.shape)
    _exponentiate(value.detach().reshape(-1).numpy(), result.view(-1).numpy())
    return result


def scores(
    query_factor: Float[Tensor, "rows queries hidden"],
    key_factor: Float[Tensor, "rows keys hidden"],
    weight: Float[Tensor, " hidden"],
    causal: bool = False,
) -> Float[Tensor, "rows queries keys"]:
    """The scores, from the factors of queries and keys; if ``causal``, those of keys k > q may be anything."""
    if forms.is_for_loops(query_factor):
        result = query_factor.new_empty(*query_factor.shape[:2], key_factor.shape[1])
        _score_all(*_arrays(query_factor, key_factor, weight), causal, result.numpy())
        return result
    if forms.is_for_fused_kernels(query_factor):
        from hcrnn_pyro.kernels.gpu import additive as on_gpu  # Triton is there for a GPU only

        return on_gpu.scores(query_factor, key_factor, weight)
    return _sigmoids(query_factor, key_factor) @ weight


def add_gradients(
    query_factor: Float[Tensor, "rows queries hidden"],
    key_factor: Float[Tensor, "rows keys hidden"],
    grad: Float[Tensor, "rows queries keys"],
    grad_query: Float[Tensor, "rows queries hidden"],
    grad_key: Float[Tensor, "rows keys hidden"],
    grad_weight: Float[Tensor, " hidden"],
    causal: bool = False,
) -> None:
    """Add the gradients of :func:`scores` to ``grad_...``; query's and key's lack their common factor v.

    If ``causal``, ``grad`` is 0 where k > q.
    """
    if forms.is_for_loops(query_factor):
        sums = _arrays(grad_query, grad_key, grad_weight)
        _leave_all(*_arrays(query_factor, key_factor, grad), causal, *sums)
        return
    if forms.is_for_fused_kernels(query_factor):
        from hcrnn_pyro.kernels.gpu import additive as on_gpu

        on_gpu.add_gradients(query_factor, key_factor, grad, grad_query, grad_key, grad_weight)
        return
    sigmoids = _sigmoids(query_factor, key_factor)
    grad_weight += torch.einsum("bqk,bqkh->h", grad, sigmoids)
    slopes = grad.unsqueeze(-1) * (sigmoids - sigmoids.square())
    grad_query += slopes.sum(2)
    grad_key += slopes.sum(1)


@compiled
@no_type_check
def _exponentiate(values, result):
    for i in range(len(values)):
        result[i] = exponential(-values[i])


@compiled
@no_type_check
def _score_all(query_factor, key_factor, weight, causal, result):
    for b in range(len(query_factor)):
        for q in range(query_factor.shape[1]):
            count = keys_read(q, key_factor.shape[1], causal)
            score_keys(query_factor[b, q], key_factor[b], count, weight, result[b, q])


@compiled
@no_type_check
def _leave_all(query_factor, key_factor, grad, causal, grad_query, grad_key, grad_weight):
    for b in range(len(query_factor)):
        for q in range(query_factor.shape[1]):
            count = keys_read(q, key_factor.shape[1], causal)
            query = query_factor[b, q]
            leave_scores(query, key_factor[b], count, grad[b, q], grad_query[b, q], grad_key[b], grad_weight)


@compiled
@no_type_check
def keys_read(q, keys, causal):
    """How many keys count for a query: where later ones may be anything, some more, as few are as cheap as one."""
    return min(q + KEYS - q % KEYS, keys) if causal else keys


def _sigmoids(query_factor: Tensor, key_factor: Tensor) -> Tensor:
    return (1.0 + query_factor.unsqueeze(2) * key_factor.unsqueeze(1)).reciprocal_()  # (B, Q, K, H)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]
