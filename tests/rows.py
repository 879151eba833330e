"""Checks for rows of any kind: the density is PyMC's, engines agree, and so do evidence and p(k)."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import integrate, stats

import bayesgmm as bg
from bayesgmm.posterior import LogPosterior
from tests.families import prior_of
from tests.oracles.pymc_density import stated_by_pymc, value_and_gradient
from tests.statistics import assert_same_means, rng


def rows(kind, d, n=40, offset=0):
    """Rows of this kind (n, D) from two clusters, and their errors."""
    generator = rng(d + offset)
    mixing = generator.normal(size=(d, d)) / 2 + np.eye(d)
    x = np.where(generator.uniform(size=(n, 1)) < 0.4, -2.0, 2.0) + generator.normal(size=(n, d)) @ mixing.T
    error = None
    if "errors" in kind:
        error = generator.uniform(0, 1.5, (n, d))
        x = x + error * generator.normal(size=x.shape)
    if "covariances" in kind:
        roots = generator.normal(size=(n, d, d)) / 2
        error = roots @ roots.swapaxes(1, 2)
        error[::4], error[1::4] = 0.0, error[1]
        x = x + np.einsum("nij,nj->ni", roots, generator.normal(size=x.shape))
    if "gaps" in kind:
        gaps = generator.uniform(size=x.shape) < 0.3
        gaps[gaps.all(axis=1), 0] = False
        x = np.where(gaps, np.nan, x)
    return x, error


def assert_as_stated_by_pymc(observed, covariance, family="gaussian"):
    """The compiled log density of two components and its gradient are those of the PyMC model, at random points."""
    prior = prior_of("hierarchical, all given", covariance, observed.n_features)
    own = LogPosterior(observed, 2, prior.scaled_to(observed.x, covariance), covariance, family)
    function, generator = value_and_gradient(own, stated_by_pymc(own)), rng(5)
    late = 1e-7 if own.noise else 0  # PyMC's beta function has only eight digits
    for _ in range(2):
        point = generator.normal(0, 0.5, own.n_dim)
        value, slopes = own(point)
        exact, exact_slopes = function(point)
        assert value == pytest.approx(exact, rel=1e-8, abs=late)
        np.testing.assert_allclose(slopes, exact_slopes, rtol=1e-8, atol=1e-8 * abs(exact_slopes).max())


def assert_nuts_and_gibbs_agree(observed, covariance, names=("w", "mu"), **options):
    """Posterior means of the variables ``names`` agree within their Monte Carlo errors."""
    settings = {"covariance": covariance, "draws": 500, "random_seed": 2, "progressbar": False} | options
    fits = [bg.fit(observed, 2, method=method, thin=thin, **settings) for method, thin in (("nuts", 5), ("gibbs", 10))]
    for name in names:
        drawn = [tree["posterior"][name].values.reshape(4, 500, -1) for tree in fits]
        for i in range(drawn[0].shape[2]):
            found = [(each[..., i].mean(), array_stats.mcse(each[..., i], chain_axis=0, draw_axis=1)) for each in drawn]
            assert_same_means(*found[0], *found[1], f"{name}, {i}")


def assert_evidence_is_an_integral(observed, log_likelihood, **options):
    """The evidence for K = 1, D = 1 equals a quadrature over mu and log variance, with ``log_likelihood(mu, sigma)``."""
    prior = bg.ConjugatePrior(b0=0.0, B0=9.0, c0=2.5, C0=1.0)
    tree = bg.fit(observed, 1, prior=prior, method="gibbs", random_seed=1, progressbar=False, **options)
    found = bg.log_evidence(tree, random_seed=1)
    mu, log_variance = np.meshgrid(np.linspace(-12, 12, 401), np.linspace(-5, 7, 401), indexing="ij")
    total = stats.norm.logpdf(mu, 0, 3) + stats.invgamma.logpdf(np.exp(log_variance), 2.5, scale=1.0) + log_variance
    total += log_likelihood(mu, np.exp(log_variance / 2))
    top = total.max()
    integral = top + np.log(integrate.simpson(integrate.simpson(np.exp(total - top), dx=12 / 400), dx=24 / 400))
    assert found.value == pytest.approx(integral, abs=5 * found.mcse + 1e-4)


def assert_p_k_is_that_of_evidence(observed, **options):
    """p(k | x) agrees with evidence for one, two and three components, with a uniform prior on k."""
    prior = bg.ConjugatePrior(alpha=2.0).scaled_to(observed.x)
    settings = {"prior": prior, "progressbar": False} | options
    p = bg.posterior_k(observed, prior_k=[1 / 3] * 3, random_seed=1, **settings)
    evidence = [
        bg.log_evidence(bg.fit(observed, k, method="gibbs", random_seed=k, **settings), random_seed=1) for k in (1, 2, 3)
    ]
    values = np.array([each.value for each in evidence])
    wanted = np.exp(values - np.logaddexp.reduce(values))
    error = np.hypot(p["p_k_mcse"].values, wanted * max(each.mcse for each in evidence))
    assert (abs(p["p_k"].values - wanted) < 5 * error).all(), (p["p_k"].values, wanted, error)
