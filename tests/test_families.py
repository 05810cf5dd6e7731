"""Families against NumPy, SciPy and quadrature; densities of the extremest draws."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch
from pyro.distributions import constraints
from torch.autograd.functional import jacobian

from hcrnn_pyro.families import DirichletFamily, LowRank, MeanField, Point
from hcrnn_pyro.flow import Flow
from hcrnn_pyro.simplex import CentredSoftmax, bijection_to
from hcrnn_pyro.sites import LatentSite, SupportMismatch, centre

FEATURES = 5
FAMILIES = [MeanField, LowRank, Flow, Point]
SUPPORTS = [constraints.real, constraints.simplex, constraints.unit_interval]
HOMES = [*product(FAMILIES, SUPPORTS), (DirichletFamily, constraints.simplex)]


def site(size, support=constraints.real):
    return LatentSite("z", torch.Size([size]), support)


def family_of(make, latent, scale=1.0):
    """With every weight drawn anew, so that nothing rests on how it starts."""
    family = make(latent, FEATURES).double()
    for parameter in family.parameters():
        parameter.data = scale * torch.randn_like(parameter)
    return family


def features_of(rows=3):
    return torch.randn(rows, FEATURES, dtype=torch.float64)


def linear(layer, features):
    return features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


@pytest.mark.parametrize(("size", "rank"), [(7, 5), (3, 3), (1, 1)])
def test_a_low_rank_posterior_has_the_covariance_of_its_equation(size, rank):
    family, features = family_of(LowRank, site(size)), features_of()
    posterior = family(features)
    location = linear(family.location, features.numpy())
    sigma = 1e-6 + np.log1p(np.exp(linear(family.scale, features.numpy())))
    raw = linear(family.correlating, features.numpy()).reshape(3, size, rank)
    values = torch.randn(3, size, dtype=torch.float64)
    for row in range(3):
        W = sigma[row][:, None] * 10 * np.tanh(raw[row] / 10)
        covariance = W @ W.T + np.diag(sigma[row] ** 2)
        np.testing.assert_allclose(posterior.covariance_matrix[row].detach().numpy(), covariance, rtol=1e-8)
        expected = scipy.stats.multivariate_normal(location[row], covariance).logpdf(values[row].numpy())
        assert posterior.log_prob(values)[row].item() == pytest.approx(expected, rel=1e-8)


def test_the_density_of_a_flow_integrates_to_one():
    torch.manual_seed(3)
    family = family_of(Flow, site(2), 0.5)
    family.location.weight.data.zero_(), family.location.bias.data.zero_()
    grid = torch.linspace(-25, 25, 601, dtype=torch.float64)
    places = torch.cartesian_prod(grid, grid)
    posterior = family(features_of(1)[0])
    density = posterior.log_prob(places).detach().exp()
    assert float(density.sum() * (grid[1] - grid[0]) ** 2) == pytest.approx(1.0, abs=1e-4)
    total = density.sum()
    mean = (density.unsqueeze(-1) * places).sum(0) / total
    draws = posterior.sample((10_000,))
    # 4 standard errors: fails once in 8,000 seeds
    assert (draws.mean(0) - mean).abs().lt(4 * draws.std(0) / 100).all()
    bent, straight = posterior.log_prob(draws), posterior.base_dist.log_prob(draws)
    assert not torch.allclose(bent, straight, atol=0.1)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_flow_has_its_jacobian_forwards_and_backwards(size):
    family, features = family_of(Flow, site(size), 0.5), features_of(1)[0]
    couplings = family(features).transforms
    start = torch.randn(size, dtype=torch.float64)

    def bent(value):
        for coupling in couplings:
            value = coupling(value)
        return value

    end = bent(start)
    returned = end.clone()  # a new tensor, of which no transform remembers where it came from
    for coupling in reversed(couplings):
        returned = coupling.inv(returned)
    torch.testing.assert_close(returned, start)
    matrix = jacobian(bent, start)
    assert matrix.ne(0).any(dim=0).all() and matrix.diagonal().ne(1).all(), "every coordinate is moved"
    posterior = family(features)
    location, scale = (part.detach().numpy() for part in family.parameters_of(features))
    expected = scipy.stats.norm(location, scale).logpdf(start.numpy()).sum() - np.linalg.slogdet(matrix.numpy())[1]
    assert posterior.log_prob(end.clone()).item() == pytest.approx(expected)


def test_a_flow_starts_next_to_its_normal():
    family, features = Flow(site(6), FEATURES), torch.randn(4, FEATURES)
    posterior = family(features)
    values = posterior.base_dist.sample()
    torch.testing.assert_close(posterior.log_prob(values), posterior.base_dist.log_prob(values), atol=0.2, rtol=0.0)


def test_a_flow_of_one_coordinate_is_refused():
    with pytest.raises(SupportMismatch, match="needs two or more"):
        Flow(site(2, constraints.simplex), FEATURES)


def test_a_dirichlet_posterior_has_the_density_of_its_equation():
    family, features = family_of(DirichletFamily, site(4, constraints.simplex)), features_of()
    posterior = family(features)
    alpha = 0.05 + np.log1p(np.exp(linear(family.concentration, features.numpy())))
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25] * 4], dtype=torch.float64)
    expected = [scipy.stats.dirichlet(a).logpdf(v) for a, v in zip(alpha, values.numpy(), strict=True)]
    np.testing.assert_allclose(posterior.log_prob(values).detach().numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(centre(posterior).detach().numpy(), alpha / alpha.sum(1, keepdims=True))


def test_a_dirichlet_posterior_lives_on_the_simplex_alone():
    with pytest.raises(SupportMismatch, match=r"needs a latent that lives on the simplex; the prior's z, .* real"):
        DirichletFamily(site(4), FEATURES)


@pytest.mark.parametrize("support", [constraints.real, constraints.simplex, constraints.positive])
def test_a_point_is_the_image_of_its_location(support):
    family, features = family_of(Point, site(4, support)), features_of()
    posterior = family(features)
    location = linear(family.location, features.numpy())
    if support is constraints.simplex:
        basis = scipy.linalg.helmert(4)  # rows orthonormal, each of sum 0; ours has their signs
        location = np.exp(location @ basis) / np.exp(location @ basis).sum(-1, keepdims=True)
    elif support is constraints.positive:
        location = np.exp(location)
    for value in (posterior.rsample(), centre(posterior)):
        np.testing.assert_allclose(value.detach().numpy(), location)
    assert posterior.log_prob(posterior.rsample()).tolist() == [0.0] * 3


@pytest.mark.parametrize("entries", [2, 5, 50])
def test_the_softmax_is_centred_and_has_its_jacobian(entries):
    free = torch.randn(entries - 1, dtype=torch.float64)
    basis = scipy.linalg.helmert(entries)
    theta = CentredSoftmax()(free)
    np.testing.assert_allclose(theta.numpy(), scipy.special.softmax(free.numpy() @ basis))
    torch.testing.assert_close(CentredSoftmax().inv(theta), free)
    matrix = jacobian(lambda x: CentredSoftmax()(x)[:-1], free)
    found = CentredSoftmax().log_abs_det_jacobian(free, theta)
    assert found.item() == pytest.approx(np.linalg.slogdet(matrix.numpy())[1])


def test_a_normal_on_the_simplex_integrates_to_one():
    posterior = family_of(MeanField, site(2, constraints.simplex))(features_of(1)[0])
    share = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    density = posterior.log_prob(torch.stack([share, 1 - share], dim=-1)).exp()
    assert density.mean().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("make", "support"), HOMES)
def test_densities_and_gradients_of_extreme_features_are_finite(make, support):
    family = make(site(50, support), FEATURES)
    features = torch.tensor([[0.0] * 5, [1e4] * 5, [-1e4] * 5, [1e4, -1e4, 1e3, 0.0, 1.0]], requires_grad=True)
    posterior = family(features)
    draw = posterior.rsample()
    log_q = posterior.log_prob(draw)
    if make is not Point:  # whose density is 0 wherever it is not
        assert posterior.log_prob(draw.detach().clone()).isfinite().all(), "of a value that no transform remembers"
    sparse = torch.distributions.Dirichlet(torch.full((50,), 0.02))
    log_p = sparse.log_prob(draw) if support is constraints.simplex else -draw.square().sum(-1)
    assert draw.isfinite().all() and log_q.isfinite().all() and log_p.isfinite().all()
    (log_p - log_q).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [features, *family.parameters()])


def test_a_draw_has_the_density_of_what_was_drawn():
    """Rounding on the simplex loses where an entry of 1e-60 came from; the draw's own density does not."""
    bijection = bijection_to(constraints.simplex)
    free = 100 * torch.randn(49)
    assert bijection.inv(bijection(free)) is free
