"""What leads a context: by hand, and on data whose contexts are planted."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from hcrnn_pyro.data.synthetic import synthetic
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.contexts import align, context_items, item_contexts, nearest_items, prevalence, top_items
from models import MODELS, PRIORS

SCORES = np.array([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.0, 1.0]])
ITEMS = pd.DataFrame({"item_id": list("abcd"), "title": ["A", "B", "C", "D"]})


def test_scores_are_products_without_what_all_contexts_share():
    model = MODELS["hcrnn3"](items=4, make_prior=PRIORS["logistic-normal"], hidden=3, contexts=2)
    vectors, items = model.global_contexts.detach().numpy(), model.item_embeddings.detach().numpy()
    products = [
        [sum(c * e for c, e in zip(context, items[v], strict=True)) for v in range(1, 5)] for context in vectors
    ]
    expected = [[products[k][v] - (products[0][v] + products[1][v]) / 2 for v in range(4)] for k in range(2)]
    np.testing.assert_allclose(context_items(model), expected, atol=1e-7)


def test_a_law_over_items_is_read_by_its_term_score():
    class Topics(nn.Module):
        def context_distributions(self):
            return torch.tensor([[0.0, 0.8, 0.2], [0.0, 0.2, 0.8]])

    geometric = (0.8 * 0.2) ** 0.5
    up, down = 0.8 * np.log(0.8 / geometric), 0.2 * np.log(0.2 / geometric)
    np.testing.assert_allclose(context_items(Topics()), [[up, down], [down, up]], rtol=1e-6)


def test_a_model_without_contexts_is_named():
    with pytest.raises(UserError, match="A Linear has no contexts"):
        context_items(nn.Linear(1, 1))


def test_leading_items_by_hand():
    assert top_items(SCORES, 3).tolist() == [[1, 3, 2], [2, 3, 4]]  # of equals, the first
    assert item_contexts(SCORES).tolist() == [0, 1, 1, 1]
    shown = nearest_items(SCORES, ITEMS, top=2)
    assert shown.columns.tolist() == ["context", "place", "item_id", "title", "score"]
    assert shown.to_numpy().tolist() == [
        [0, 1, "a", "A", 3.0],
        [0, 2, "c", "C", 2.0],
        [1, 1, "b", "B", 5.0],
        [1, 2, "c", "C", 5.0],
    ]
    with pytest.raises(UserError, match="1 to 4 top items; got 5"):
        top_items(SCORES, 5)
    with pytest.raises(UserError, match="catalogue of 4 items; got 3"):
        nearest_items(SCORES, ITEMS[:3])


def test_prevalence_is_a_mean_over_sequences_with_an_interval_over_draws():
    first = np.linspace(0.0, 1.0, 101)  # of draws; the two sequences differ by 0 on average
    theta = np.stack([np.stack([first, 1 - first], axis=1), np.stack([first, 1 - first], axis=1)], axis=1)
    table = prevalence(theta, level=0.9)
    np.testing.assert_allclose(table["mean"], [0.5, 0.5])
    np.testing.assert_allclose(table[["low", "high"]], [[0.05, 0.95], [0.05, 0.95]])
    opposed = np.stack([theta[:, 0], theta[:, 0, ::-1]], axis=1)  # what one has, the other lacks
    np.testing.assert_allclose(prevalence(opposed)[["low", "high"]], 0.5)


def test_a_shuffled_and_stretched_run_is_matched():
    random = np.random.default_rng(0)
    scores = random.standard_normal((5, 40))
    order = random.permutation(5)
    other = 3.0 * scores[order] + 0.01 * random.standard_normal((5, 40))
    found = align(scores, other)
    assert order[found.partner].tolist() == list(range(5))
    assert np.all(found.similarity > 0.999)


def test_matching_is_one_to_one_even_against_the_nearest():
    """Both rows are nearest to the first; the best sum gives the second row the further one."""
    first = np.array([[1.0, 0.0], [0.8, 0.6]])
    second = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = align(first, second)
    assert found.partner.tolist() == [0, 1]
    np.testing.assert_allclose(found.similarity, [1.0, 0.6])


def test_planted_contexts_are_found_among_more():
    data = synthetic()
    truth = (data.truth.context_of_item[1:] == np.arange(6)[:, None]).astype(float)
    random = np.random.default_rng(1)
    noise = random.standard_normal((9, data.catalogue_size))
    places = random.permutation(9)[:6]
    noise[places] += 4 * truth
    assert align(truth, noise).partner.tolist() == places.tolist()
    with pytest.raises(UserError, match="at least 9 contexts"):
        align(noise, truth)
