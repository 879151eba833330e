"""Mixtures of t distributions: laws of sums, densities and EM, and agreement of engines and evidence."""

from typing import get_args

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, optimize, special, stats

import bayesgmm as bg
from bayesgmm.analysis.densities import distribution_function
from bayesgmm.analysis.reading import Reading
from bayesgmm.choices import FamilyName
from bayesgmm.data.observations import Observations
from bayesgmm.families import family_of, name_of
from bayesgmm.kernels import student
from bayesgmm.kernels.allocations import allocate_at
from bayesgmm.kernels.blocks import log1p
from bayesgmm.posterior import LogPosterior
from tests.families import prior_of
from tests.rows import (
    assert_as_stated_by_pymc,
    assert_evidence_is_an_integral,
    assert_nuts_and_gibbs_agree,
    assert_p_k_is_that_of_evidence,
)
from tests.statistics import rng

pytestmark = [
    pytest.mark.filterwarnings("ignore:the chains have not converged"),
    pytest.mark.filterwarnings("ignore:too few effective draws"),
    pytest.mark.filterwarnings("ignore:fewer than 100 effective draws"),
]

STRUCTURES = [
    (1, "full"),
    (1, "tied"),
    (3, "full"),
    (3, "tied"),
    (3, "diag"),
    (3, "spherical"),
    (3, "tied_diag"),
    (3, "tied_spherical"),
]


def values(d, n=60):
    generator = rng(d)
    return np.where(generator.uniform(size=(n, 1)) < 0.4, -3.0, 3.0) + generator.standard_t(4, size=(n, d))


def a_mixture(k, d, *, diagonal=False):
    generator = rng(4)
    factors = np.tril(0.3 * generator.normal(size=(k, d, d)), -1) + np.eye(d) * generator.uniform(0.5, 2, (k, d, 1))
    if diagonal:
        factors *= np.eye(d)
    nu = np.array([1.5, 7.0, 80.0])[:k]
    return generator.dirichlet(np.ones(k)), generator.normal(0, 2, (k, d)), factors, nu


def joint_by_scipy(x, weights, means, factors, nu):
    """Log densities (n, K), and squared distances."""
    each = zip(weights, means, factors, nu, strict=True)
    joint = [np.log(w) + stats.multivariate_t.logpdf(x, mu, f @ f.T, df=v).reshape(len(x)) for w, mu, f, v in each]
    white = [np.linalg.solve(f, (x - mu).T) for mu, f in zip(means, factors, strict=True)]
    return np.stack(joint, axis=1), np.stack([(each**2).sum(axis=0) for each in white], axis=1)


@pytest.mark.parametrize("v", [1e-3, 0.3, 1.0, 3.3, 9.99, 40.0, 1e5])
def test_derivatives_of_log_gamma(v):
    assert student.digamma(v) == pytest.approx(special.digamma(v), rel=1e-12)
    assert student.trigamma(v) == pytest.approx(special.polygamma(1, v), rel=1e-12)


@pytest.mark.parametrize(("d", "diagonal"), [(1, False), (1, True), (3, False), (3, True), (11, False)])
@pytest.mark.parametrize("known", [{}, {"weight": 1}, {"labels": 1}, {"noise": 1}])
def test_density_and_sums_are_those_of_scipy(d, diagonal, known):
    x, generator = values(d, 200), rng(2)
    weights, means, factors, nu = a_mixture(3, d, diagonal=diagonal)
    labels = generator.integers(-1, 3, 200) if "labels" in known else None
    counts = generator.uniform(0.1, 3, 200) if "weight" in known else np.ones(200)
    observed = Observations(x, labels=labels, weight=counts if "weight" in known else None)
    joint, distances = joint_by_scipy(x, weights, means, factors, nu)
    if labels is not None:
        joint = np.where((labels[:, None] == np.arange(3)) | (labels[:, None] < 0), joint, -np.inf)
    if "noise" in known:
        observed, weights = observed.with_noise(-9.0), np.append(0.9 * weights, 0.1)
        joint = np.hstack([joint + np.log(0.9), np.full((200, 1), np.log(0.1) - 9.0)])
    total = special.logsumexp(joint, axis=1)
    r = np.exp(joint - total[:, None])
    given = np.diagonal(factors, axis1=1, axis2=2).copy() if diagonal else factors
    np.testing.assert_allclose(observed.log_density(weights, means, given, nu), total, rtol=1e-11)
    np.testing.assert_allclose(observed.responsibilities(weights, means, given, nu), r, atol=1e-11)
    sums, r = observed.sums(weights, means, given, nu), counts[:, None] * r
    deviation, u = x[:, None] - means, (nu + d) / (nu + distances)
    scaled = r[:, :3] * u
    second = np.einsum("nk,nkd,nke->kde", scaled, deviation, deviation)
    wanted = [counts @ total, r.sum(axis=0), np.einsum("nk,nkd->kd", scaled, deviation)]
    wanted += [np.diagonal(second, axis1=1, axis2=2) if diagonal else second]
    wanted += [np.stack([scaled.sum(axis=0), (r[:, :3] * np.log1p(distances / nu)).sum(axis=0)])]
    for mine, exact in zip(sums, wanted, strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-10)


def test_log1p_has_all_digits():
    v = np.concatenate([np.logspace(-320, 300, 2_001), np.linspace(0, 10, 2_001)])
    np.testing.assert_allclose([log1p(each) for each in v.tolist()], np.log1p(v), rtol=1e-15)


def test_far_rows_and_many_degrees_of_freedom():
    mixture = bg.Mixture([0.5, 0.5], [0.0, 3.0], sigma=[1.0, 2.0], nu=[3.0, 1.0])
    found = mixture.log_density([1e10, -1e100])
    np.testing.assert_allclose(found, np.log(0.5) + stats.t(1, 3, 2).logpdf([1e10, -1e100]), rtol=1e-9)
    assert np.isfinite(mixture.log_density([1e300])).all()
    gaussian, x = bg.Mixture([0.5, 0.5], [0.0, 3.0], sigma=[1.0, 2.0]), np.linspace(-5, 9, 30)
    for nu, rtol in ((1e5, 1e-3), (1e9, 1e-7), (1e200, 1e-12)):
        many = bg.Mixture(gaussian.weights, gaussian.means, sigma=gaussian.sigma, nu=nu)
        np.testing.assert_allclose(many.log_density(x), gaussian.log_density(x), rtol=rtol)


def test_the_density_integrates_to_one():
    mixture = bg.Mixture([0.3, 0.7], [0.0, 3.0], sigma=[1.0, 0.5], nu=[1.5, 12.0])
    density = lambda x: np.exp(mixture.log_density([x])[0])  # noqa: E731
    assert integrate.quad(density, -np.inf, np.inf, epsabs=1e-12, limit=200)[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize(("d", "covariance"), STRUCTURES)
def test_density_and_gradient_are_those_of_the_pymc_model(d, covariance, noise):
    observed = Observations(values(d, 12)).with_noise(noise)
    assert_as_stated_by_pymc(observed, covariance, "t")


@pytest.mark.parametrize(("d", "covariance"), STRUCTURES)
def test_em_never_decreases_and_moves_with_the_data(d, covariance):
    x, shift, scale = values(d, 200), 100.0, 7.0
    settings = {"covariance": covariance, "family": "t", "random_seed": 1, "tol": 1e-12, "max_iter": 20_000}
    one, other = bg.fit_em(x, 2, **settings), bg.fit_em(shift + scale * x, 2, **settings)
    assert (np.diff(one.history) >= -1e-9 * abs(one.log_likelihood)).all()
    assert one.log_likelihood == pytest.approx(Observations(x).log_likelihood(*one.mixture.parameters), rel=1e-10)
    back = other.mixture.rescaled(-shift / scale, 1 / scale)
    np.testing.assert_allclose(back.mu, one.mixture.mu, atol=1e-3)
    np.testing.assert_allclose(back.nu, one.mixture.nu, rtol=2e-2)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - x.size * np.log(scale), abs=1e-5)
    assert one.n_parameters == bg.fit_em(x, 2, covariance=covariance, random_seed=1).n_parameters + 2


def test_em_is_the_maximum_of_the_likelihood():
    """For one component, a general optimiser finds the same maximum."""
    x = rng(3).standard_t(3, 400) * 2 + 5

    def minus_log_likelihood(point):
        return -stats.t(np.exp(point[2]), point[0], np.exp(point[1])).logpdf(x).sum()

    found = optimize.minimize(
        minus_log_likelihood, [4.0, 0.5, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    em = bg.fit_em(x, 1, family="t", random_seed=1, tol=1e-14)
    assert em.log_likelihood == pytest.approx(-found.fun, abs=1e-7)
    assert em.mixture.nu[0] == pytest.approx(np.exp(found.x[2]), rel=1e-4)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("copies", [1.0, 3.0, 2000.0])
def test_allocations_have_the_expected_sums(d, copies):
    """Averaged over draws, a sweep's N, S1, S2 and sums of u equal those of the E-step."""
    x, generator, times = values(d, 20), rng(8), 400
    weights, means, factors, nu = a_mixture(2, d)
    observed = Observations(x, weight=np.full(20, copies))
    prior = prior_of("hierarchical, all given", "full", d)
    own = LogPosterior(observed, 2, prior.scaled_to(observed.x, "full"), "full", "t")
    precision = np.linalg.inv(factors)
    wanted = observed.sums(weights, means, factors, nu)
    drawn = []
    for _ in range(times):
        rows = own.distribution.rows(own.rows, nu.copy())
        counts, first, second = np.empty(2), np.empty((2, d)), np.empty((2, d, d))
        allocate_at(generator, rows, np.log(weights), means, precision, counts, first, second)
        drawn.append(np.concatenate([counts, first.ravel(), np.tril(second).ravel(), rows.known.tails[0]]))
    drawn = np.array(drawn) / copies
    expected = np.concatenate(
        [wanted.counts, wanted.first.ravel(), np.tril(wanted.second).ravel(), wanted.tails[0]]
    ) / copies  # fmt: skip
    error = drawn.std(axis=0) / np.sqrt(times)
    assert (abs(drawn.mean(axis=0) - expected) <= 5 * error + 1e-12).all()


@pytest.mark.parametrize(("nu", "many"), [(0.7, 30_000.0), (5.0, 30_000.0), (80.0, 5_000.0)])
def test_sums_of_many_scales_have_their_means_and_covariance(nu, many):
    generator = rng(5)
    few = np.array([student.draw_scale(generator, nu, 2.0, 3, 1.0) for _ in range(20_000)])
    drawn = np.array([student.draw_scale(generator, nu, 2.0, 3, many) for _ in range(4_000)])
    error = np.hypot(drawn.std(axis=0) / many / np.sqrt(4_000), few.std(axis=0) / np.sqrt(20_000))
    assert (abs(drawn.mean(axis=0) / many - few.mean(axis=0)) < 5 * error).all()
    sd = few.std(axis=0)
    np.testing.assert_allclose(np.cov(drawn.T) / many / np.outer(sd, sd), np.cov(few.T) / np.outer(sd, sd), atol=0.12)


@pytest.mark.parametrize(("count", "of_logs"), [(0.0, 0.0), (5.0, -6.0), (400.0, -410.0), (400.0, -900.0)])
def test_degrees_of_freedom_are_drawn_from_their_conditional(count, of_logs):
    """The draws are from slice sampling. The exact distribution function is found by quadrature."""
    generator, nu, drawn = rng(6), 3.0, []
    for i in range(20_000):
        nu = student.draw_nu(generator, nu, count, of_logs)
        if i % 5 == 0:
            drawn.append(np.log(nu - 1))
    grid = np.linspace(-12, 9, 20_001)
    half = (1 + np.exp(grid)) / 2
    log_density = stats.gamma(2, scale=10).logpdf(2 * half) + grid
    log_density += count * (half * np.log(half) - special.gammaln(half)) + half * of_logs
    density = np.exp(log_density - log_density.max())
    below = integrate.cumulative_simpson(density, x=grid, initial=0)
    uniform = np.interp(drawn, grid, below / below[-1])
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_a_tree_of_t_distributions(tmp_path):
    x = np.append(values(1, 150)[:, 0], 60.0)
    tree = bg.fit(x, 2, family="t", method="gibbs", draws=100, tune=200, random_seed=1, progressbar=False)
    assert tree.attrs["family"] == "t"
    assert tree["posterior"]["nu"].dims == ("chain", "draw", "cluster")
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    loaded = Reading.of(xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf").load())
    np.testing.assert_array_equal(loaded.draws.nu, tree["posterior"]["nu"].values.reshape(-1, 2))
    assert loaded.em[1] == pytest.approx(Observations(x).log_likelihood(*loaded.em[0].parameters), rel=1e-9)
    assert loaded.em[0].nu.shape == (2,)
    draws = loaded.draws
    grid = np.array([-4.0, 0.0, 5.0])
    below = distribution_function(draws, np.broadcast_to(grid, (len(draws.w), 3)))
    for s in (0, 50):
        parts = [
            draws.w[s, j] * stats.t(draws.nu[s, j], draws.mu[s, j, 0], draws.factors[s, j, 0, 0]).cdf(grid) for j in (0, 1)
        ]
        np.testing.assert_allclose(below[s], sum(parts), rtol=1e-10)
    quantiles = bg.predictive_quantiles(tree, [0.1, 0.5, 0.9]).sel(statistic="predictive").values
    np.testing.assert_allclose(bg.predictive_cdf(tree, quantiles).sel(statistic="mean"), [0.1, 0.5, 0.9], atol=1e-6)
    replicated = bg.add_posterior_predictive(tree, 1)["posterior_predictive"]["x"].values
    assert (abs(replicated) > 15).mean() == pytest.approx(
        1 - np.diff(bg.predictive_cdf(tree, [-15.0, 15.0]).sel(statistic="mean"))[0], rel=0.3
    )


def test_what_a_t_cannot_do_is_said():
    x = values(1)[:, 0]
    for observed in (Observations(x, error=np.full(60, 0.1)), Observations(lower=x - 0.1, upper=x + 0.1)):
        with pytest.raises(ValueError, match="exact, complete rows for a mixture of t"):
            bg.fit(observed, 2, family="t")
    with pytest.raises(ValueError, match="gaussian"):
        bg.fit(x, 2, family="cauchy")
    with pytest.raises(ValueError, match="nu"):
        bg.Mixture([1.0], [0.0], sigma=[1.0], nu=-1.0)
    mixture = bg.Mixture([1.0], [[0.0, 0.0]], np.eye(2), nu=3.0)
    with pytest.raises(ValueError, match="exact, complete rows"):
        mixture.log_density(Observations([[1.0, np.nan]], missing="at_random"))


@pytest.mark.slow
@pytest.mark.parametrize(("d", "covariance"), [(1, "full"), (2, "full"), (2, "tied"), (2, "diag")])
def test_nuts_and_gibbs_agree(d, covariance):
    assert_nuts_and_gibbs_agree(Observations(values(d, 150)), covariance, ("w", "mu", "nu"), family="t")


@pytest.mark.slow
def test_nuts_and_gibbs_agree_on_rows_with_weights():
    observed = Observations(values(1, 100), weight=rng(1).integers(1, 6, 100) / 2)
    assert_nuts_and_gibbs_agree(observed, "full", ("w", "mu", "nu"), family="t")


@pytest.mark.slow
def test_evidence_is_an_integral():
    x = values(1, 12)[:, 0]
    nodes, node_weights = np.polynomial.legendre.leggauss(30)
    above = np.exp(0.5 * (nodes + 1) * 15 - 10)  # nu - 1; the prior has nu > 1
    of_nu = node_weights * 7.5 * stats.gamma(2, scale=10).pdf(1 + above) / stats.gamma(2, scale=10).sf(1) * above

    def log_likelihood(mu, sigma):
        parts = []
        for v, p in zip(1 + above, of_nu, strict=True):
            total = sum(stats.t.logpdf(each, v, mu, sigma) for each in x)
            parts.append(np.log(p) + total)
        return special.logsumexp(parts, axis=0)

    assert_evidence_is_an_integral(Observations(x), log_likelihood, family="t")


@pytest.mark.slow
def test_p_k_is_that_of_evidence():
    assert_p_k_is_that_of_evidence(Observations(values(1, 24)), family="t")


@pytest.mark.parametrize("name", get_args(FamilyName))
def test_every_family_answers_by_its_name(name):
    family, generator = family_of(name), rng(9)
    assert family.name == name
    expected = family.expected_nu(3)
    assert expected.shape == (family.n_nu(3),)
    assert name_of(expected if expected.size else None) == name
    drawn = family.draw_nu(3, 20_000, generator)
    if family.n_nu(3):
        shape, rate = student.PRIOR
        of_nu, below = stats.gamma(shape, scale=1 / rate), stats.gamma(shape, scale=1 / rate).cdf(student.LEAST)
        assert stats.kstest(drawn.ravel(), lambda nu: (of_nu.cdf(nu) - below) / (1 - below)).pvalue > 1e-4
        constant = integrate.quad(lambda nu: nu ** (shape - 1) * np.exp(-rate * nu), student.LEAST, np.inf)[0]
        assert family.log_normaliser(3) == pytest.approx(-3 * np.log(constant))
    else:
        assert drawn is None
        assert family.log_normaliser(3) == 0.0
