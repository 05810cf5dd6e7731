"""Spectral embeddings against a loop-by-loop transcription, a planted structure, and corner cases."""

import numpy as np
import pytest
import torch

from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.spectral import near_counts, positive_pmi, spectral_embeddings

LISTS = [[1, 2, 3, 1], [4, 2], [3, 5, 1, 2, 4, 3, 1, 2, 5, 4, 3, 2, 1]]
ITEMS = 6  # item 6 never occurs


def counts_by_loops():
    counts = np.zeros((ITEMS, ITEMS))
    for sequence in LISTS:
        for i, first in enumerate(sequence):
            for j, second in enumerate(sequence):
                if 1 <= abs(i - j) <= 10:
                    counts[first - 1, second - 1] += np.exp(-abs(i - j) / 5)
    return counts


def pmi_by_loops(counts):
    total, flat = counts.sum(), counts.sum(axis=0) ** 0.75
    association = np.zeros_like(counts)
    for i, j in zip(*np.nonzero(counts), strict=True):
        joint, item, context = counts[i, j] / total, counts[i].sum() / total, flat[j] / flat.sum()
        association[i, j] = max(0.0, np.log(joint / (item * context)))
    return association


def test_counts_and_association_by_loops():
    counts = counts_by_loops()
    np.testing.assert_allclose(near_counts(Sequences.from_lists(LISTS), ITEMS).toarray(), counts)
    association = positive_pmi(near_counts(Sequences.from_lists(LISTS), ITEMS)).toarray()
    np.testing.assert_allclose(association, pmi_by_loops(counts), atol=1e-12)


@pytest.mark.parametrize("size", [2, 5])
def test_inner_products_are_those_of_the_dense_decomposition(size):
    left, strengths, _ = np.linalg.svd(pmi_by_loops(counts_by_loops()))
    expected = (left[:, :size] * strengths[:size]) @ left[:, :size].T
    embeddings = spectral_embeddings(Sequences.from_lists(LISTS), ITEMS, size).double().numpy()[1:]
    got = embeddings @ embeddings.T
    np.testing.assert_allclose(got / np.trace(got), expected / np.trace(expected), atol=1e-5)


def test_scale_padding_and_items_that_never_occur():
    embeddings = spectral_embeddings(Sequences.from_lists(LISTS), ITEMS, 3)
    assert embeddings.shape == (ITEMS + 1, 3)
    assert embeddings[1:].std(correction=0).item() == pytest.approx(0.1, abs=1e-6)
    assert torch.count_nonzero(embeddings[0]) == 0
    torch.testing.assert_close(embeddings[6], torch.zeros(3))


def test_more_dimensions_than_the_catalogue_has_are_zero():
    embeddings = spectral_embeddings(Sequences.from_lists(LISTS), ITEMS, 9)
    assert torch.count_nonzero(embeddings[:, ITEMS - 1 :]) == 0
    assert embeddings.isfinite().all()


def test_sequences_of_one_event_have_no_neighbours():
    assert torch.count_nonzero(spectral_embeddings(Sequences.from_lists([[1], [2]]), 2, 2)) == 0


def test_planted_groups_are_told_apart():
    random = np.random.default_rng(0)
    groups = [random.permutation(np.arange(1, 11) + 10 * (row % 2)).tolist() for row in range(40)]
    embeddings = torch.nn.functional.normalize(spectral_embeddings(Sequences.from_lists(groups), 20, 4)[1:], dim=1)
    likeness = embeddings @ embeddings.T
    same = torch.arange(20).unsqueeze(1).lt(10) == torch.arange(20).lt(10)
    assert likeness[same].min() > likeness[~same].max()
