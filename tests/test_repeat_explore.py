"""The likelihood with two modes: its formula by hand, its two ways to compute it, and what a model gains by it."""

import numpy as np
import pytest
import scipy.special
import torch

from hcrnn_pyro import DataConfig, PosteriorPredictive, TrainingConfig, evaluate, fit, load_data, summarise
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.repeat_explore import RepeatOrExplore
from hcrnn_pyro.seen import seen_items

ITEMS, SIZE = 5, 3
PART = Sequences.from_lists([[1, 2, 1, 4], [3, 3, 3], [5, 4, 3, 2, 1, 2]])  # the last one has seen all in the end


def make(copies=(), dtype=torch.float64):
    torch.manual_seed(0)
    batch = make_batch(PART, np.arange(len(PART)), PART.lengths - 1, "sequence")
    features = torch.randn(*copies, int(batch.scored.sum()), 2 * SIZE + 1, dtype=dtype, requires_grad=True)
    embeddings = torch.randn(ITEMS + 1, SIZE, dtype=dtype, requires_grad=True)
    seen = seen_items(batch.inputs, batch.queries, batch.scored)
    return batch, features, embeddings, RepeatOrExplore(features, embeddings, batch.scored, seen)


def by_hand(features, embeddings, prefixes):
    """(N, V) probabilities."""
    rows = []
    for feature, prefix in zip(features.detach().numpy(), prefixes, strict=True):
        f, g, logit = feature[:SIZE], feature[SIZE : 2 * SIZE], feature[-1]
        items = np.arange(1, ITEMS + 1)
        seen = np.isin(items, prefix)
        r = 1.0 if seen.all() else scipy.special.expit(logit)
        weights = embeddings.detach().numpy()[1:]
        probabilities = np.zeros(ITEMS)
        probabilities[seen] = r * scipy.special.softmax(weights[seen] @ g)
        if not seen.all():
            probabilities[~seen] = (1 - r) * scipy.special.softmax(weights[~seen] @ f)
        rows.append(probabilities)
    return np.array(rows)


def prefixes():
    return [list(sequence[:end]) for sequence in PART for end in range(1, len(sequence))]


def test_the_probabilities_by_hand():
    _, features, embeddings, likelihood = make()
    log_probs = likelihood.log_probs().detach()
    expected = by_hand(features, embeddings, prefixes())
    np.testing.assert_allclose(log_probs[:, 1:].exp().numpy(), expected, rtol=1e-10, atol=1e-15)
    assert log_probs[:, 0].isneginf().all()
    assert set(PART[2][:5]) == {1, 2, 3, 4, 5}, "the case in which nothing is left to explore"


@pytest.mark.parametrize("copies", [(), (2,)])
def test_both_ways_to_the_targets_agree_and_so_do_their_gradients(copies):
    batch, features, embeddings, likelihood = make(copies)
    rows = batch.scored.nonzero()[:, 0]
    targets = batch.targets[batch.scored].expand(*copies, -1)
    slow = likelihood.log_probs().gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    fast = likelihood.target_log_probs(targets)
    torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-10)
    assert fast.isfinite().all()
    torch.testing.assert_close(likelihood.log_prob(batch.targets)[..., 0], slow[..., rows == 0].sum(dim=-1))
    weights = torch.randn_like(slow)
    gradients = [
        torch.autograd.grad((weights * value).sum(), [features, embeddings], retain_graph=True)
        for value in (slow, fast)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
        assert other.isfinite().all()


def test_draws_follow_the_probabilities():
    batch, _, _, likelihood = make(dtype=torch.float32)
    draws = likelihood.sample((4_000,))[:, batch.scored]
    for position in range(draws.shape[1]):
        shares = np.bincount(draws[:, position].numpy(), minlength=ITEMS + 1)[1:] / 4_000
        expected = by_hand(likelihood.features, likelihood.item_embeddings, prefixes())[position]
        assert np.abs(shares - expected).max() < 0.04  # 5 standard errors


def test_a_model_of_repeats_learns_how_often_they_come():
    data = load_data(DataConfig("synthetic-repeats"))  # a fifth of the events repeat, whatever the state
    nll = {}
    for name in ("categorical", "repeat-explore"):
        torch.manual_seed(0)
        settings = {"hidden": 32, "contexts": 4, "likelihood": name}
        model, guide = build_pair(PairConfig("hcrnn3-bi"), settings, data.catalogue_size)
        fit(model, guide, data, TrainingConfig(epochs=6, lr=0.02, batch_size=32, monitor="nll"))
        nll[name] = summarise(evaluate(PosteriorPredictive(model, guide), data.test, "one-pass"))["nll"]
    assert nll["repeat-explore"] < nll["categorical"] - 0.1
    batch = make_batch(data.test, np.arange(50), data.test.lengths[:50] - 1, "filtering")
    with torch.no_grad():
        log_probs = PosteriorPredictive(model, guide)(batch)
    seen = seen_items(batch.inputs, batch.queries, batch.scored)
    unseen = log_probs.clone()
    seen.exclude_(unseen)
    chance = 1 - unseen.exp().sum(dim=-1)
    assert float(chance.mean()) == pytest.approx(0.2, abs=0.04)


def test_it_has_no_sampled_form():
    with pytest.raises(UserError, match="--sampled-softmax estimates one softmax"):
        build_pair(PairConfig("hcrnn3-bi"), {"likelihood": "repeat-explore", "sampled_softmax": 8}, ITEMS)
