"""The Laplace approximation, which is exact for a Gaussian with scales below ten, and what its importance weights tell."""

import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats
from scipy.optimize import minimize_scalar

import bayesgmm as bg
from bayesgmm.engines.importance import weighted
from bayesgmm.engines.interface import Gaussian
from bayesgmm.engines.laplace import departure, laplace
from bayesgmm.posterior import log_posterior
from tests.statistics import Z, assert_same_means, rng


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


SKEW = stats.skewnorm(4)


def skewed(points):
    """Log density of independent skew normal variates."""
    return SKEW.logpdf(points).sum(axis=1)


def at_mode(size=3, step=1e-3):
    mode = minimize_scalar(lambda y: -SKEW.logpdf(y), bounds=(0, 1), method="bounded").x
    bent = -(SKEW.logpdf(mode + step) - 2 * SKEW.logpdf(mode) + SKEW.logpdf(mode - step)) / step**2
    return Gaussian(np.full(size, mode), np.eye(size) / np.sqrt(bent))


@pytest.mark.parametrize("freedom", [np.inf, 4], ids=["Gaussian", "t"])
def test_weighted_draws_tell_a_better_approximation(freedom):
    """The mode of a skew normal density lies beside its mean, and the curvature there makes it too narrow."""
    size = 20_000
    first = weighted(skewed, [(1.0, at_mode())], size, rng(1))
    better = first.matched()
    second = weighted(skewed, [(1.0, better)], size, rng(2), freedom=freedom)
    assert second.efficiency > 1.5 * first.efficiency
    assert (abs(better.mean - SKEW.mean()) < 0.3 * abs(at_mode().mean - SKEW.mean())).all()
    value, error = second.log_mass()
    assert abs(value) < Z * error
    chosen = second.points[second.resampled(size, rng(3))]
    np.testing.assert_allclose(chosen.mean(axis=0), SKEW.mean(), atol=Z * SKEW.std() / np.sqrt(size * second.efficiency))


def heavy(points):
    """Log density of independent t variates with 6 degrees of freedom."""
    return stats.t(6).logpdf(points).sum(axis=1)


def test_the_tails_of_a_gaussian_may_be_too_light_although_its_weights_look_reliable():
    """Draws of a t distribution, with as many degrees of freedom as coordinates, hold heavier tails."""
    size, shape = 100_000, Gaussian(np.zeros(5), np.eye(5))
    gaussian, t = (weighted(heavy, [(1.0, shape)], size, rng(1), freedom=freedom) for freedom in (np.inf, 5))
    assert t.k_hat < gaussian.k_hat < 0.7
    of_gaussian, of_t = (np.exp(each.log_weights) @ each.points**2 / stats.t(6).var() for each in (gaussian, t))
    assert of_gaussian.mean() < 0.95
    assert of_t.mean() == pytest.approx(1, abs=0.02)
    value, error = t.log_mass()
    assert abs(value) < Z * error


def test_too_few_effective_draws_tell_nothing():
    far = Gaussian(np.full(3, -9.0), 0.1 * np.eye(3))
    assert weighted(skewed, [(1.0, far)], 1_000, rng(1)).matched() is None


def test_where_the_curvature_at_the_mode_misleads_the_draws_agree_with_gibbs(monkeypatch):
    """Overlapping clusters, of which importance weights around the mode do not represent the posterior."""
    tried = []

    def recorded(*given):
        tried.append(weighted(*given))
        return tried[-1]

    monkeypatch.setattr("bayesgmm.engines.importance.weighted", recorded)
    for seed in range(40):
        x, _ = bg.Mixture([0.5, 0.5], [0, 3.2], sigma=[1.2, 0.8]).sample(200, seed)
        tried.clear()
        given = {"draws": 1_000, "random_seed": 1, "progressbar": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = bg.fit(x, 2, method="laplace", **given)
        if len(tried) > 1 and not tried[0].reliable and tried[-1].reliable:
            break
    assert (tried[0].reliable, tried[-1].reliable) == (False, True)
    assert found.attrs["method"] == "laplace"
    assert found.attrs["importance_efficiency"] == tried[-1].efficiency
    gibbs = bg.fit(x, 2, method="gibbs", **given)
    for name in ("w", "mu", "sigma"):
        of_laplace, of_gibbs = (tree["posterior"][name].values for tree in (found, gibbs))
        for j in range(2):
            for power in (1, 2):
                one, other = of_laplace[..., j] ** power, of_gibbs[..., j] ** power
                error = one.std() / np.sqrt(one.size * tried[-1].efficiency)
                assert_same_means(one.mean(), error, other.mean(), float(array_stats.mcse(other)), f"{name}[{j}]")


def test_monte_carlo_errors_know_the_efficiency_of_the_weights():
    x, _ = bg.Mixture([0.5, 0.5], [0, 3.2], sigma=[1.2, 0.8]).sample(300, 1)
    tree = bg.fit(x, 2, method="laplace", random_seed=1, progressbar=False)
    assert tree.attrs["method"] == "laplace"
    tables = [bg.check_against_em(tree).table, bg.diagnose(tree).parameters, bg.diagnose(tree).invariants]
    for table in tables:
        worth = tree.attrs["importance_efficiency"] * 4_000
        np.testing.assert_allclose(table["mcse_mean"], table["sd"] / np.sqrt(worth), rtol=1e-12)
