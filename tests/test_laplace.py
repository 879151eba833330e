"""The Laplace approximation: exact for a Gaussian with scales below ten; for a posterior, its mode and curvature."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.engines.laplace import departure, laplace
from bayesgmm.posterior import log_posterior
from tests.statistics import rng


def gaussian(scales):
    """Log density, mean and covariance of a correlated Gaussian. Its standard deviations are of the order of ``scales``."""
    size = len(scales)
    factor = np.asarray(scales)[:, None] * (np.eye(size) + np.tril(rng(1).normal(0, 0.5, (size, size)), -1))
    mean, cov = rng(2).normal(size=size) * scales, factor @ factor.T
    precision = np.linalg.inv(cov)

    def log_density(point):
        pull = precision @ (point - mean)
        return -0.5 * (point - mean) @ pull, -pull

    return log_density, mean, cov


@pytest.mark.parametrize("scales", [[1, 1, 1], [1e-3, 1e-3, 1], [1e-3, 1, 5], [5, 0.1, 5]], ids=str)
def test_a_gaussian_is_its_own_approximation(scales):
    log_density, mean, cov = gaussian(scales)
    found = laplace(log_density, mean + 3 * np.asarray(scales))
    np.testing.assert_allclose((found.mean - mean) / scales, 0, atol=1e-3)
    np.testing.assert_allclose(
        found.factor @ found.factor.T / np.outer(scales, scales), cov / np.outer(scales, scales), atol=1e-4
    )
    assert np.all(np.triu(found.factor, 1) == 0)
    assert np.all(np.diagonal(found.factor) > 0)


def test_the_mean_field_approximation_has_the_conditional_standard_deviations():
    log_density, mean, cov = gaussian([0.01, 1, 5])
    found = laplace(log_density, mean, mean_field=True)
    np.testing.assert_allclose(found.factor, np.diag(1 / np.sqrt(np.diagonal(np.linalg.inv(cov)))), rtol=1e-4)


def test_of_a_posterior_it_is_the_mode_with_its_curvature():
    x = bg.datasets.old_faithful().to_numpy()
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    own = log_posterior(x, 2, bg.HierarchicalPrior().scaled_to(x), "full")
    found = laplace(own, own.at(bg.fit_em(x, 2, random_seed=1).mixture))
    slopes = own(found.mean)[1]
    assert np.abs(found.factor.T @ slopes).max() < 1e-3  # distance from the mode, in standard deviations
    for direction in found.factor.T:  # one standard deviation lowers the log density by half a nat
        drop = own(found.mean)[0] - 0.5 * (own(found.mean + 0.01 * direction)[0] + own(found.mean - 0.01 * direction)[0])
        assert drop == pytest.approx(0.5e-4, rel=1e-3)
    assert departure(own, found) < departure(own, found._replace(factor=1.5 * found.factor))
