"""EM under a prior: the mode of the posterior of weights, means and covariances."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.special import gammaln, multigammaln

import bayesgmm as bg
from bayesgmm import ConjugatePrior, HierarchicalPrior, Mixture, fit_em
from bayesgmm.arguments import TRAITS
from bayesgmm.model.hyperparameters import Hyperparameters
from tests.families import KINDS, STRUCTURES, prior_of_each
from tests.statistics import SEED, rng

K = 2
NAN = np.nan
X = np.concatenate([rng(1).normal(-1.5, 1.0, 25), rng(2).normal(2.0, 0.7, 15)])


def prior_for(kind, covariance, d, k=K):
    prior = prior_of_each(kind, covariance, d, k)
    return replace(prior, alpha=prior.alpha + 0.7)  # at least 1


def data_of(d, n=40):
    return np.vstack([rng(3).normal(-1, 1, (n, d)), rng(4).normal(1.5, 0.6, (n // 2, d))])


def log_prior_by_hand(mixture, prior, covariance):
    """Log prior density as products of SciPy's, with C0 integrated out in closed form."""
    d, k, traits = mixture.n_features, mixture.n_components, TRAITS[covariance]
    m = 1 if traits.shared else k
    hyper = Hyperparameters.of(prior, covariance).of_each(k, m)
    found = stats.dirichlet.logpdf(mixture.weights, hyper.alpha)
    found += sum(stats.multivariate_normal.logpdf(mixture.mu[j], hyper.b0[j], hyper.B0[j]) for j in range(k))
    matrix, cov, c0 = traits.matrix and d > 1, mixture.cov[:m], hyper.c0
    variances = np.diagonal(cov, axis1=1, axis2=2)[:, : hyper.rate.shape[1]]
    if not hyper.learnt and matrix:
        return found + sum(stats.invwishart.logpdf(cov[j], 2 * c0[j], 2 * hyper.rate[j]) for j in range(m))
    if not hyper.learnt:
        return found + stats.invgamma.logpdf(variances, c0[:, None], scale=hyper.rate).sum()
    g0, shape = hyper.g0, hyper.g0 + c0.sum()
    if matrix:
        found += g0 * np.linalg.slogdet(hyper.rate[0])[1] + multigammaln(shape, d) - multigammaln(g0, d)
        found -= shape * np.linalg.slogdet(hyper.rate[0] + np.linalg.inv(cov).sum(axis=0))[1]
        return found - sum(multigammaln(c0[j], d) + (c0[j] + (d + 1) / 2) * np.linalg.slogdet(cov[j])[1] for j in range(m))
    found += (g0 * np.log(hyper.rate[0]) + gammaln(shape) - gammaln(g0)).sum()
    found -= shape * np.log(hyper.rate[0] + (1 / variances).sum(axis=0)).sum()
    return found - (gammaln(c0)[:, None] + (c0[:, None] + 1) * np.log(variances)).sum()


def moved(mixture, covariance, coordinates):
    """The mixture after a step: in log weights, means, and symmetric logarithms of the covariances that the structure has."""
    d, k, traits = mixture.n_features, mixture.n_components, TRAITS[covariance]
    of_w, of_mu, of_cov = np.split(coordinates, [k, k + k * d])
    w = mixture.weights * np.exp(of_w)
    steps = of_cov.reshape(1 if traits.shared else k, -1)
    cov = []
    for j in range(k):
        own = steps[0 if traits.shared else j]
        log = np.zeros((d, d))
        if traits.matrix and d > 1:
            log[np.tril_indices(d)] = own
            log = log + log.T
        else:
            log[np.diag_indices(d)] = own
        cov.append(mixture.factors[j] @ expm(log) @ mixture.factors[j].T)
    return Mixture(w / w.sum(), mixture.mu + of_mu.reshape(k, d), np.array(cov), noise=mixture.noise, nu=mixture.nu)


def n_coordinates(covariance, d, k=K):
    traits = TRAITS[covariance]
    each = d * (d + 1) // 2 if traits.matrix else d if traits.per_feature else 1
    return k + k * d + each * (1 if traits.shared else k)


def slopes(height, mixture, covariance, step=1e-4):
    """Derivatives of a function of the mixture by all coordinates, at this mixture."""
    axes = np.eye(n_coordinates(covariance, mixture.n_features, mixture.n_components)) * step
    return (
        np.array([height(moved(mixture, covariance, e)) - height(moved(mixture, covariance, -e)) for e in axes]) / 2 / step
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "d"), STRUCTURES)
def test_no_step_leads_higher(covariance, d, kind):
    """The slope of log-likelihood plus log prior is zero, and it is not zero at the maximum of the likelihood."""
    x, prior = data_of(d), prior_for(kind, covariance, d)
    found = fit_em(x, K, covariance=covariance, prior=prior, random_seed=SEED, tol=1e-11)
    scaled = prior.scaled_to(x if d > 1 else x[:, 0], covariance)

    def height(mixture):
        return mixture.log_density(x).sum() + log_prior_by_hand(mixture, scaled, covariance)

    assert found.converged
    assert found.log_prior == pytest.approx(log_prior_by_hand(found.mixture, scaled, covariance), abs=1e-9)
    assert found.log_likelihood == pytest.approx(found.mixture.log_density(x).sum(), abs=1e-9)
    assert found.history[-1] == pytest.approx(height(found.mixture), abs=1e-8)
    assert abs(slopes(height, found.mixture, covariance)).max() < 1e-3
    most_likely = fit_em(x, K, covariance=covariance, random_seed=SEED, tol=1e-11).mixture
    assert abs(slopes(height, most_likely, covariance)).max() > 0.1


def test_the_scale_is_integrated_out():
    """For one feature by quadrature over C0."""
    prior = HierarchicalPrior(b0=0.0, B0=4.0, c0=2.5, g0=1.5, G0=0.7)
    found = fit_em(X, K, prior=prior, random_seed=SEED)
    w, mu, variances = found.mixture.weights, found.mixture.means, found.mixture.sigma**2

    def of_scale(scale):
        return stats.gamma.pdf(scale, 1.5, scale=1 / 0.7) * stats.invgamma.pdf(variances, 2.5, scale=scale).prod()

    integral = quad(of_scale, 0, np.inf, epsabs=0, epsrel=1e-10)[0]
    by_hand = stats.dirichlet.logpdf(w, [1, 1]) + stats.norm.logpdf(mu, 0, 2).sum() + np.log(integral)
    assert found.log_prior == pytest.approx(by_hand, abs=1e-8)


@pytest.mark.parametrize(
    ("covariance", "options"),
    [
        ("full", {"noise": -4.0}),
        ("full", {"family": "t"}),
        ("diag", {"family": "t", "noise": -4.0}),
        ("full", {"labels": np.r_[np.zeros(5, int), np.full(50, -1), np.ones(5, int)]}),
        ("spherical", {"sample_weight": np.linspace(0.2, 3, 60)}),
        ("tied", {"missing": "at_random"}),
    ],
)
def test_it_is_a_mode_for_every_kind_of_row(covariance, options):
    """The slope is that of the package's own log-likelihood, which other tests compare with oracles."""
    d, x = 2, data_of(2)
    if "missing" in options:
        x[::7, 0] = NAN
    if "noise" in options:
        x = np.vstack([x, rng(6).uniform(-15, 15, (6, 2))])
    found = fit_em(x, K, covariance=covariance, prior=prior_for("hierarchical", covariance, d), random_seed=SEED, tol=1e-11,
                   **options)  # fmt: skip
    rows = found.source

    def height(mixture):
        value = rows.log_likelihood(*mixture.parameters) + log_prior_by_hand(mixture, found.prior, covariance)
        if mixture.noise is not None:
            value += stats.beta.logpdf(mixture.noise, 1, 9)
        if mixture.nu is not None:
            value += (stats.gamma.logpdf(mixture.nu, 2, scale=10) - stats.gamma.logsf(1, 2, scale=10)).sum()
        return value

    mixture = found.mixture
    assert found.converged
    assert found.log_likelihood + found.log_prior == pytest.approx(height(mixture), abs=1e-8)
    assert abs(slopes(height, mixture, covariance)).max() < 2e-3
    best, step = height(mixture), 1e-3
    for sign in (-step, step):
        if mixture.noise is not None:
            assert height(replaced(mixture, noise=mixture.noise * np.exp(10 * sign))) < best
        if mixture.nu is not None:
            assert height(replaced(mixture, nu=mixture.nu * np.exp(100 * sign))) < best


def replaced(mixture, **values):
    return Mixture(mixture.weights, mixture.mu, mixture.cov, **{"noise": mixture.noise, "nu": mixture.nu} | values)


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_parameters_stay_and_the_others_are_at_the_mode(kind):
    fixed = {"w": [0.4, NAN], "mu": [[-1.0, NAN], [NAN, NAN]], "cov": [np.full((2, 2), NAN), np.eye(2)]}
    x, prior = data_of(2), prior_for(kind, "full", 2)
    found = fit_em(x, K, prior=prior, fixed=fixed, random_seed=SEED, tol=1e-11)
    mixture = found.mixture
    assert (mixture.weights[0], mixture.mu[0, 0]) == (pytest.approx(0.4, abs=1e-12), pytest.approx(-1.0, abs=1e-12))
    np.testing.assert_allclose(mixture.cov[1], np.eye(2), atol=1e-12)

    def height(mixture):
        hyper = Hyperparameters.of(found.prior, "full").of_each(K, K)
        mean = hyper.b0[0, 1] + hyper.B0[0, 0, 1] / hyper.B0[0, 0, 0] * (-1.0 - hyper.b0[0, 0])
        variance = hyper.B0[0, 1, 1] - hyper.B0[0, 0, 1] ** 2 / hyper.B0[0, 0, 0]
        value = stats.norm.logpdf(mixture.mu[0, 1], mean, np.sqrt(variance))
        value += stats.multivariate_normal.logpdf(mixture.mu[1], hyper.b0[1], hyper.B0[1])
        if not hyper.learnt:
            return value + stats.invwishart.logpdf(mixture.cov[0], 2 * hyper.c0[0], 2 * hyper.rate[0])
        one = replace(found.prior, alpha=1.0, b0=np.zeros(2), B0=np.eye(2), c0=hyper.c0[0])
        single = Mixture([1.0], [[0.0, 0.0]], mixture.cov[:1])
        return value + log_prior_by_hand(single, one, "full") + np.log(2 * np.pi)

    assert found.log_prior == pytest.approx(height(mixture), abs=1e-9)
    of_all = slopes(lambda other: other.log_density(x).sum() + height(other), mixture, "full")
    free = [3, 4, 5, 6, 7, 8]  # entry 1 of the first mean, the second mean, the first covariance
    assert abs(of_all[free]).max() < 1e-3


def test_a_prior_for_each_component_gives_each_its_number():
    prior = ConjugatePrior(b0=np.array([33.0, 9.7, 21.4]), B0=1.0)
    found = fit_em(bg.datasets.galaxies(), 3, prior=prior, random_seed=SEED)
    assert found.mixture.means.round().tolist() == [33.0, 10.0, 21.0]
    assert found.n_found >= 5


def test_no_start_of_a_descent_method_leads_higher():
    """BFGS from 20 random places, under a prior that tells the components apart only weakly."""
    prior = ConjugatePrior(alpha=np.array([4.0, 1.0]), b0=np.array([1.0, -0.5]), B0=np.array([2.0, 1.0]), c0=3.0, C0=1.5)
    found = fit_em(X, K, prior=prior, random_seed=SEED)

    def lost(point):
        w = stats.logistic.cdf(point[0])
        mixture = Mixture([w, 1 - w], point[1:3], sigma=np.exp(np.clip(point[3:], -9, 9)))
        return -mixture.log_density(X).sum() - log_prior_by_hand(mixture, prior, "full")

    generator = rng(8)
    ends = [minimize(lost, generator.normal(0, 2, 5), method="BFGS").fun for _ in range(20)]
    assert -min(ends) == pytest.approx(found.log_likelihood + found.log_prior, abs=1e-5)


def test_units_of_the_data_do_not_matter():
    x, prior = data_of(2), prior_for("hierarchical", "full", 2)
    shift, scale = np.array([50.0, -3.0]), np.array([0.01, 40.0])
    one = fit_em(x, K, prior=prior, random_seed=SEED, tol=1e-10)
    other = fit_em(
        shift + scale * x, K, prior=one.prior.rescaled(-shift / scale, 1 / scale, "full"), random_seed=SEED, tol=1e-10
    )
    np.testing.assert_allclose(other.mixture.mu, shift + scale * one.mixture.mu, rtol=1e-5)
    n = len(x)
    jacobian = np.log(scale).sum() * (n + K + 3 * K)  # of the rows, means and covariances (D + 1 for each feature)
    assert other.history[-1] == pytest.approx(one.history[-1] - jacobian, abs=1e-6)


def test_many_equal_values_have_no_collapsed_component_under_a_prior():
    x = np.r_[np.full(10, 3.0), rng(5).normal(0, 1, 50)]
    with pytest.warns(bg.exceptions.CollapsedComponentWarning):
        assert fit_em(x, K, random_seed=SEED, n_init=1, start=Mixture([0.2, 0.8], [3.0, 0.0], sigma=[1e-3, 1.0])).collapsed
    found = fit_em(x, K, random_seed=SEED, prior=ConjugatePrior())  # one that learns C0 leaves the density unbounded
    assert not found.collapsed
    assert found.mixture.sigma.min() > 0.05


def test_many_observations_start_on_a_sample():
    x = bg.datasets.two_gaussians(n=40_000).x
    prior = ConjugatePrior(b0=np.array([10.0, 5.0]), B0=0.1)
    found = fit_em(x, K, prior=prior, random_seed=SEED)
    np.testing.assert_allclose(found.mixture.means, [10, 5], atol=0.2)


@pytest.mark.slow
def test_fit_compares_with_the_mode_where_the_prior_tells_components_apart(tmp_path):
    x = bg.datasets.galaxies()
    prior = ConjugatePrior(b0=np.array([33.0, 9.7, 21.4]), B0=1.0)
    tree = bg.fit(x, 3, prior=prior, method="gibbs", draws=500, random_seed=SEED, progressbar=False)
    em = fit_em(x, 3, prior=prior, random_seed=SEED)
    assert tree["em_baseline"].attrs["log_prior"] == pytest.approx(em.log_prior, abs=1e-3)
    check = bg.check_against_em(tree)
    assert check.ok
    assert check.is_mode
    assert "agrees with EM's mode of it" in check.verdict
    assert "EM found the mode of the posterior" in bg.report(tree, tmp_path / "page.html").read_text()
    plain = bg.fit(x, 3, method="gibbs", draws=200, random_seed=SEED, progressbar=False)
    assert "log_prior" not in plain["em_baseline"].attrs
    assert not bg.check_against_em(plain).is_mode
    assert bg.check_against_em(plain, fit_em(x, 3, prior=HierarchicalPrior(), random_seed=SEED)).is_mode


@pytest.mark.parametrize(
    ("prior", "error"),
    [
        (HierarchicalPrior(alpha=0.5), "prior must have alpha of at least 1 in EM"),
        (ConjugatePrior(b0=np.zeros(3)), "prior must hold hyperparameters for k = 2 components, got those of 3"),
        ("normal", "prior must be a HierarchicalPrior or a ConjugatePrior, got str"),
    ],
)
def test_priors_without_a_mode_get_a_sentence(prior, error):
    with pytest.raises((ValueError, TypeError), match=error):
        fit_em(X, K, prior=prior)
