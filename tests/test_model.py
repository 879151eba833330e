"""The PyMC model is the specification. Here it is compared with scipy, by sums over all allocations."""

import itertools
import warnings

import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.model import wishart
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior
from tests.families import COVARIANCES, KINDS
from tests.statistics import SEED, assert_mean, rng

X = np.array([0.3, 1.1, 2.5, 6.0])
PRIORS = [HierarchicalPrior(alpha=1.5), ConjugatePrior(alpha=0.5)]


def of(options):
    """Parameters of a test. Each option begins with the index of a prior, whose kind also names the test."""
    return [pytest.param(PRIORS[i], *others, id=f"{KINDS[i]}-{'-'.join(map(str, others))}") for i, *others in options]


def over_allocations(joint):
    """Log p(x, z | parameters) for each z = (z_1, ..., z_n), from log p(x_i, z_i | parameters)."""
    return [
        sum(of[z] for z, of in zip(allocation, joint, strict=True))
        for allocation in itertools.product(range(len(joint[0])), repeat=len(joint))
    ]


def log_density_over_allocations(prior, x, k, covariance, w, mu, sigma2, C0):
    """Log p(x, parameters), the labels summed out one allocation after another."""
    sigma = np.sqrt(np.broadcast_to(sigma2, k))
    joint = [[np.log(w[z]) + stats.norm(mu[z], sigma[z]).logpdf(each) for z in range(k)] for each in x]
    result = logsumexp(over_allocations(joint)) + stats.norm(prior.b0, np.sqrt(prior.B0)).logpdf(mu).sum()
    if k > 1:
        result += stats.dirichlet(np.full(k, prior.alpha)).logpdf(w)
    if isinstance(prior, HierarchicalPrior):
        result += stats.gamma(prior.g0, scale=1 / prior.G0).logpdf(C0)
    else:
        C0 = prior.C0
    return result + np.sum(stats.invgamma(prior.c0, scale=C0).logpdf(sigma2))


@pytest.mark.parametrize(
    ("prior", "covariance", "k"), of((i, ("full", "tied")[(i + k) % 2], k) for i in range(2) for k in (1, 2, 3))
)
def test_log_density_equals_the_sum_over_all_allocations(prior, covariance, k):
    model = bg.build_model(X, k, prior=prior, covariance=covariance)
    log_density = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    generator = rng(k)
    for _ in range(3):
        y = generator.normal(size=k - 1)  # PyMC's simplex: w = softmax([y, -sum y])
        w = np.exp(np.append(y, -y.sum()))
        w /= w.sum()
        mu, C0 = generator.normal(2, 3, k), np.exp(generator.normal())
        sigma2 = np.exp(generator.normal(size=k if covariance == "full" else ()))
        point = {"w_simplex__": y, "mu": mu, "sigma2_log__": np.log(sigma2)}
        if isinstance(prior, HierarchicalPrior):
            point["C0_log__"] = np.log(C0)
        exact = log_density_over_allocations(prior.scaled_to(X), X, k, covariance, w, mu, sigma2, C0)
        np.testing.assert_allclose(log_density(point), exact, rtol=1e-10)


def test_a_change_of_units_changes_only_the_constant():
    shift, scale = 1.5, 2.5
    prior = HierarchicalPrior().scaled_to(X)
    own = bg.build_model(X, 2, prior=prior).compile_logp(mode="FAST_COMPILE")
    standard = bg.build_model((X - shift) / scale, 2, prior=prior.rescaled(shift, scale)).compile_logp(mode="FAST_COMPILE")
    generator, differences = rng(9), []
    for _ in range(4):
        y, mu, log_sigma2, log_C0 = (
            generator.normal(size=1),
            generator.normal(size=2),
            generator.normal(size=2),
            generator.normal(),
        )
        inside = {"w_simplex__": y, "mu": mu, "sigma2_log__": log_sigma2, "C0_log__": log_C0}
        outside = inside | {
            "mu": shift + scale * mu,
            "sigma2_log__": log_sigma2 + 2 * np.log(scale),
            "C0_log__": log_C0 + 2 * np.log(scale),
        }
        differences.append(standard(inside) - own(outside))
    np.testing.assert_allclose(differences, (len(X) + 2) * np.log(scale), rtol=1e-9)  # Jacobian: n observations, 2 means


def test_names_and_dims():
    model = bg.build_model(X, 2)
    assert dict(model.named_vars_to_dims) == {
        "w": ("cluster",), "mu": ("cluster",), "sigma2": ("cluster",), "sigma": ("cluster",), "x": ("obs",),
    }  # fmt: skip
    tied = bg.build_model(X, 2, covariance="tied", prior=ConjugatePrior())
    assert [v.name for v in tied.free_RVs] == ["w", "mu", "sigma2"]
    assert tied["sigma2"].ndim == 0
    sigma = pm.draw(tied["sigma"], random_seed=SEED)
    assert sigma[0] == sigma[1]


@pytest.mark.slow
def test_works_by_hand(galaxies):
    """Prior predictive, graph, pm.sample, pointwise log-likelihood and posterior predictive, by PyMC alone."""
    model = bg.build_model(galaxies, 2)
    with model, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a run of 100 draws on two solutions: PyMC rightly complains
        prior = pm.sample_prior_predictive(2000, random_seed=SEED)
        graph = pm.model_to_graphviz(model)
        tree = pm.sample(
            100, tune=200, chains=2, random_seed=SEED, progressbar=False, compute_convergence_checks=False,
        )  # fmt: skip
        pm.compute_log_likelihood(tree, progressbar=False)
        pm.sample_posterior_predictive(tree, extend_inferencedata=True, random_seed=SEED, progressbar=False)
    half_range = np.ptp(galaxies)
    assert_mean(prior["prior"]["mu"].values[0, :, 0], galaxies.min() + half_range / 2, "prior mean of mu")
    assert_mean(prior["prior"]["w"].values[0, :, 0], 0.5, "prior mean of w")
    assert all(f"\t{name} [" in graph.source for name in ("w", "mu", "sigma", "C0"))
    assert tree["posterior_predictive"]["x"].sizes["obs"] == 82
    chain, draw = 1, 50
    point = tree["posterior"].to_dataset().isel(chain=chain, draw=draw)
    mixture = bg.Mixture(point["w"].values, point["mu"].values, sigma=point["sigma"].values)
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values[chain, draw], mixture.log_density(galaxies), rtol=1e-9)


X2 = np.array([[0.3, 1.0], [1.1, 0.2], [2.5, 3.0], [6.0, 4.0]])


def log_density_of_several_features(prior, x, k, covariance, w, mu, parts, C0):
    """Log p(x, parameters), the labels summed out one by one; ``parts`` are precisions (full, tied) or variances."""
    matrix = covariance in ("full", "tied")
    if matrix:
        cov = np.broadcast_to(np.linalg.inv(parts), (k, 2, 2))
    else:
        cov = np.broadcast_to(parts.reshape(1 if covariance.startswith("tied") else k, -1), (k, 2))[:, :, None] * np.eye(2)
    joint = [[np.log(w[z]) + stats.multivariate_normal(mu[z], cov[z]).logpdf(each) for z in range(k)] for each in x]
    result = logsumexp(over_allocations(joint)) + stats.multivariate_normal(prior.b0, prior.B0).logpdf(mu).sum()
    if k > 1:
        result += stats.dirichlet(np.full(k, prior.alpha)).logpdf(w)
    if matrix:
        result += sum(stats.wishart(2 * prior.c0, np.linalg.inv(2 * C0)).logpdf(p) for p in parts.reshape(-1, 2, 2))
    else:
        result += stats.invgamma(prior.c0, scale=C0).logpdf(parts).sum()
    if isinstance(prior, HierarchicalPrior):
        if matrix:
            result += stats.wishart(2 * prior.g0, np.linalg.inv(2 * prior.G0)).logpdf(C0)
        else:
            result += stats.gamma(prior.g0, scale=1 / prior.G0).logpdf(C0).sum()
    return result


@pytest.mark.parametrize(
    ("prior", "covariance", "k"),
    of((i, covariance, 1 + (i + at // 2) % 2) for i in range(2) for at, covariance in enumerate(COVARIANCES)),
)
def test_several_features_equal_the_sum_over_all_allocations(prior, covariance, k):
    model = bg.build_model(X2, k, prior=prior, covariance=covariance)
    log_density = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    scaled, generator, matrix = prior.scaled_to(X2, covariance), rng(k), covariance in ("full", "tied")
    for _ in range(2):
        y = generator.normal(size=k - 1)
        w = np.exp(np.append(y, -y.sum()))
        w /= w.sum()
        point = {"w_simplex__": y, "mu": generator.normal(2, 3, (k, 2))}
        if matrix:
            coordinates = generator.normal(0, 0.5, (k, 3) if covariance == "full" else 3)
            factors = wishart.from_coordinates(coordinates, 2)
            point["precision_factor_factor__"], parts = coordinates, factors.swapaxes(-1, -2) @ factors
        else:
            clusters = () if covariance.startswith("tied") else (k,)
            parts = np.exp(generator.normal(size=(*clusters, 2) if covariance.endswith("diag") else clusters))
            point["sigma2_log__"] = np.log(parts)
        C0 = getattr(scaled, "C0", None)
        if isinstance(prior, HierarchicalPrior) and matrix:
            coordinates = generator.normal(0, 0.5, 3)
            factor = wishart.from_coordinates(coordinates, 2)
            point["C0_factor_factor__"], C0 = coordinates, factor.T @ factor
        elif isinstance(prior, HierarchicalPrior):
            C0 = np.exp(generator.normal(size=2 if covariance.endswith("diag") else ()))
            point["C0_log__"] = np.log(C0)
        exact = log_density_of_several_features(scaled, X2, k, covariance, w, point["mu"], parts, C0)
        # the model's variable is the factor F of the precision: the Jacobian of F'F is 2^D prod F_ii^i
        packed = [factors] if matrix else []
        packed += [factor[None]] if matrix and isinstance(prior, HierarchicalPrior) else []
        for each in packed:
            diagonal = np.diagonal(each, axis1=-2, axis2=-1)
            exact += (np.log(2) + np.arange(1, 3) * np.log(diagonal)).sum()
        np.testing.assert_allclose(log_density(point), exact, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_prior_draws_of_a_covariance_are_scipys_inverse_wishart(covariance):
    prior = ConjugatePrior(c0=3.2, C0=[[2.0, 0.5], [0.5, 1.0]])
    with bg.build_model(X2, 2, prior=prior, covariance=covariance):
        drawn = pm.sample_prior_predictive(20_000, var_names=["cov"], random_seed=SEED)["prior"]["cov"].values[0, :, 1]
    theirs = stats.invwishart(2 * 3.2, 2 * np.array(prior.C0)).rvs(20_000, random_state=rng(1))
    mean = np.array(prior.C0) / (3.2 - 1.5)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert stats.ks_2samp(drawn[:, i, j], theirs[:, i, j]).pvalue > 1e-6
        ranks = np.median(drawn[:, i, j]) / np.median(theirs[:, i, j])
        assert ranks == pytest.approx(1, abs=0.1)
    assert np.median(drawn[:, 0, 0]) < mean[0, 0]  # the inverse-Wishart is skewed


@pytest.mark.slow
def test_prior_draws_of_the_hierarchical_scale_have_its_mean():
    prior = HierarchicalPrior().scaled_to(X2)
    with bg.build_model(X2, 2):
        drawn = pm.sample_prior_predictive(20_000, var_names=["C0"], random_seed=SEED)["prior"]["C0"].values[0]
    expected = prior.g0 * np.linalg.inv(prior.G0)
    for i in range(2):
        assert_mean(drawn[:, i, i], expected[i, i], f"C0[{i}, {i}]")
    assert_mean(drawn[:, 0, 1], 0.0, "C0[0, 1]")


@pytest.mark.parametrize(
    ("covariance", "free"),
    [
        ("full", ["w", "mu", "C0_factor", "precision_factor"]),
        ("tied", ["w", "mu", "C0_factor", "precision_factor"]),
        ("diag", ["w", "mu", "C0", "sigma2"]),
        ("spherical", ["w", "mu", "C0", "sigma2"]),
    ],
)
def test_names_and_dims_of_several_features(covariance, free):
    model = bg.build_model(bg.datasets.old_faithful(), 2, covariance=covariance)
    assert [v.name for v in model.free_RVs] == free
    assert model.named_vars_to_dims["mu"] == ("cluster", "feature")
    assert model.named_vars_to_dims["cov"] == ("cluster", "feature", "feature_bis")
    assert model.named_vars_to_dims["x"] == ("obs", "feature")
    assert list(model.coords["feature"]) == ["eruptions", "waiting"]
    cov = pm.draw(model["cov"], random_seed=SEED)
    assert (cov[0] == cov[1]).all() == covariance.startswith("tied")
    assert (cov[:, 0, 1] == 0).all() == (covariance not in ("full", "tied"))
    assert np.allclose(cov[:, 0, 0], cov[:, 1, 1]) == covariance.endswith("spherical")
