"""Causal attention: in compiled loops for all queries of a sequence, or a few queries at a time where it is long.

Axes: ``*batch`` rows, T time (the keys), Q queries, D size of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hcrnn_pyro.kernels import Kernel, forms
from hcrnn_pyro.kernels.causal import causal_means

Score = Callable[..., Tensor]
"""Queries (*batch, Q, .) and keys (*batch, T, .) -> scores (*batch, Q, T).

Where their softmax is taken, it may be asked with ``causal=True``: then there are as many queries as keys, and no score
of a key behind its query is read.
"""

CHUNK = 32  # queries scored at once: few enough to stay in cache, and to skip most of the keys behind them
GPU_CHUNK = 128  # a GPU wants fewer, larger steps; kernels that keep the sums of queries and keys on chip allow them
LONG = 200  # from so many keys on, training recomputes the scores instead of keeping them: memory stays linear in T


def attend(
    score: Score,
    query: Float[Tensor, "*batch queries query_size"],
    key: Float[Tensor, "*batch time key_size"],
    value: Float[Tensor, "*batch time value_size"],
    positions: Int[Tensor, "rows queries"],
    normalise: bool = True,
    kernel: Kernel = "fast",
) -> Float[Tensor, "*batch queries value_size"]:
    """sum_j alpha_tj value_j with alpha_t = softmax_{j<=t}(score), for every query t.

    Args:
        score: how queries and keys are compared.
        query: one for each position asked about.
        key: one for each time.
        value: one for each time.
        positions: t of each query, 0..T-1; either all of them in order, or any.
        normalise: whether weights are the softmax of the scores, or the scores themselves.
        kernel: ``fast`` for compiled loops where they apply: on a CPU, for all positions of no long sequence.
    """
    time = value.shape[-2]
    in_order = positions.shape[-1] == time  # then no query of a chunk sees a key behind the chunk
    if kernel == "fast" and in_order and normalise and time <= LONG and forms.is_for_loops(value):
        return causal_means(score(query, key, causal=True), value)
    chunk = GPU_CHUNK if kernel == "fast" and forms.is_for_fused_kernels(value) else CHUNK
    again = time > LONG and torch.is_grad_enabled()
    if positions.shape[-1] <= chunk and not again:
        return _attend(score, query, key, value, positions, normalise)
    parts = []
    for start in range(0, positions.shape[-1], chunk):
        stop = start + chunk
        keys = slice(0, stop if in_order else time)
        some = (query[..., start:stop, :], key[..., keys, :], value[..., keys, :], positions[:, start:stop], normalise)
        if again:
            parts.append(checkpoint(_attend, score, *some, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_attend(score, *some))
    return torch.cat(parts, dim=-2)


def attention_weights(
    score: Score,
    query: Float[Tensor, "*batch queries query_size"],
    key: Float[Tensor, "*batch time key_size"],
    positions: Int[Tensor, "rows queries"],
    normalise: bool = True,
) -> Float[Tensor, "*batch queries time"]:
    """alpha_t for every query, zero at the times after it."""
    unseen = torch.arange(key.shape[-2], device=positions.device) > positions.unsqueeze(-1)
    scores = score(query, key)
    return scores.masked_fill(unseen, -math.inf).softmax(dim=-1) if normalise else scores.masked_fill(unseen, 0.0)


def _attend(score: Score, query: Tensor, key: Tensor, value: Tensor, positions: Tensor, normalise: bool) -> Tensor:
    return attention_weights(score, query, key, positions, normalise) @ value


def at_positions(
    states: Float[Tensor, "*batch time size"], positions: Int[Tensor, "rows queries"]
) -> Float[Tensor, "*batch queries size"]:
    """The states at the positions asked about."""
    if positions.shape[-1] == states.shape[-2]:  # all of them, in order
        return states
    index = positions.unsqueeze(-1).expand(*states.shape[:-2], positions.shape[-1], states.shape[-1])
    return states.gather(-2, index)


def at_scored(
    states: Float[Tensor, "*batch rows queries size"], scored: Bool[Tensor, "rows queries"]
) -> Float[Tensor, "*batch predictions size"]:
    """The states at the scored positions, rows first, then positions; as indexing by the mask, and quicker."""
    return states.flatten(-3, -2).index_select(-2, scored.flatten().nonzero().squeeze(1))
