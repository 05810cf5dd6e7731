"""The every-prefix evaluation against a scorer whose ranks are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from guides import GUIDES
from hcrnn_pyro import evaluation
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.data.synthetic import SyntheticProcess
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, evaluate_parts, summarise
from hcrnn_pyro.prediction import PosteriorPredictive
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[1, 2, 3, 1], [4, 5], [5, 4, 3]], ids=["a", "b", "c"])


def prefer_small_indices(batch):
    """Item 1 first, item 5 last, whatever the prefix."""
    return -torch.arange(6.0).expand(int(batch.scored.sum()), -1)


@pytest.mark.parametrize("method", ["exact", "one-pass"])
def test_every_event_but_the_first_is_one_prediction_in_order(method):
    table = evaluate(prefer_small_indices, SEQUENCES, method)
    assert table[["row", "position", "item"]].to_numpy().tolist() == [
        [0, 1, 2],
        [0, 2, 3],
        [0, 3, 1],
        [1, 1, 5],
        [2, 1, 4],
        [2, 2, 3],
    ]
    assert table["rank"].tolist() == [2, 3, 1, 5, 4, 3]


def test_filtered_ranks_leave_out_what_the_prefix_has_shown():
    table = evaluate(prefer_small_indices, SEQUENCES, "one-pass")
    # prefixes (1), (1, 2), (1, 2, 3) -> its target 1 is seen and comes last, (4), (5), (5, 4)
    assert table["filtered_rank"].tolist() == [1, 1, 3, 4, 4, 3]


def test_summary_counts_ties_and_predictions():
    table = evaluate(lambda batch: torch.zeros(int(batch.scored.sum()), 6), SEQUENCES, "exact")
    assert summarise(table)["recall@3"] == 100.0
    assert summarise(table, ties="pessimistic")["recall@3"] == 0.0
    assert summarise(table, ties="mean")["mrr@3"] == pytest.approx(100 / 3)  # halfway between ranks 1 and 5
    assert summarise(table)["predictions"] == 6


def test_log_likelihood_per_event():
    uniform = torch.cat([torch.tensor([-torch.inf]), torch.full((5,), -np.log(5.0))])
    table = evaluate(lambda batch: uniform.expand(int(batch.scored.sum()), -1), SEQUENCES, "exact")
    assert summarise(table)["nll"] == pytest.approx(np.log(5), rel=1e-6)


def test_a_part_without_predictions_is_refused():
    with pytest.raises(UserError, match="two events"):
        evaluate(prefer_small_indices, Sequences.from_lists([[1], [2]]), "exact")


def test_held_out_targets_alone_are_scored():
    last_only = Sequences(SEQUENCES.items, SEQUENCES.offsets, SEQUENCES.ids, first_target=np.array([3, 1, 2]))
    for method in ("exact", "one-pass"):
        assert evaluate(prefer_small_indices, last_only, method)["item"].tolist() == [1, 5, 3]


@pytest.fixture
def pair():
    model = MODELS["hcrnn3-bi"](items=240, make_prior=PRIORS["logistic-normal"], hidden=8, contexts=4).eval()
    for parameter in model.parameters():
        parameter.data *= 3  # so that theta matters
    return model, GUIDES["bag-of-items"](model).eval()


@pytest.mark.parametrize("method", ["exact", "one-pass"])
def test_predictions_are_scored_in_portions_and_ranked_the_same(method, monkeypatch, pair):
    """A long row of a large catalogue is scored some predictions at a time."""
    sequences = SyntheticProcess(users=10).draw().test
    scorer = PosteriorPredictive(*pair)
    whole = evaluate(scorer, sequences, method)
    sizes = []

    def counted(batch):
        scores = scorer(batch)
        sizes.append(scores.numel())
        return scores

    monkeypatch.setattr(evaluation, "SCORES", 5 * int(sequences.items.max()))
    portions = evaluate(counted, sequences, method)
    assert max(sizes) == 5 * 241 and sum(sizes) == 241 * len(whole)
    pd.testing.assert_frame_equal(portions, whole, rtol=1e-4)


def test_theta_at_its_mean_and_many_draws_agree_where_the_posterior_is_narrow(pair):
    model, guide = pair
    data = SyntheticProcess(users=10).draw()
    guide.families.eta.scale.weight.data.zero_()
    guide.families.eta.scale.bias.data.fill_(-20.0)  # scale of 1e-6
    mean = evaluate(PosteriorPredictive(model, guide), data.test, "exact")
    draws = evaluate(PosteriorPredictive(model, guide, samples=3), data.test, "exact")
    np.testing.assert_allclose(mean["log_prob"], draws["log_prob"], atol=1e-4)


def test_draws_are_averaged_in_probability(pair):
    model, guide = pair
    data = SyntheticProcess(users=10).draw()
    guide.families.eta.scale.bias.data.fill_(3.0)
    torch.manual_seed(5)
    averaged = evaluate(PosteriorPredictive(model, guide, samples=2), data.test, "exact")["log_prob"]
    torch.manual_seed(5)  # the same two draws, one after the other; one batch holds all predictions
    first = evaluate(PosteriorPredictive(model, guide, samples=1), data.test, "exact")["log_prob"]
    second = evaluate(PosteriorPredictive(model, guide, samples=1), data.test, "exact")["log_prob"]
    assert not np.allclose(first, second)
    np.testing.assert_allclose(np.exp(averaged), (np.exp(first) + np.exp(second)) / 2, rtol=1e-4)


def test_results_name_part_sequence_and_item():
    data = SyntheticProcess(users=10).draw()
    metrics, ranks = evaluate_parts({"valid": data.truth, "test": data.truth}, data, "one-pass")
    assert set(metrics) == {"valid", "test", "test_filter_seen", "test_pessimistic_ties", "test_mean_ties"}
    assert len(ranks) == data.valid.predictions + data.test.predictions
    row = ranks[ranks["part"] == "test"].iloc[0]
    assert row["sequence"] == data.test.ids[0]
    assert row["item_id"] == f"item-{data.test[0][1]}"


def test_a_catalogue_larger_than_the_part_bounds_what_is_scored_at_a_time(monkeypatch):
    sequences, sizes = Sequences.from_lists([[1, 2, 3, 4], [4, 3, 2]]), []

    def scorer(batch):
        sizes.append(int(batch.scored.sum()))
        return torch.zeros(sizes[-1], 101)

    monkeypatch.setattr(evaluation, "SCORES", 200)
    assert len(evaluate(scorer, sequences, "exact", items=100)) == 5
    assert max(sizes) == 2


def test_a_sequence_that_predicts_nothing_has_no_portion():
    offsets, first_target = np.array([0, 2, 5]), np.array([2, 1])
    sequences = Sequences(np.array([1, 2, 3, 4, 5]), offsets, np.array(["a", "b"]), first_target=first_target)
    table = evaluate(lambda batch: torch.zeros(int(batch.scored.sum()), 6), sequences, "one-pass")
    assert table["row"].tolist() == [1, 1]
