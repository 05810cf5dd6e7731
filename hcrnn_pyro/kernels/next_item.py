r"""log p(target) under a softmax over the whole catalogue, block by block.

    log p(y_n) = f_n . w_{y_n} - log sum_v exp(f_n . w_v)

The N x V scores are made in blocks that fit into a cache, and made again for the gradient (or kept, where they are
few; on one thread of a CPU compiled loops do all of it then, but for a handful of predictions), so memory beyond the
arguments and their gradients does not grow with the catalogue. Blocks run over the items inside blocks of predictions:
every item embedding is read, and its gradient written, once for many predictions.

Axes: N predictions, V items (column 0 is padding and never counts), E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from hcrnn_pyro.kernels import forms, next_item_loops
from hcrnn_pyro.kernels.exponentials import exponentials_
from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.next_item_loops import WIDTH
from hcrnn_pyro.seen import SeenItems

BLOCK = 2**18  # scores of a block: a megabyte of float32 stays in a processor's cache
GPU_BLOCK = 2**24  # a GPU wants fewer, larger steps
ROWS = 1024  # most predictions of a block
FEWEST = 64  # predictions for which it pays to lay out the items' embeddings for compiled loops
KEPT = 2**22  # scores of a batch that are kept for the gradient instead of being made again: 16 MB in float32


def target_log_probs(
    features: Float[Tensor, "predictions embedding"],
    item_embeddings: Float[Tensor, "columns embedding"],
    targets: Int[Tensor, " predictions"],
    seen: SeenItems | None = None,
) -> Float[Tensor, " predictions"]:
    """Log-probability of each prediction's target, differentiable in features and item embeddings.

    Args:
        features: f, what the model says at each prediction.
        item_embeddings: w, (V + 1, E), row 0 for padding.
        targets: item indices 1..V.
        seen: items of probability 0 at each prediction; ``None`` for none.
    """
    few = len(features) * -(-len(item_embeddings) // WIDTH) * WIDTH <= KEPT
    return _TargetLogProbs.apply(features, item_embeddings, targets, seen, few and torch.is_grad_enabled())


class _TargetLogProbs(Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, item_embeddings: Tensor, targets: Tensor, seen: SeenItems | None, keep: bool
    ) -> Tensor:
        if keep and forms.is_for_serial_loops(features) and len(features) >= FEWEST:
            kept: Any = next_item_loops.exponentials(features, item_embeddings[1:], seen)
            log_normaliser = kept.total.log().add_(kept.offset)
        else:
            log_normaliser, kept = _log_normaliser(features, item_embeddings, seen, keep)
        of_targets = item_embeddings[targets]
        ctx.save_for_backward(features, item_embeddings, targets, of_targets, log_normaliser)
        ctx.seen, ctx.kept = seen, kept
        score = torch.linalg.vecdot(features, of_targets) - log_normaliser.squeeze(1)
        return score if seen is None else score.masked_fill_(seen.contain(targets), -torch.inf)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        features, item_embeddings, targets, of_targets, log_normaliser = ctx.saved_tensors
        log_normaliser = log_normaliser.masked_fill(log_normaliser == -torch.inf, 0.0)  # all items seen: exp gives 0
        excluded = torch.zeros_like(targets, dtype=torch.bool) if ctx.seen is None else ctx.seen.contain(targets)
        gradient = gradient.unsqueeze(1)  # (N, 1)
        to_targets = gradient.masked_fill(excluded.unsqueeze(1), 0.0)
        if torch.is_grad_enabled():
            gradients = _differentiable_gradients(features, item_embeddings, targets, ctx.seen, gradient, to_targets)
            return *gradients, None, None, None
        if isinstance(ctx.kept, next_item_loops.Exponentials):
            share = -gradient * (ctx.kept.offset - log_normaliser).exp_()  # exponentials times this: -g p(v)
            to_features, to_embeddings = (tensor.new_empty(tensor.shape) for tensor in (features, item_embeddings))
            to_embeddings[0] = 0.0
            parts = item_embeddings[1:], share * features, to_features, to_embeddings[1:]
            next_item_loops.products(ctx.kept, *parts)
            to_features.mul_(share)
        else:
            to_features, to_embeddings = (tensor.new_zeros(tensor.shape) for tensor in (features, item_embeddings))
            blocks = ctx.kept or _probabilities(features, item_embeddings, ctx.seen, log_normaliser)
            for rows, items, exponentials, offset in blocks:
                share = -gradient[rows] * (offset - log_normaliser[rows]).exp_()
                to_features[rows].add_(share * (exponentials @ item_embeddings[items]))
                to_embeddings[items].addmm_(exponentials.T, share * features[rows])
        to_features.addcmul_(of_targets, to_targets)
        to_embeddings.index_add_(0, targets, to_targets * features)
        return to_features, to_embeddings, None, None, None


def _log_normaliser(
    features: Tensor, item_embeddings: Tensor, seen: SeenItems | None, keep: bool
) -> tuple[Tensor, list[tuple[slice, slice, Tensor, Tensor]]]:
    """The log of sum_v exp(f_n . w_v) and, if they are to be kept, the blocks of exponentials with their offsets."""
    log_normaliser = features.new_full((len(features), 1), -torch.inf)
    kept = []
    for rows, items, scores in _blocks(features, item_embeddings, seen, own_memory=keep):
        # Where all items of a block are excluded its largest score is -inf, and -inf - -inf would not be a number.
        largest = scores.amax(dim=1, keepdim=True).clamp_(min=torch.finfo(scores.dtype).min)
        total = exponentials_(scores, largest)
        running = log_normaliser[rows]
        torch.logaddexp(running, total.log_().add_(largest), out=running)
        if keep:
            kept.append((rows, items, scores, largest))
    return log_normaliser, kept


def _differentiable_gradients(
    features: Tensor,
    item_embeddings: Tensor,
    targets: Tensor,
    seen: SeenItems | None,
    gradient: Tensor,
    to_targets: Tensor,
) -> tuple[Tensor, Tensor]:
    """The gradients once more, all scores at once, for those who differentiate twice (a Laplace approximation)."""
    scores = features @ item_embeddings.T
    scores[:, 0] = -torch.inf
    if seen is not None:
        seen.exclude_(scores)
    to_scores = (-gradient * scores.softmax(dim=1)).scatter_add(1, targets.unsqueeze(1), to_targets)
    return to_scores @ item_embeddings, to_scores.T @ features


def _blocks(
    features: Tensor, item_embeddings: Tensor, seen: SeenItems | None, own_memory: bool
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of predictions and items, and their scores (n, v): each in the memory of the last, or in its own."""
    block = BLOCK if features.device.type == "cpu" else GPU_BLOCK
    # Long rows of seen items are compared with every block: no more of them than there are scores.
    most = ROWS if seen is None else min(ROWS, block // max(1, seen.items.shape[1]))
    height = max(1, min(len(features), most))
    width = max(1, block // height)
    # One piece even for all blocks: of several, the C library gives some back to the system at every step.
    memory = features.new_empty(len(features) * (len(item_embeddings) - 1) if own_memory else height * width)
    used = 0
    for top in range(0, len(features), height):
        rows = slice(top, min(top + height, len(features)))
        forbid = None if seen is None else _forbidder(seen, rows, features)
        for left in range(1, len(item_embeddings), width):
            items = slice(left, min(left + width, len(item_embeddings)))
            shape = (rows.stop - rows.start, items.stop - items.start)
            scores = memory[used : used + math.prod(shape)].view(shape)
            used += scores.numel() if own_memory else 0
            torch.mm(features[rows], item_embeddings[items].T, out=scores)
            if forbid is not None:
                forbid(scores, items.start)
            yield rows, items, scores


def _forbidder(seen: SeenItems, rows: slice, like: Tensor) -> Callable[[Tensor, int], None]:
    """What gives minus infinity to seen items, in scores of some predictions for the items from a first one on."""
    if forms.is_for_loops(like):
        which = [tensor.numpy() for tensor in (seen.items, seen.rows[rows], seen.positions[rows])]
        return lambda scores, first: _forbid(scores.numpy(), first, *which)
    forbidden = seen.at(rows)

    def forbid(scores: Tensor, first: int) -> None:
        inside = ((forbidden >= first) & (forbidden < first + scores.shape[1])).nonzero(as_tuple=True)
        scores[inside[0], forbidden[inside] - first] = -torch.inf

    return forbid


@compiled
@no_type_check
def _forbid(scores, first, events, rows, positions):
    for prediction in range(scores.shape[0]):
        for t in range(positions[prediction] + 1):
            column = events[rows[prediction], t] - first
            if 0 <= column < scores.shape[1]:
                scores[prediction, column] = -np.inf


def _probabilities(
    features: Tensor, item_embeddings: Tensor, seen: SeenItems | None, log_normaliser: Tensor
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """The blocks again, as probabilities."""
    for rows, items, scores in _blocks(features, item_embeddings, seen, own_memory=False):
        exponentials_(scores, log_normaliser[rows])
        yield rows, items, scores, log_normaliser[rows]
