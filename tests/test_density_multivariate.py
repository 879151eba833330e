"""The compiled log posterior of several features against its specification, the PyMC model, at the same points."""

import ctypes
from functools import cache

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.pymc_target import PyMCTarget
from bayesgmm.kernels.density import draw_callback, with_whitener
from bayesgmm.model import wishart
from bayesgmm.model.structures import Structure
from bayesgmm.posterior import log_posterior
from bayesgmm.posterior.spread import FactorSpread
from tests.families import COVARIANCES, OF_SEVERAL, prior_of
from tests.oracles.pymc_density import stated_by_pymc, value_and_gradient
from tests.statistics import rng


def data(n_features):
    generator = rng(n_features)
    slope = generator.normal(size=(n_features, n_features))
    groups = [generator.normal(0, 1, (60, n_features)) @ slope, generator.normal(4, 0.5, (40, n_features))]
    return np.concatenate([*groups, [np.full(n_features, 30.0)]])


def posterior(prior, covariance, k, n_features):
    x = data(n_features)
    return log_posterior(x, k, prior_of(prior, covariance, n_features).scaled_to(x, covariance), covariance)


@cache
def model_of(*family):
    return stated_by_pymc(posterior(*family))


# every third case: together they cover all priors and structures
EACH = [family if i % 3 == 1 else pytest.param(family, marks=pytest.mark.slow) for i, family in enumerate(OF_SEVERAL)]


@pytest.mark.parametrize("family", EACH, ids=str)
def test_value_and_gradient_are_those_of_the_pymc_model(family):
    own = posterior(*family)
    pymc = value_and_gradient(own, model_of(*family))
    generator = rng(family[2])
    for spread in (0.1, 0.5, 1):
        for _ in range(2):
            point = generator.normal(0, spread, own.n_dim)
            (value, gradient), (exact, exact_gradient) = own(point), pymc(point)
            np.testing.assert_allclose(value, exact, rtol=1e-8)
            np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-8, atol=1e-8 * np.abs(exact_gradient).max())


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_control_another_hyperparameter_is_noticed(covariance):
    one = posterior("hierarchical, all given", covariance, 2, 3)
    other = posterior("hierarchical", covariance, 2, 3)
    point = rng(5).normal(size=one.n_dim)
    assert abs(one(point)[0] / other(point)[0] - 1) > 1e-4


@pytest.mark.parametrize("family", OF_SEVERAL, ids=str)
def test_the_gradient_is_the_slope_of_the_value(family):
    own = posterior(*family)
    point, step = rng(family[2]).normal(0, 0.5, own.n_dim), 1e-5
    slopes = [(own(point + step * e)[0] - own(point - step * e)[0]) / (2 * step) for e in np.eye(own.n_dim)]
    np.testing.assert_allclose(own(point)[1], slopes, rtol=1e-5, atol=1e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("family", [family for family in OF_SEVERAL if family[0].startswith("hierarchical")], ids=str)
def test_the_transformation_is_that_of_the_pymc_model(family):
    own = posterior(*family)
    points = rng(family[2]).normal(0, 0.5, size=(2, 3, own.n_dim))
    theirs, ours = PyMCTarget(model_of(*family)).constrained(points), own.constrained(points)
    for name in [*ours]:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-12, err_msg=name)
    kept = CompiledTarget(own).constrained(points)
    for name, values in kept.items():
        assert values.dims == theirs[name].dims
    one = own.constrained(points[0, 0])
    np.testing.assert_allclose(own.unconstrained(one), points[0, 0], atol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_point_of_a_mixture_is_that_mixture(covariance):
    own = posterior("hierarchical", covariance, 2, 3)
    mixture = bg.fit_em(own.x, 2, covariance=covariance, random_seed=1).mixture
    back = own.constrained(own.at(mixture))
    for name, values in (("w", mixture.weights), ("mu", mixture.means), ("cov", mixture.covariances)):
        np.testing.assert_allclose(back[name], values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_labels_do_not_matter(covariance):
    own = posterior("hierarchical", covariance, 3, 2)
    values = own.constrained(rng(4).normal(0, 0.5, size=own.n_dim))
    by_cluster = {"w", "mu"} | ({"sigma2", "precision_factor"} if not covariance.startswith("tied") else set())
    turned = {name: value[[2, 0, 1]] if name in by_cluster else value for name, value in values.items()}
    assert own(own.unconstrained(turned))[0] == pytest.approx(own(own.unconstrained(values))[0], rel=1e-13)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_simpler_structures_are_special_cases_of_the_full_likelihood(covariance):
    """Log posteriors of all rows and of the first row differ by the log-likelihood of the other rows: the prior cancels."""
    own, full = posterior("conjugate", covariance, 2, 2), posterior("conjugate", "full", 2, 2)
    values = own.constrained(rng(3).normal(0, 0.3, own.n_dim))
    mixture = bg.Mixture(values["w"], values["mu"], values["cov"])
    without = log_posterior(own.x[:1], 2, own.prior, covariance), log_posterior(own.x[:1], 2, full.prior, "full")
    likelihood = own(own.at(mixture))[0] - without[0](own.at(mixture))[0]
    same = full(full.at(mixture))[0] - without[1](full.at(mixture))[0]
    assert likelihood == pytest.approx(mixture.log_density(own.x[1:]).sum(), rel=1e-9)
    assert likelihood == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("kind", ["hierarchical", "conjugate"])
def test_one_feature_by_the_route_for_several_is_the_posterior_of_one_feature(covariance, kind):
    """With 1 x 1 matrices, the coordinates are log 1/sigma and log sqrt C0, so the density differs only by the Jacobian."""
    x = data(2)[:, 0].copy()
    prior = bg.HierarchicalPrior() if kind == "hierarchical" else bg.ConjugatePrior()
    one = log_posterior(x[:, None], 3, prior.scaled_to(x), covariance)
    scale = {"G0": np.array([[one.prior.G0]])} if kind == "hierarchical" else {"C0": np.array([[one.prior.C0]])}
    shared = {"b0": np.array([one.prior.b0]), "B0": np.array([[one.prior.B0]]), "c0": one.prior.c0}
    if kind == "hierarchical":
        several_prior = bg.HierarchicalPrior(**shared, g0=one.prior.g0, **scale)
    else:
        several_prior = bg.ConjugatePrior(**shared, **scale)
    several = log_posterior(x[:, None], 3, several_prior, covariance)
    vars(several)["spread"] = FactorSpread(3, Structure(covariance, 1), several.hyper)
    for seed in range(4):
        point = rng(seed).normal(0, 0.5, one.n_dim)
        other = point.copy()
        other[one.places["sigma2"]] *= -0.5
        n_halved = one.spread.n_blocks
        if kind == "hierarchical":
            other[one.places["C0"]] *= 0.5
            n_halved += 1
        assert several(other)[0] == pytest.approx(one(point)[0] + n_halved * np.log(2), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e4, -1e4, 1e200])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_points_beyond_a_float_are_refused_and_harm_nothing(bad, covariance):
    own = posterior("hierarchical", covariance, 2, 2)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(own.density.address)
    handed = own.header
    for place in range(own.n_dim):
        point, gradient, value = np.zeros(own.n_dim), np.zeros(own.n_dim), np.zeros(1)
        point[place] = bad
        code = function(own.n_dim, *(array.ctypes.data for array in (point, gradient, value, handed)))
        finite = np.isfinite(value).all() and np.isfinite(gradient).all()
        assert code == (0 if finite else 3 if not np.isfinite(gradient).all() else 4)
        assert finite or abs(bad) > 1e3 or np.isnan(bad)


@pytest.mark.parametrize(("covariance", "n_features"), [("full", 1), *((covariance, 2) for covariance in COVARIANCES)])
def test_the_sampler_sees_the_density_in_whitened_coordinates(covariance, n_features):
    if n_features == 1:
        own = log_posterior(data(1), 3, bg.HierarchicalPrior().scaled_to(data(1)), "full")
    else:
        own = posterior("hierarchical", covariance, 3, n_features)
    floats = [ctypes.c_void_p] * 4
    density = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *floats)(own.density.address)
    keep = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64, *floats[1:])(draw_callback().address)
    size = own.n_dim
    centre, factor = rng(3).normal(0, 0.5, size), np.tril(rng(4).normal(0, 0.3, (size, size)))
    for noise in rng(5).normal(size=(5, size)):
        for whitener, point in (([], noise), ([centre, factor[np.tril_indices(size)]], centre + factor @ noise)):
            gradient, value, drawn = np.empty(size), np.empty(1), np.empty(size)
            handed = with_whitener(own.header, *whitener)
            assert density(size, *(array.ctypes.data for array in (noise, gradient, value, handed))) == 0
            assert keep(size, size, *(array.ctypes.data for array in (noise, drawn, handed))) == 0
            expected, slopes = own(point)
            np.testing.assert_allclose(drawn, point, rtol=1e-13, atol=1e-13)
            assert value[0] == pytest.approx(expected, rel=1e-11)
            np.testing.assert_allclose(gradient, factor.T @ slopes if whitener else slopes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_many_points_at_once(covariance):
    own = posterior("hierarchical", covariance, 2, 3)
    points = rng(2).normal(0, 0.5, size=(7, own.n_dim))
    points[3, -1] = np.nan
    np.testing.assert_array_equal(own.values(points), [own(point)[0] for point in points])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_scale_is_drawn_from_its_conditional(covariance):
    """As functions of C0, log q and the log posterior differ by a constant, because q is the full conditional."""
    own = posterior("hierarchical, all given", covariance, 2, 3)
    points = np.repeat(rng(6).normal(0, 0.5, (1, own.n_dim)), 6, axis=0)
    drawn, log_q = own.with_exact_scale(points, rng(7))
    place = own.places[own.spread.scale_name]
    assert (np.delete(drawn, np.r_[place], axis=1) == np.delete(points, np.r_[place], axis=1)).all()
    assert np.ptp(drawn[:, place], axis=0).min() > 0
    differences = own.values(drawn) - log_q
    np.testing.assert_allclose(differences, differences[0], rtol=1e-11)


def test_no_new_compilation_for_another_k_d_or_data():
    for covariance in COVARIANCES:
        own = posterior("hierarchical", covariance, 2, 2)
        own(np.zeros(own.n_dim))
        before = own.density
        for prior, k, d in (("conjugate", 1, 3), ("hierarchical", 5, 4)):
            other = posterior(prior, covariance, k, d)
            other(np.zeros(other.n_dim))
            assert other.density is before


def test_prior_of_the_precision_alone_is_a_wishart():
    """With one component, the log posterior is the log-likelihood plus the normalised log prior."""
    x = data(2)[:3]
    own = log_posterior(x, 1, prior_of("conjugate, all given", "full", 2), "full")
    point = rng(1).normal(0, 0.5, own.n_dim)
    values = own.constrained(point)
    mixture = bg.Mixture(values["w"], values["mu"], values["cov"])
    difference = values["mu"][0] - own.prior.b0
    normal = -0.5 * (difference @ np.linalg.solve(own.prior.B0, difference) + np.linalg.slogdet(2 * np.pi * own.prior.B0)[1])
    prior = normal + wishart.log_density(point[own.places["precision_factor"]], own.prior.c0, own.prior.C0)
    assert own(point)[0] == pytest.approx(mixture.log_density(x).sum() + prior, rel=1e-11)
