"""Every prior: where theta lives, densities against SciPy, moments against closed forms, limits, and the whole way."""

import inspect
import math
from functools import partial

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import Trace_ELBO
from scipy import stats
from scipy.special import expit, logsumexp

from experiments.svi import main
from guides import BagOfItems
from hcrnn_pyro.checks import require_proportions
from hcrnn_pyro.data.batches import SCOPES, make_batch
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.elbo import Objective
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.runs import load_run
from hcrnn_pyro.sites import latent_sites
from hcrnn_pyro.training import fit
from hcrnn_pyro.training_config import TrainingConfig
from models import HCRNN, PRIORS, LogisticNormal
from models.priors import (
    DirichletLaplace,
    LearnedDirichlet,
    LearnedLogisticNormal,
    Mixture,
    RandomWalk,
    Sparse,
    StickBreaking,
    SymmetricDirichlet,
)
from models.priors.edges import Beta, Dirichlet, HalfCauchy

CONTEXTS = 4
SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7, 8], [8, 1]])
LEGAL = [(name, scope) for name in PRIORS for scope in SCOPES if name != "random-walk" or scope == "filtering"]
DRAWS = 40_000
# All comparisons of moments in this file together fail by chance once in a million seeds.
COMPARISONS = 100
DEVIATIONS = float(stats.norm.isf(1e-6 / (2 * COMPARISONS)))


def batch_of(scope, sequences=SEQUENCES):
    rows = np.arange(len(sequences))
    return make_batch(sequences, rows, sequences.lengths - 1, scope)


def many_rows(rows=DRAWS, steps=1, scope="sequence"):
    return batch_of(scope, Sequences.from_lists([list(range(1, steps + 2))] * rows))


def prior_trace(prior, batch, **values):
    """A run of the prior where the model would run it, with some of its latents given."""
    with pyro.plate("sequences", batch.size, dim=-1):
        return poutine.trace(poutine.condition(prior, data=values)).get_trace(batch)


def theta_of(trace):
    return trace.nodes["_RETURN"]["value"]


def shaken(prior, seed=0):
    """The same prior with its parameters moved from where they start."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in prior.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return prior


def numpy_of(tensor):
    return tensor.detach().numpy()


# What every prior owes


@pytest.mark.parametrize(("name", "scope"), LEGAL)
def test_theta_is_a_point_on_the_simplex(name, scope):
    batch = batch_of(scope)
    theta = theta_of(prior_trace(shaken(PRIORS[name](CONTEXTS)), batch))
    assert require_proportions(theta, batch, CONTEXTS) is theta
    torch.testing.assert_close(theta.sum(-1), torch.ones(theta.shape[:-1]))


@pytest.mark.parametrize(("name", "scope"), LEGAL)
@pytest.mark.parametrize("contexts", [2, CONTEXTS])
def test_every_parameter_gets_a_gradient(name, scope, contexts):
    model = HCRNN("hcrnn3-bi", 9, PRIORS[name], hidden=6, contexts=contexts).double()
    objective = Objective(model.eval(), BagOfItems(model).double().eval(), Trace_ELBO())
    objective(batch_of(scope)).loss.backward()
    silent = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(("name", "scope"), LEGAL)
def test_an_outer_plate_of_draws_gives_each_draw_its_density(name, scope):
    model = HCRNN("hcrnn3-bi", 9, PRIORS[name], hidden=6, contexts=CONTEXTS).double().eval()
    shaken(model.prior)
    guide, batch = BagOfItems(model).double().eval(), batch_of(scope)
    draws = draw(model, guide, batch, 3)
    assert draws.log_prior.shape == draws.log_guide.shape == draws.log_likelihood.shape == (3, 3)
    for s in range(3):
        trace = prior_trace(model.prior, batch, **{site: value[s] for site, value in draws.latents.items()})
        trace.compute_log_prob()
        densities = [trace.nodes[site]["log_prob"] for site in draws.latents]
        torch.testing.assert_close(draws.log_prior[s], sum(densities).detach())
        torch.testing.assert_close(draws.deterministic["theta"][s], theta_of(trace).detach())


def test_padding_adds_nothing_to_any_density():
    for name in PRIORS:
        prior, batch = PRIORS[name](CONTEXTS), batch_of("filtering")
        trace = prior_trace(prior, batch)
        latents = {site.name: trace.nodes[site.name]["value"] for site in latent_sites(prior)}
        # The first step's value is a legal one on every support.
        moved = {key: torch.where(batch.valid[..., None], value, value[:, :1]) for key, value in latents.items()}
        other = prior_trace(prior, batch, **moved)
        for part in (trace, other):
            part.compute_log_prob()
        for site in latents:
            torch.testing.assert_close(trace.nodes[site]["log_prob"], other.nodes[site]["log_prob"])


def tiny_set():
    items = pd.DataFrame({"item_id": [str(item) for item in range(1, 10)]})
    return DataSet("toy", SEQUENCES, SEQUENCES, SEQUENCES, items)


@pytest.mark.parametrize("name", PRIORS)
def test_a_tiny_set_is_trained_on(name):
    model = HCRNN("hcrnn3-bi", 9, PRIORS[name], hidden=6, contexts=CONTEXTS)
    scope = "filtering" if name == "random-walk" else "sequence"
    config = TrainingConfig(epochs=1, batch_size=2, scope=scope, device="cpu", check_every_batch=True)
    result = fit(model, BagOfItems(model), tiny_set(), config)
    assert np.isfinite(result.history[["train_loss", "train_kl", "valid_elbo"]]).all(axis=None)


def test_every_prior_says_its_density_support_moments_and_source():
    for name, prior in PRIORS.items():
        text = inspect.getdoc(prior)
        assert all(word in text for word in ("p(", "Support of ``", "E[", "Var[", "Source: ")), name


# Densities against SciPy


def logistic_normal(_prior, values):
    return stats.norm.logpdf(values["eta"]).sum(-1)


def learned_logistic_normal(prior, values):
    factor, diagonal = numpy_of(prior.factor), np.exp(numpy_of(prior.log_diagonal))
    law = stats.multivariate_normal(numpy_of(prior.location), factor @ factor.T + np.diag(diagonal))
    return law.logpdf(values["eta"])


def dirichlet(_prior, values):
    return np.apply_along_axis(stats.dirichlet([0.5] * CONTEXTS).logpdf, -1, values["proportions"])


def learned_dirichlet(prior, values):
    law = stats.dirichlet(np.exp(numpy_of(prior.log_concentration)))
    return np.apply_along_axis(law.logpdf, -1, values["proportions"])


def dirichlet_laplace(_prior, values):
    variance = 2.0 * (1 - 2 / CONTEXTS) + 2.0 / CONTEXTS
    return stats.norm.logpdf(values["eta"], scale=np.sqrt(variance)).sum(-1)


def stick_breaking(prior, values):
    return stats.beta.logpdf(values["sticks"], 1.0, np.exp(numpy_of(prior.log_concentration))).sum(-1)


def sparse(_prior, values):
    return stats.halfcauchy.logpdf(values["spread"]).sum(-1) + stats.norm.logpdf(values["direction"]).sum(-1)


def mixture(prior, values):
    members = [
        weight + stats.norm.logpdf(values["eta"], mean, np.exp(log_scale)).sum(-1)
        for weight, mean, log_scale in zip(*map(numpy_of, prior.parameters()), strict=True)
    ]
    return logsumexp(members, axis=0) - logsumexp(numpy_of(prior.logits))


DENSITIES = {
    "logistic-normal": logistic_normal,
    "logistic-normal-learned": learned_logistic_normal,
    "dirichlet": dirichlet,
    "dirichlet-learned": learned_dirichlet,
    "dirichlet-laplace": dirichlet_laplace,
    "stick-breaking": stick_breaking,
    "sparse": sparse,
    "mixture": mixture,
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", DENSITIES)
def test_density(name, scope):
    prior, batch = shaken(PRIORS[name](CONTEXTS).double()), batch_of(scope)
    trace = prior_trace(prior, batch)
    trace.compute_log_prob()
    sites = [site.name for site in latent_sites(prior)]
    expected = DENSITIES[name](prior, {site: numpy_of(trace.nodes[site]["value"]) for site in sites})
    if scope == "filtering":
        expected = (expected * batch.valid.numpy()).sum(1)
    found = sum(numpy_of(trace.nodes[site]["log_prob"]) for site in sites)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_density_of_a_walk_by_a_loop_over_its_steps():
    prior, batch = RandomWalk(CONTEXTS, step=0.3).double(), batch_of("filtering")
    trace = prior_trace(prior, batch)
    trace.compute_log_prob()
    eta = numpy_of(trace.nodes["eta"]["value"])
    for row, length in enumerate(batch.lengths.tolist()):
        expected = stats.norm.logpdf(eta[row, 0]).sum()
        for t in range(1, length):
            expected += stats.norm.logpdf(eta[row, t], eta[row, t - 1], 0.3).sum()
        assert float(trace.nodes["eta"]["log_prob"][row].detach()) == pytest.approx(expected)


def test_a_walk_has_no_theta_of_a_whole_row():
    for scope in ("sequence", "prefix"):
        with pytest.raises(UserError, match=f"the {scope} scope.*use --scope filtering and --evaluation one-pass"):
            prior_trace(RandomWalk(CONTEXTS), batch_of(scope))


@pytest.mark.parametrize(
    ("flags", "scope"),
    [([], "sequence"), (["--scope", "filtering"], "prefix"), (["--evaluation", "one-pass"], "sequence")],
)
def test_a_run_that_would_need_another_scope_is_refused_and_leaves_nothing(tmp_path, monkeypatch, flags, scope):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"a row of the {scope} scope.*use --scope filtering and --evaluation one-pass"):
        main(["--hidden", "6", "--contexts", "3", "--device", "cpu", "--prior", "random-walk", *flags])
    assert list(tmp_path.iterdir()) == []


def test_fit_refuses_what_it_could_not_train_or_validate(tmp_path):
    class Stepless(LogisticNormal):
        def forward(self, batch):
            if batch.scope == "filtering" and self.refuses:
                raise UserError("No steps here.")
            return super().forward(batch)

    for make_prior, sentence in ((RandomWalk, "--scope filtering"), (Stepless, "No steps here")):
        model = HCRNN("hcrnn3-bi", 9, make_prior, hidden=6, contexts=CONTEXTS)
        model.prior.refuses = False
        guide = BagOfItems(model)
        model.prior.refuses = True
        before = model.item_embeddings.detach().clone()
        with pytest.raises(UserError, match=sentence):
            fit(model, guide, tiny_set(), TrainingConfig(epochs=1, device="cpu"), tmp_path)
        assert torch.equal(model.item_embeddings, before)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_walk_by_the_command(tmp_path):
    flags = [
        "--prior",
        "random-walk",
        "--scope",
        "filtering",
        "--evaluation",
        "one-pass",
        "--out",
        str(tmp_path / "run"),
    ]
    main(["--hidden", "6", "--contexts", "3", "--epochs", "1", "--batch-size", "64", "--device", "cpu", *flags])
    assert isinstance(load_run(tmp_path / "run").model.prior, RandomWalk)


# Moments of theta


def assert_moments(theta, mean, variance):
    """Sample mean and variance of theta (N, K) within DEVIATIONS standard errors of what they should be."""
    theta = numpy_of(theta)
    centred = theta - theta.mean(0)
    error_of_mean = centred.std(0) / np.sqrt(len(theta))
    error_of_variance = np.sqrt(((centred**4).mean(0) - centred.var(0) ** 2) / len(theta))
    assert (np.abs(theta.mean(0) - mean) < DEVIATIONS * error_of_mean).all()
    assert (np.abs(theta.var(0) - variance) < DEVIATIONS * error_of_variance).all()


def dirichlet_moments(concentration):
    total = concentration.sum()
    mean = concentration / total
    return mean, mean * (1 - mean) / (total + 1)


def stick_moments(alpha, contexts):
    k = np.arange(1, contexts + 1)
    left, square = alpha / (1 + alpha), alpha / (2 + alpha)
    mean = np.where(k < contexts, (1 - left) * left ** (k - 1), left ** (k - 1))
    second = np.where(k < contexts, 2 / ((1 + alpha) * (2 + alpha)) * square ** (k - 1), square ** (k - 1))
    return mean, second - mean**2


def logistic_moments(mean, scale):
    """Mean and second moment of theta_1 of two contexts whose eta_1 - eta_2 is Normal(mean, scale^2), by quadrature."""
    z = np.linspace(-12.0, 12.0, 20_001)
    theta = expit(mean + scale * z)
    return np.array([np.trapezoid(theta**power * stats.norm.pdf(z), z) for power in (1, 2)])


def of_both(first, second):
    """Means and variances of two contexts from the moments of the first."""
    return np.array([first, 1 - first]), np.full(2, second - first**2)


def test_moments_of_dirichlets():
    prior = SymmetricDirichlet(CONTEXTS).double()
    assert_moments(theta_of(prior_trace(prior, many_rows())), *dirichlet_moments(np.full(CONTEXTS, 0.5)))
    assert_moments(theta_of(prior_trace(prior, many_rows())), 1 / 4, (1 / 4) * (3 / 4) / (4 * 0.5 + 1))
    learned = LearnedDirichlet(CONTEXTS).double()
    torch.testing.assert_close(learned.log_concentration.exp().detach(), torch.full((4,), 0.5, dtype=torch.float64))
    shaken(learned)
    expected = dirichlet_moments(np.exp(numpy_of(learned.log_concentration)))
    assert_moments(theta_of(prior_trace(learned, many_rows())), *expected)


@pytest.mark.parametrize("alpha", [0.7, 5.0])
def test_moments_of_broken_sticks(alpha):
    theta = theta_of(prior_trace(StickBreaking(CONTEXTS, alpha).double(), many_rows()))
    assert_moments(theta, *stick_moments(alpha, CONTEXTS))
    left = numpy_of(1 - theta.cumsum(-1))[:, :-1]
    error = left.std(0) / np.sqrt(DRAWS)
    assert (np.abs(left.mean(0) - (alpha / (1 + alpha)) ** np.arange(1, CONTEXTS)) < DEVIATIONS * error).all()


@pytest.mark.parametrize(("prior", "variance"), [(LogisticNormal(2), 1.0), (DirichletLaplace(2), 1.0)])
def test_moments_of_two_logistic_normal_contexts(prior, variance):
    theta = theta_of(prior_trace(prior.double(), many_rows()))
    assert_moments(theta, *of_both(*logistic_moments(0.0, np.sqrt(2 * variance))))


@pytest.mark.parametrize(
    ("make_prior", "variance"), [(LogisticNormal, 1.0), (partial(DirichletLaplace, concentration=2.0), 0.5)]
)
def test_the_variance_of_many_logistic_normal_contexts_is_a_log_normals(make_prior, variance):
    contexts = 5000
    theta = theta_of(prior_trace(make_prior(contexts).double(), many_rows(300)))
    assert float(theta.var()) * contexts**2 == pytest.approx(math.expm1(variance), rel=0.03)


def test_moments_of_learned_logistic_normal_contexts():
    prior = shaken(LearnedLogisticNormal(2).double())
    factor, diagonal = numpy_of(prior.factor), np.exp(numpy_of(prior.log_diagonal))
    covariance, location = factor @ factor.T + np.diag(diagonal), numpy_of(prior.location)
    scale = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    theta = theta_of(prior_trace(prior, many_rows()))
    assert_moments(theta, *of_both(*logistic_moments(location[0] - location[1], scale)))
    log_ratio = theta.log().diff(dim=-1).neg()
    assert_moments(log_ratio, location[0] - location[1], scale**2)


def test_moments_of_a_mixture():
    prior = shaken(Mixture(2, groups=3).double())
    weights = np.exp(numpy_of(prior.logits.log_softmax(-1)))
    location, scale = numpy_of(prior.location), np.exp(numpy_of(prior.log_scale))
    members = [logistic_moments(m[0] - m[1], np.hypot(*s)) for m, s in zip(location, scale, strict=True)]
    assert_moments(theta_of(prior_trace(prior, many_rows())), *of_both(*(weights @ np.array(members))))


def test_moments_of_a_walk():
    theta = theta_of(prior_trace(RandomWalk(2, step=0.8).double(), many_rows(steps=3, scope="filtering")))
    variances = []
    for t in range(3):
        expected = of_both(*logistic_moments(0.0, np.sqrt(2 * (1 + t * 0.8**2))))
        assert_moments(theta[:, t], *expected)
        variances.append(expected[1][0])
    assert variances[0] < variances[1] < variances[2] < 1 / 4


def test_moments_of_sparse_contexts():
    """Given the spreads, eta_1 - eta_2 is Normal; the spreads' quantiles make the grid over them."""
    tau = 0.4
    scales = np.logspace(-4, 4, 400)
    variances = [logistic_moments(0.0, scale)[1] - 1 / 4 for scale in scales[scales < 30]]
    variances += [1 / 4 - logistic_tail(scale) for scale in scales[scales >= 30]]
    spread = np.tan(np.pi / 2 * (np.arange(1000) + 0.5) / 1000)
    scale = tau * np.hypot(spread[:, None], spread)
    expected = np.interp(np.log(scale), np.log(scales), variances).mean()
    theta = theta_of(prior_trace(Sparse(2, tau).double(), many_rows()))
    assert_moments(theta, 0.5, expected)


def logistic_tail(scale):
    """E[theta_1 theta_2] where the Normal is flat next to the logistic's step: its density at 0 times the integral."""
    return stats.norm.pdf(0.0) / scale


@pytest.mark.parametrize(("tau", "variance"), [(1e-7, 0.0), (1e7, 1 / CONTEXTS * (1 - 1 / CONTEXTS))])
def test_sparse_contexts_go_from_equal_shares_to_one_context(tau, variance):
    theta = theta_of(prior_trace(Sparse(CONTEXTS, tau).double(), many_rows()))
    assert theta.var(0).detach().numpy() == pytest.approx(variance, abs=0.01)


# Limits


def densities_of(prior, eta):
    trace = prior_trace(prior, batch_of("sequence"), eta=eta)
    trace.compute_log_prob()
    return trace.nodes["eta"]["log_prob"].detach()


def test_learned_logistic_normal_starts_as_the_papers():
    prior, eta = LearnedLogisticNormal(50), torch.randn(3, 50)
    torch.testing.assert_close(densities_of(prior, eta), densities_of(LogisticNormal(50), eta), atol=0.1, rtol=0.0)
    prior.factor.data.zero_()
    torch.testing.assert_close(densities_of(prior, eta), densities_of(LogisticNormal(50), eta))
    assert LearnedLogisticNormal(3).factor.shape == (3, 3)
    assert prior.factor.shape == (50, 5)


def test_a_mixture_of_one_group_is_a_logistic_normal():
    prior, eta = Mixture(CONTEXTS, groups=1), torch.randn(3, CONTEXTS)
    prior.location.data.zero_()
    torch.testing.assert_close(densities_of(prior, eta), densities_of(LogisticNormal(CONTEXTS), eta))
    assert torch.equal(prior.group_probabilities(eta), torch.ones(3, 1))


def test_group_probabilities_by_bayes_rule():
    prior, eta = shaken(Mixture(CONTEXTS).double()), torch.randn(2, 3, CONTEXTS, dtype=torch.float64)
    joint = np.stack(
        [
            np.exp(weight) * stats.norm.pdf(eta.numpy(), mean, np.exp(log_scale)).prod(-1)
            for weight, mean, log_scale in zip(*map(numpy_of, prior.parameters()), strict=True)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(numpy_of(prior.group_probabilities(eta)), joint / joint.sum(-1, keepdims=True))


def test_dirichlet_laplace_has_the_dirichlets_mean_and_for_large_concentrations_nearly_its_variance():
    """Without the off-diagonal of the covariance, a share 1 / K of the variance is lost."""
    theta = theta_of(prior_trace(DirichletLaplace(CONTEXTS).double(), many_rows()))
    error = numpy_of(theta).std(0) / np.sqrt(DRAWS)
    assert (np.abs(numpy_of(theta).mean(0) - 1 / CONTEXTS) < DEVIATIONS * error).all()
    theta = theta_of(prior_trace(DirichletLaplace(CONTEXTS, 100.0).double(), many_rows()))
    exact = dirichlet_moments(np.full(CONTEXTS, 100.0))[1]
    np.testing.assert_allclose(numpy_of(theta).var(0), (1 - 1 / CONTEXTS) * exact, rtol=0.05)


def test_a_walk_of_tiny_steps_stays_where_it_starts():
    theta = theta_of(prior_trace(RandomWalk(CONTEXTS, step=1e-6), many_rows(5, steps=6, scope="filtering")))
    torch.testing.assert_close(theta, theta[:, :1].expand_as(theta), atol=1e-4, rtol=0.0)


# Single precision


def test_edges_of_a_dirichlet():
    law = Dirichlet(torch.full((3,), 0.5))
    values = torch.tensor([[1e-30, 0.4, 0.6], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0]], requires_grad=True)
    densities = law.log_prob(values)
    exact = [stats.dirichlet.logpdf([1e-30, 0.4, 0.6], [0.5] * 3)] * 2
    np.testing.assert_allclose(numpy_of(densities)[:2], exact, rtol=1e-6)
    densities.sum().backward()
    assert densities.isfinite().all()
    assert values.grad.isfinite().all()


def test_edges_of_sticks():
    below_one = 1.0 - 2.0**-23
    sticks = torch.tensor([1.0 - 1e-7, below_one, 1.0, 0.0], requires_grad=True)
    densities = Beta(torch.ones(4), torch.full((4,), 5.0)).log_prob(sticks)
    np.testing.assert_allclose(numpy_of(densities)[:3], stats.beta.logpdf(below_one, 1.0, 5.0), rtol=1e-5)
    assert float(densities[3].detach()) == pytest.approx(math.log(5.0))
    densities.sum().backward()
    assert sticks.grad.isfinite().all()


def test_edges_of_a_half_cauchy():
    spread = torch.tensor([0.0, 1e-38, 1e15, 3e38], requires_grad=True)
    densities = HalfCauchy(torch.ones(4)).log_prob(spread)
    exact = stats.halfcauchy.logpdf([0.0, 1e-38, 1e15, 1e15])
    np.testing.assert_allclose(numpy_of(densities), exact, rtol=1e-6)
    densities.sum().backward()
    assert spread.grad.isfinite().all()


@pytest.mark.parametrize(("name", "scope"), LEGAL)
def test_a_guide_far_out_has_finite_densities_and_gradients(name, scope):
    """As far as u = 40 on every support, and 4 on the simplex, where 50 contexts then share some 25 powers of ten."""
    model = HCRNN("hcrnn3-bi", 9, PRIORS[name], hidden=6, contexts=50).eval()
    guide = BagOfItems(model).eval()
    for family in guide.families.values():
        far = 4.0 if family.site.support is constraints.simplex else 40.0
        family.location.bias.data.copy_(far * torch.randn_like(family.location.bias).sign())
    objective = Objective(model, guide, Trace_ELBO())
    terms = objective(batch_of(scope))
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
