"""Scores of additive attention for a query and its keys, and their gradients, in LLVM's vectors.

A division takes as long as five products. So four sigmoids share one: with x_i = 1 + exp(-query) exp(-key_i),
1 / x_1 = x_2 x_3 x_4 / (x_1 x_2 x_3 x_4), and so on. That the product of four stays finite, an x counts as at most 2^31
(2^255 in double precision), and so their sigmoids as at least 5e-10.

Axes: K keys, H hidden. All arrays are of one dtype and contiguous.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, no_type_check

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hcrnn_pyro.kernels.loops import compiled
from hcrnn_pyro.kernels.vectors import INDEX, Array, Vectors, require_contiguous

KEYS = 4  # whose sigmoids share a division
LARGEST = {types.float32: 2.0**31, types.float64: 2.0**255}


def make_scores(keys: int) -> Callable[..., None]:
    """A function for compiled code that writes the scores of so many keys, 1 or ``KEYS``, from the ``first`` on."""

    @intrinsic
    @no_type_check
    def some_scores(typing_context, query_factor, key_factor, first, weight, result):
        require_contiguous("scores of keys", weight.dtype, query_factor, key_factor, result)

        def generate(context, builder, signature, arguments):
            _Scores(context, builder, signature.args, arguments).write(keys)
            return context.get_dummy_value()

        return types.void(query_factor, key_factor, first, weight, result), generate

    return some_scores


@intrinsic
@no_type_check
def _leave_scores(typing_context, query_factor, key_factor, count, grad, grad_query, grad_key, grad_weight):
    """See :func:`leave_scores`."""
    arrays = query_factor, key_factor, grad, grad_query, grad_key, grad_weight
    require_contiguous("gradients of scores", grad_weight.dtype, *arrays)

    def generate(context, builder, signature, arguments):
        _Gradients(context, builder, signature.args, arguments).add()
        return context.get_dummy_value()

    return types.void(query_factor, key_factor, count, grad, grad_query, grad_key, grad_weight), generate


class _Pairs(Vectors):
    """What scores and gradients have in common."""

    def __init__(self, context: Any, builder: Any, kinds: Any, arguments: Any) -> None:
        super().__init__(context, builder, kinds[0].dtype, registers=2)  # a processor with AVX-512 has half the work
        self.largest = LARGEST[kinds[0].dtype]
        self.index = context.cast(builder, arguments[2], kinds[2], types.int64)  # a first key, or how many
        arrays = [i for i in range(len(kinds)) if i != 2]
        self.query, self.key, *self.others = (Array(context, builder, kinds[i], arguments[i]) for i in arrays)
        self.size = self.query.shape[0]

    def shares(self, numerator: Any, query_factor: Any, key_factors: list[Any]) -> list[Any]:
        """The numerator times the sigmoid of each of one or of four keys."""
        build, width = self.build, numerator.type.count
        one, largest = self.constant(1.0, width), self.constant(self.largest, width)
        parts = [self.add_product(query_factor, key_factor, one) for key_factor in key_factors]
        if len(parts) == 1:
            return [build.fdiv(numerator, parts[0])]
        # NaN is not larger than anything, and stays.
        a, b, c, d = (build.select(build.fcmp_ordered(">", x, largest), largest, x) for x in parts)
        ab, cd = build.fmul(a, b), build.fmul(c, d)
        share = build.fdiv(numerator, build.fmul(ab, cd))
        of_ab, of_cd = build.fmul(share, cd), build.fmul(share, ab)
        return [build.fmul(*pair) for pair in ((of_ab, b), (of_ab, a), (of_cd, d), (of_cd, c))]


class _Scores(_Pairs):
    def write(self, keys: int) -> None:
        """One total a key and a width of vectors; they are added up at the end."""
        weight, result = self.others
        first = self.index
        places = [self.build.add(first, INDEX(i)) for i in range(keys)]
        rows = [self.key.at(place) for place in places]
        totals = {width: [self.variable(self.constant(0.0, width)) for _ in rows] for width in self.widths}
        for column, _, width in self.over_columns(self.size):
            query, numerator = (self.load(array.at(column), width) for array in (self.query, weight))
            shares = self.shares(numerator, query, [self.load(self.behind(row, column), width) for row in rows])
            for total, share in zip(totals[width], shares, strict=True):
                self.build.store(self.build.fadd(self.build.load(total), share), total)
        for place, *some in zip(places, *totals.values(), strict=True):
            numbers = [self.sum(self.build.load(total)) for total in some]
            self.build.store(functools.reduce(self.build.fadd, numbers), self.number_at(result.at(place)))


class _Gradients(_Pairs):
    def add(self) -> None:
        """Key after key, as they lie in memory."""
        count = self.index
        grouped = self.build.sub(count, self.build.urem(count, INDEX(KEYS)))
        for start, end, step in ((INDEX(0), grouped, KEYS), (grouped, count, 1)):
            with cgutils.for_range_slice(self.build, start, end, INDEX(step), intp=INDEX) as (first, _):
                keys = [self.build.add(first, INDEX(i)) for i in range(step)]
                for column, _, width in self.over_columns(self.size):
                    self._add(keys, column, width)

    def _add(self, keys: list[Any], column: Any, width: int) -> None:
        grad, grad_query, grad_key, grad_weight = self.others
        build, query = self.build, self.load(self.query.at(column), width)
        shares = self.shares(self.constant(1.0, width), query, [self.load(self.key.at(k, column), width) for k in keys])
        weighted = [
            build.fmul(self.spread(grad.at(key), width), share) for key, share in zip(keys, shares, strict=True)
        ]
        slopes = [
            build.fsub(number, build.fmul(number, share, flags=("contract",)), flags=("contract",))
            for number, share in zip(weighted, shares, strict=True)
        ]
        for array, terms in ((grad_query, slopes), (grad_weight, weighted)):
            total = functools.reduce(build.fadd, terms)
            self.store(build.fadd(self.load(array.at(column), width), total), array.at(column))
        for key, slope in zip(keys, slopes, strict=True):
            place = grad_key.at(key, column)
            self.store(build.fadd(self.load(place, width), slope), place)


four_scores, one_score = make_scores(KEYS), make_scores(1)


@compiled
@no_type_check
def score_keys(query_factor, key_factor, count, weight, result):
    """Write sum_h weight_h / (1 + query_factor key_factor), weight_h sigmoid(query + key) in terms of the factors.

    Args:
        query_factor: (H,) exp(-query).
        key_factor: (K, H) exp(-key).
        count: of the keys, from the first on.
        weight: (H,) v.
        result: (K,), overwritten up to the count.
    """
    grouped = count - count % KEYS
    for k in range(0, grouped, KEYS):
        four_scores(query_factor, key_factor, k, weight, result)
    for k in range(grouped, count):
        one_score(query_factor, key_factor, k, weight, result)


@compiled
@no_type_check
def leave_scores(query_factor, key_factor, count, grad, grad_query, grad_key, grad_weight):
    """Add the gradients of :func:`score_keys`; those of query and key lack the factor v_h, which the caller puts in.

    Args:
        query_factor: (H,) exp(-query).
        key_factor: (K, H) exp(-key).
        count: of the keys, from the first on.
        grad: (K,) gradient of the scores.
        grad_query: (H,), added to.
        grad_key: (K, H), added to.
        grad_weight: (H,), added to.
    """
    _leave_scores(query_factor, key_factor, count, grad, grad_query, grad_key, grad_weight)
