"""Diagnostics on a model whose posterior is known, with guides of known faults.

Seeds are fixed. Bounds stand at 5 standard errors or more of a Monte-Carlo error, so over other seeds each would fail
about once in a million times; those that are not of this kind say so.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal, biject_to, constraints

from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.posterior.nuts import compare_with_guide, run_nuts
from hcrnn_pyro.posterior.refine import inference_gap, refine
from hcrnn_pyro.posterior.sbc import calibration_of, ranks_among
from hcrnn_pyro.posterior.sensitivity import power_scaling
from hcrnn_pyro.posterior.weights import effective_sample_size, elbo, guide_quality, iwae_bound, pareto_k
from tests.linear_gaussian import CONTEXTS, Guide, LinearGaussian, batch_of

ROWS = 12
FAULTS = {
    "narrow": {"factor": 0.5},
    "wide": {"factor": 2.0},
    "shifted": {"shift": 1.0},
}


@pytest.fixture
def model():
    return LinearGaussian(ROWS)


def test_the_posterior_itself_has_constant_weights_equal_to_the_evidence(model):
    weights = draw(model, Guide(model), batch_of(ROWS), 200).log_weights
    evidence = model.log_evidence().numpy()
    assert np.all(pareto_k(weights) == -math.inf)
    np.testing.assert_allclose(effective_sample_size(weights), 200.0)
    np.testing.assert_allclose(elbo(weights), evidence)
    np.testing.assert_allclose(iwae_bound(weights), evidence)
    quality = guide_quality(weights)
    assert (quality.reliable_share, quality.median_k) == (1.0, -math.inf)
    assert quality.gap == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_gap_of_a_bad_guide_is_its_divergence_from_the_posterior(model, fault):
    guide = Guide(model, **FAULTS[fault])
    weights = draw(model, guide, batch_of(ROWS), 4000).log_weights
    error = weights.std(dim=0).numpy() / 4000**0.5
    np.testing.assert_array_less(np.abs(elbo(weights) - model.log_evidence().numpy() + guide.kl), 5 * error)


def test_k_hat_sees_the_narrow_guide_and_not_the_wide_one(model):
    """It is blind to too wide a guide, whose weights are bounded: that is what calibration is for.

    With scales of f < 1 the weights are Pareto with k = 1 - f^2, 0.75 here, times a factor that varies slowly, so that
    a fit to few draws finds more. Standard errors of the means over rows are near 0.03.
    """

    def k_hat(fault):
        return pareto_k(draw(model, Guide(model, **FAULTS[fault]), batch_of(ROWS), 2000).log_weights)

    assert 0.75 < k_hat("narrow").mean() < 1.1
    assert np.all(k_hat("wide") < 0.3)
    assert k_hat("shifted").mean() < 0.6


@pytest.mark.parametrize("fault", FAULTS)
def test_refining_finds_the_posterior(model, fault):
    guide, batch = Guide(model, **FAULTS[fault]), batch_of(ROWS)
    refined = refine(model, guide, batch)
    mean, covariance = model.posterior()
    scales = covariance.diagonal().sqrt()
    assert float(((refined.location - mean) / scales).abs().max()) < 0.02
    found = refined.scale_tril @ refined.scale_tril.transpose(1, 2)
    assert float(((found - covariance) / scales / scales[:, None]).abs().max()) < 0.03


def test_the_inference_gap_of_a_shifted_guide_is_all_amortisation(model):
    guide, batch = Guide(model, shift=1.0), batch_of(ROWS)
    gaps = inference_gap(model, guide, batch, samples=4000)
    np.testing.assert_allclose(gaps["evidence"], model.log_evidence(), atol=0.005)
    np.testing.assert_allclose(gaps["family_gap"], 0.0, atol=0.005)
    error = draw(model, guide, batch, 4000).log_weights.std(dim=0).numpy() / 4000**0.5
    np.testing.assert_array_less(np.abs(gaps["amortisation_gap"] - guide.kl), 5 * error + 0.005)


def test_a_refined_posterior_has_the_density_that_its_normal_gives():
    """Two latents, one of them on a simplex: the sites' densities make up the joint Normal's with its Jacobian."""

    def model(batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1).expand([batch.size]))
            b = pyro.sample("b", dist.Dirichlet(torch.ones(3)).expand([batch.size]))
            pyro.deterministic("theta", b, event_dim=1)
            pyro.sample("y", dist.Normal((a * b[..., :2]).sum(-1), 0.1), obs=torch.ones(batch.size))

    def guide(batch):
        with pyro.plate("sequences", batch.size, dim=-1):
            pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1).expand([batch.size]))
            pyro.sample("b", dist.Dirichlet(torch.ones(3)).expand([batch.size]))

    refined = refine(model, guide, batch_of(2), steps=30)
    draws = draw(model, refined, batch_of(2), 7)
    simplex = biject_to(constraints.simplex)
    free = simplex.inv(draws.latents["b"])
    u = torch.cat([draws.latents["a"], free], dim=-1)
    expected = MultivariateNormal(refined.location, scale_tril=refined.scale_tril).log_prob(u)
    expected = expected - simplex.log_abs_det_jacobian(free, draws.latents["b"])
    torch.testing.assert_close(draws.log_guide, expected, atol=1e-3, rtol=1e-4)
    assert float(refined.scale_tril[:, 2:, :2].abs().max()) > 0.01  # they are dependent indeed


def test_nuts_finds_the_posterior_and_measures_a_guide_against_it():
    model, batch = LinearGaussian(3), batch_of(3)
    posterior = run_nuts(model, Guide(model, shift=1.0), batch, draws=60, warmup=40)
    assert posterior.divergences == 0
    assert posterior.r_hat.max() < 1.15
    mean, covariance = model.posterior()
    eta = posterior.latents["eta"]
    root = torch.from_numpy(posterior.effective_size).sqrt().unsqueeze(-1)
    assert float(((eta.mean(dim=0) - mean) / covariance.diagonal().sqrt() * root).abs().max()) < 5
    assert eta.var(dim=0).mean(dim=0).numpy() == pytest.approx(covariance.diagonal().numpy(), rel=0.6)
    torch.testing.assert_close(posterior.theta, eta.softmax(-1))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    good, narrow, shifted = (
        compare_with_guide(posterior, draw(model, Guide(model, **settings), batch, 2000))
        for settings in ({}, {"factor": 0.5}, {"shift": 2.0})
    )
    assert (good["total_variation"] < 5 * good["error"]).all()
    assert (shifted["total_variation"] > 5 * shifted["error"]).all()
    assert narrow["variance_ratio"].mean() < 0.5 < 0.6 < good["variance_ratio"].mean() < 1.6
    np.testing.assert_allclose(shifted["mean_difference"] * CONTEXTS / 2, shifted["total_variation"])


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "calibrated"),
        ({"factor": 0.5}, "under-dispersed"),
        ({"factor": 2.0}, "over-dispersed"),
        ({"shift": 0.5}, "biased"),
    ],
)
def test_calibration_names_the_fault(settings, verdict):
    """A calibrated guide is called so at 95 of 100 seeds; the faults are so large that they are never missed."""
    model = LinearGaussian(600)
    drawn = draw(model, Guide(model, **settings), batch_of(600), 99).theta
    found = calibration_of(ranks_among(model.eta.softmax(-1), drawn), 99)
    assert (found.verdict, found.verdicts) == (verdict, {"all": verdict})
    assert found.sentence.startswith(verdict)
    assert found.ranks.shape == (600, CONTEXTS)


def test_calibration_is_wrong_no_more_often_than_it_says():
    """Uniform ranks, 200 times: a rate of 5 % leaves more than 20 alarms, or none, to about 1 seed in 1000."""
    random = np.random.default_rng(0)
    groups = np.repeat(["short", "long"], 100)
    alarms = sum(
        calibration_of(random.integers(0, 100, (200, 3)), 99, groups).verdict != "calibrated" for _ in range(200)
    )
    assert 1 <= alarms <= 20


def test_a_fault_of_one_group_is_found_there():
    random = np.random.default_rng(1)
    good, narrow = random.integers(0, 100, (300, 2)), np.floor(100 * random.beta(0.4, 0.4, (300, 2))).astype(int)
    found = calibration_of(np.concatenate([good, narrow.clip(0, 99)]), 99, np.repeat(["short", "long"], 300))
    assert found.verdicts == {"short": "calibrated", "long": "under-dispersed"}
    assert found.verdict == "under-dispersed"


@pytest.mark.parametrize("guide", [{}, {"factor": 1.5}])
def test_power_scaling_moves_theta_as_retraining_would(guide):
    """Posterior under prior^a: precision a I + A^T A / s^2; under likelihood^a: I + a A^T A / s^2."""
    model = LinearGaussian(4, noise=2.0)
    table = power_scaling(draw(model, Guide(model, **guide), batch_of(4), 20_000))
    identity, data = torch.eye(CONTEXTS, dtype=torch.float64), (model.loading.T @ model.loading).detach() / 4
    evidence = (model.y @ model.loading).detach() / 4

    def mean(prior, likelihood):
        covariance = (prior * identity + likelihood * data).inverse()
        law = MultivariateNormal(likelihood * evidence @ covariance, covariance)
        noise = torch.randn(100_000, CONTEXTS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        return (law.loc + noise[:, None] @ law.scale_tril.mT[0]).softmax(-1).mean(dim=0)

    for name, powers in {"prior": [(0.8, 1), (1.25, 1)], "likelihood": [(1, 0.8), (1, 1.25)]}.items():
        moves = torch.stack([(mean(*power) - mean(1, 1)).abs().sum(-1) / 2 for power in powers])
        expected = moves.mean(dim=0).numpy() / math.log2(1.25)
        np.testing.assert_allclose(table[f"{name}_moves"], expected, atol=0.006)


def test_power_scaling_diagnoses_conflict_and_weak_likelihood():
    conflict, weak, fine = LinearGaussian(1), LinearGaussian(1, noise=30.0), LinearGaussian(1, noise=0.02)
    conflict.y = conflict.y + 6.0 * conflict.loading.detach()[:, 0] - 6.0 * conflict.loading.detach()[:, 1]
    found = [power_scaling(draw(m, Guide(m), batch_of(1), 4000))["diagnosis"][0] for m in (conflict, weak, fine)]
    assert found == ["prior-data conflict", "weak likelihood", "none"]
