"""What every model, guide and prior owes the others; a new registry entry is tested by being listed."""

import copy
import pickle
from dataclasses import fields
from itertools import product

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO

from guides import GUIDES, FromPrior
from hcrnn_pyro.contracts import Prepared, has_latent, has_parameters
from hcrnn_pyro.data.batches import SCOPES, Batch, make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.pair import NONE, PairConfig, build_pair, fits
from hcrnn_pyro.prediction import PosteriorPredictive, posterior_means
from hcrnn_pyro.sites import is_latent
from models import MODELS, PRIORS

ITEMS = 9
SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5, 6], [7, 8, 9], [3, 1, 9, 2]])
LIKELIHOODS = ["categorical", "without-replacement"]
PREDICTION_SCOPES = ["prefix", "filtering"]


SIZES = {"hidden": 6, "contexts": 4}
CONTEXT_MODELS = [name for name in MODELS if has_latent(MODELS[name])]
CONTEXT_PARTS = product(CONTEXT_MODELS, PRIORS, sorted(GUIDES.keys() - {NONE}))
FITTING_PARTS = [parts for parts in CONTEXT_PARTS if fits(PairConfig(*parts), SIZES)]
CONTEXT_PAIRS = [(*parts, likelihood) for parts, likelihood in product(FITTING_PARTS, LIKELIHOODS)]
PLAIN_PAIRS = list(product(sorted(MODELS.keys() - CONTEXT_MODELS), [NONE], [NONE], LIKELIHOODS))


def make_pair(model, prior, guide, likelihood):
    settings = {field.name: SIZES[field.name] for field in fields(MODELS[model].config) if field.name in SIZES}
    made = build_pair(PairConfig(model, prior, guide), settings | {"likelihood": likelihood}, ITEMS)
    if isinstance(made[0], Prepared):
        made[0].prepare(SEQUENCES)
    return made[0].double(), made[1].double()


TRAINED_PAIRS = CONTEXT_PAIRS + [names for names in PLAIN_PAIRS if has_parameters(*make_pair(*names))]


@pytest.fixture(params=CONTEXT_PAIRS + PLAIN_PAIRS, ids="/".join)
def pair(request):
    return make_pair(*request.param)


@pytest.fixture(params=TRAINED_PAIRS, ids="/".join)
def trained_pair(request):
    return make_pair(*request.param)


@pytest.fixture(params=CONTEXT_PAIRS, ids="/".join)
def context_pair(request):
    return make_pair(*request.param)


@pytest.fixture(params=PLAIN_PAIRS, ids="/".join)
def plain_pair(request):
    return make_pair(*request.param)


def batch_of(scope, sequences=SEQUENCES):
    if scope == "prefix":
        rows = np.repeat(np.arange(len(sequences)), sequences.lengths - 1)
        lengths = np.concatenate([np.arange(1, n) for n in sequences.lengths])
        return make_batch(sequences, rows, lengths, scope)
    return make_batch(sequences, np.arange(len(sequences)), sequences.lengths - 1, scope)


def with_padding(batch, extra):
    def longer(tensor):
        return torch.nn.functional.pad(tensor, (0, extra))

    if batch.scope == "prefix":
        return Batch(longer(batch.inputs), batch.lengths, batch.targets, batch.scored, batch.rows, batch.scope)
    padded = (longer(getattr(batch, name)) for name in ("targets", "scored"))
    return Batch(longer(batch.inputs), batch.lengths, *padded, batch.rows, batch.scope)


@pytest.mark.parametrize("scope", SCOPES)
def test_sites_match_and_have_finite_densities(pair, scope):
    model, guide = pair
    batch = batch_of(scope)
    guide_trace = poutine.trace(guide).get_trace(batch)
    model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(batch)
    guide_trace.compute_log_prob()
    model_trace.compute_log_prob()
    latents = {name for name, site in guide_trace.nodes.items() if is_latent(site)}
    assert latents == {name for name, site in model_trace.nodes.items() if is_latent(site)}
    for trace, name in [(guide_trace, n) for n in latents] + [(model_trace, n) for n in latents | {"next_item"}]:
        assert trace.nodes[name]["log_prob"].shape == (batch.size,)
        assert trace.nodes[name]["log_prob"].isfinite().all()


@pytest.mark.parametrize("scope", SCOPES)
def test_theta_is_a_point_on_the_simplex(context_pair, scope):
    model, _ = context_pair
    batch = batch_of(scope)
    theta = poutine.trace(model).get_trace(batch).nodes["theta"]["value"]
    shape = batch.inputs.shape if scope == "filtering" else batch.inputs.shape[:1]
    assert theta.shape == (*shape, 4)
    torch.testing.assert_close(theta.sum(-1), torch.ones(shape, dtype=torch.float64))


@pytest.mark.parametrize("scope", SCOPES)
def test_every_parameter_gets_a_gradient(trained_pair, scope):
    model, guide = trained_pair
    objective = Objective(model.eval(), guide.eval(), Trace_ELBO())
    objective(batch_of(scope)).loss.backward()
    silent = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("scope", PREDICTION_SCOPES)
def test_padding_changes_no_prediction(pair, scope):
    model, guide = pair
    predict = PosteriorPredictive(model.eval(), guide.eval())
    batch = batch_of(scope)
    torch.testing.assert_close(predict(with_padding(batch, 5)), predict(batch))


def test_padding_changes_no_density(pair):
    model, guide = pair
    model.eval(), guide.eval()
    batch = batch_of("sequence")
    padded = with_padding(batch, 5)
    trace = poutine.trace(guide).get_trace(batch)
    for part in (guide, model):
        values = [poutine.trace(poutine.replay(part, trace)).get_trace(rows).log_prob_sum() for rows in (batch, padded)]
        torch.testing.assert_close(*values)


@pytest.mark.parametrize("scope", PREDICTION_SCOPES)
def test_the_future_changes_no_prediction(pair, scope):
    model, guide = pair
    predict = PosteriorPredictive(model.eval(), guide.eval())
    changed = Sequences.from_lists([[1, 2, 3, 9, 8, 7], [7, 8, 9], [3, 1, 9, 2]])
    before, after = predict(batch_of(scope)), predict(batch_of(scope, changed))
    first_three = slice(0, 3)  # predictions from the prefixes (1), (1, 2), (1, 2, 3)
    torch.testing.assert_close(before[first_three], after[first_three])
    if has_parameters(model):  # a count of the items, whatever the sequence, reads no past
        assert not torch.allclose(before[3:5], after[3:5])


@pytest.mark.parametrize("scope", PREDICTION_SCOPES)
def test_a_row_is_predicted_alike_alone_and_in_company(pair, scope):
    model, guide = pair
    predict = PosteriorPredictive(model.eval(), guide.eval())
    together = predict(batch_of(scope))
    start = 0
    for row in range(len(SEQUENCES)):
        alone = predict(batch_of(scope, SEQUENCES.take(np.array([row]))))
        torch.testing.assert_close(alone, together[start : start + len(alone)])
        start += len(alone)


def test_the_guide_of_the_sequence_scope_reads_the_whole_input(context_pair):
    _, guide = context_pair
    changed = Sequences.from_lists([[1, 2, 3, 4, 9, 6], [7, 8, 9], [3, 1, 9, 2]])
    guide.eval()
    before = posterior_means(guide, batch_of("sequence"))["eta"]
    after = posterior_means(guide, batch_of("sequence", changed))["eta"]
    assert torch.allclose(before[0], after[0]) == isinstance(guide, FromPrior)  # the one that reads nothing
    torch.testing.assert_close(before[1:], after[1:])


def test_filtering_at_the_last_step_is_the_prefix_scope(context_pair):
    """The guide reads the same items either way, so its posterior must be the same."""
    _, guide = context_pair
    guide.eval()
    stepwise = posterior_means(guide, batch_of("filtering"))["eta"]
    prefixes = posterior_means(guide, batch_of("prefix"))["eta"]
    torch.testing.assert_close(stepwise[batch_of("filtering").valid], prefixes)


def test_without_a_latent_one_pass_is_exact(plain_pair):
    predict = PosteriorPredictive(*(part.eval() for part in plain_pair))
    torch.testing.assert_close(predict(batch_of("filtering")), predict(batch_of("prefix")))


def test_without_a_latent_the_elbo_is_the_log_likelihood(plain_pair):
    model, guide = plain_pair
    terms = Objective(model.eval(), guide, Trace_ELBO())(batch_of("sequence"), kl_weight=0.1)
    log_probs = PosteriorPredictive(model, guide)(batch_of("prefix"))
    targets = batch_of("prefix").targets
    torch.testing.assert_close(terms.loss, -log_probs.gather(1, targets).sum())
    assert terms.kl == 0


@pytest.mark.parametrize("scope", SCOPES)
def test_pyro_svi_trains_every_parameter_of_the_pair(trained_pair, scope):
    model, guide = trained_pair
    batch = batch_of(scope)
    parameters = dict(model.named_parameters()) | dict(guide.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    svi = SVI(model.eval(), guide.eval(), pyro.optim.Adam({"lr": 0.03}), Trace_ELBO())
    svi.step(batch)
    assert all(not torch.equal(p, before[name]) for name, p in parameters.items())


def test_a_pair_can_be_copied_and_pickled_after_a_run(context_pair):
    model, guide = context_pair
    guide(batch_of("sequence"))
    model(batch_of("sequence"))
    for part in (copy.deepcopy(context_pair), pickle.loads(pickle.dumps(context_pair))):
        read = part[1].models[0] if isinstance(part[1], FromPrior) else part[1].encoder.embed.__self__
        assert read is part[0], "the copied guide reads the copied model"


def test_a_second_pair_in_the_process_is_trained_by_itself(trained_pair):
    """Pyro's global store would hand the second model the first one's tensors."""
    model, guide = trained_pair
    other = MODELS["hcrnn1"](items=ITEMS, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).double()
    other_guide = GUIDES["bag-of-items"](other).double()
    SVI(other, other_guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(batch_of("sequence"))
    before = model.item_embeddings.detach().clone()
    other_before = other.item_embeddings.detach().clone()
    SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(batch_of("sequence"))
    assert not torch.equal(model.item_embeddings, before)
    assert torch.equal(other.item_embeddings, other_before)
