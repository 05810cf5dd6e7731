"""Logarithmic pools: their formula, their weights against other optimisers and closed forms, and their folder."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pooling import LogPool, fit_pool
from hcrnn_pyro.seen import seen_items

ITEMS = 5


def sequences(count, seed=0, length=6):
    random = np.random.default_rng(seed)
    return Sequences.from_lists([list(map(int, random.integers(1, ITEMS + 1, length))) for _ in range(count)])


def table_scorer(logits):
    """p(y | x_t) from a (V + 1, V + 1) table of logits: a scorer that looks at the last item alone."""
    logits = torch.as_tensor(logits, dtype=torch.float32)

    def score(batch):
        last = batch.inputs.gather(1, batch.queries)[batch.scored]
        rows = logits[last].clone()
        rows[:, 0] = -math.inf
        return rows.log_softmax(dim=-1)

    return score


def tables(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, ITEMS + 1, ITEMS + 1)) * 2


def whole_batch(part):
    return make_batch(part, np.arange(len(part)), part.lengths - 1, "filtering")


def test_the_pool_by_hand():
    first, second = tables(2)
    batch = whole_batch(sequences(4))
    pooled = LogPool((table_scorer(first), table_scorer(second)), (0.7, 1.8))(batch)
    last = batch.inputs.gather(1, batch.queries)[batch.scored].numpy()
    unnormalised = 0.7 * scipy.special.log_softmax(first[:, 1:], axis=1) + 1.8 * second[:, 1:]
    expected = scipy.special.log_softmax(unnormalised, axis=1)[last]
    np.testing.assert_allclose(pooled[:, 1:].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert pooled[:, 0].isneginf().all()


def drawn_from(table, power, count, seed=3):
    """Sequences that follow p(y | x) in proportion to the table's probabilities to a power."""
    random = np.random.default_rng(seed)
    steps = scipy.special.softmax(power * table[1:, 1:], axis=1)
    chains = []
    for _ in range(count):
        chain = [int(random.integers(1, ITEMS + 1))]
        for _ in range(9):
            chain.append(1 + int(random.choice(ITEMS, p=steps[chain[-1] - 1])))
        chains.append(chain)
    return Sequences.from_lists(chains)


def test_a_planted_temperature_is_found():
    (table,) = tables(1)
    pool = fit_pool([table_scorer(table)], drawn_from(table, 0.4, 400), "one-pass", items=ITEMS)
    assert pool.weights[0] == pytest.approx(0.4, abs=0.04)


def test_planted_weights_are_found_and_an_idle_model_gets_none():
    first, second, idle = tables(3)
    part = drawn_from(0.5 * first + 1.0 * second, 1.0, 800)
    found = fit_pool([table_scorer(t) for t in (first, second, -second)], part, "one-pass", items=ITEMS).weights
    assert found[0] == pytest.approx(0.5, abs=0.06)
    assert found[1] - found[2] == pytest.approx(1.0, abs=0.06)
    found = fit_pool([table_scorer(t) for t in (first, second, idle)], part, "one-pass", items=ITEMS).weights
    assert found[2] < 0.06


def test_the_weights_are_those_of_another_optimiser():
    scorers = [table_scorer(table) for table in tables(2)]
    part = sequences(50, seed=5)
    batch = whole_batch(part)
    said = np.stack([scorer(batch)[:, 1:].double().numpy() for scorer in scorers])
    targets = batch.targets[batch.scored].numpy() - 1

    def loss(weights):
        pooled = scipy.special.log_softmax(np.einsum("m,mnv->nv", weights, said), axis=1)
        return -pooled[np.arange(len(targets)), targets].mean()

    expected = scipy.optimize.minimize(loss, [0.3, 0.3], method="Nelder-Mead", bounds=[(0, None)] * 2, tol=1e-9)
    found = fit_pool(scorers, part, "one-pass", items=ITEMS)
    assert loss(np.array(found.weights)) == pytest.approx(expected.fun, abs=1e-6)
    np.testing.assert_allclose(found.weights, expected.x, atol=2e-3)


def without_seen(scorer):
    def score(batch):
        logits = scorer(batch)
        seen_items(batch.inputs, batch.queries, batch.scored).exclude_(logits)
        return logits.log_softmax(dim=-1)

    return score


def test_what_one_holds_impossible_stays_so_whatever_its_weight():
    part = Sequences.from_lists([[1, 2, 3, 4], [4, 3, 1, 5]])
    free, strict = (table_scorer(table) for table in tables(2))
    batch = whole_batch(part)
    excluded = without_seen(strict)(batch).isneginf()
    assert excluded[:, 1:].any()
    for weights in ((1.0, 1.0), (1.0, 0.0)):
        pooled = LogPool((free, without_seen(strict)), weights)(batch)
        assert torch.equal(pooled.isneginf(), excluded)
        torch.testing.assert_close(pooled.exp().sum(dim=-1), torch.ones(len(pooled)))
    assert all(math.isfinite(weight) for weight in fit_pool([free, without_seen(strict)], part, "one-pass").weights)


def test_an_impossible_item_that_came_is_told():
    part = Sequences.from_lists([[1, 2, 1, 4]])
    with pytest.raises(UserError, match="probability 0 to an item that came next"):
        fit_pool([without_seen(table_scorer(tables(1)[0]))], part, "one-pass", items=ITEMS)


def test_of_a_part_too_large_some_sequences_are_weighed(monkeypatch):
    monkeypatch.setattr("hcrnn_pyro.pooling.STORED", ITEMS * 300)
    asked = []
    (table,) = tables(1)

    def counting(batch):
        asked.append(len(batch.targets[batch.scored]))
        return table_scorer(table)(batch)

    pool = fit_pool([counting], drawn_from(table, 0.4, 400), "one-pass", items=ITEMS)
    assert 250 <= sum(asked) <= 300
    assert pool.weights[0] == pytest.approx(0.4, abs=0.15)
