"""The compiled log posterior against its specification, the PyMC model, at the same unconstrained points."""

import ctypes
from functools import cache

import numpy as np
import pytest

from bayesgmm.engines.pymc_target import PyMCTarget
from bayesgmm.posterior import log_posterior
from tests.families import OF_ONE_FEATURE, prior_of
from tests.oracles.pymc_density import stated_by_pymc, value_and_gradient
from tests.statistics import rng

X = np.concatenate([rng(1).normal(0, 1, 80), rng(2).normal(4, 0.5, 60), [30.0]])


def posterior(prior, covariance, k, n_features=1):
    return log_posterior(X[:, None], k, prior_of(prior, covariance, n_features).scaled_to(X), covariance)


@cache
def pair(*family):
    """The compiled posterior, and PyMC's value and gradient of the same model."""
    own = posterior(*family)
    return own, value_and_gradient(own, stated_by_pymc(own))


# every third case: together they cover all priors and structures
EACH = [family if i % 3 == 1 else pytest.param(family, marks=pytest.mark.slow) for i, family in enumerate(OF_ONE_FEATURE)]


@pytest.mark.parametrize("family", EACH, ids=str)
def test_value_and_gradient_are_those_of_the_pymc_model(family):
    own, pymc = pair(*family)
    generator = rng(own.k)
    for spread in (0.1, 1, 3):
        for _ in range(3):
            point = generator.normal(0, spread, own.n_dim)
            (value, gradient), (exact, exact_gradient) = own(point), pymc(point)
            np.testing.assert_allclose(value, exact, rtol=1e-8)
            np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-8, atol=1e-8 * np.abs(exact_gradient).max())


def test_control_another_hyperparameter_is_noticed():
    point = rng(5).normal(size=9)
    value, gradient = posterior("hierarchical, all given", "full", 3)(point)
    _, pymc = pair(*next(family for family in OF_ONE_FEATURE if family[0] == "hierarchical" and family[1:3] == ("full", 3)))
    exact, exact_gradient = pymc(point)
    assert abs(value / exact - 1) > 1e-4
    assert np.abs(gradient - exact_gradient).max() > 1e-4 * np.abs(exact_gradient).max()


@pytest.mark.parametrize("family", OF_ONE_FEATURE, ids=str)
def test_the_gradient_is_the_slope_of_the_value(family):
    own = posterior(*family)
    point, step = rng(own.k).normal(0, 0.5, own.n_dim), 1e-5
    slopes = [(own(point + step * e)[0] - own(point - step * e)[0]) / (2 * step) for e in np.eye(own.n_dim)]
    np.testing.assert_allclose(own(point)[1], slopes, rtol=1e-5, atol=1e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("family", OF_ONE_FEATURE, ids=str)
def test_the_transformation_is_that_of_the_pymc_model(family):
    own = posterior(*family)
    model = stated_by_pymc(own)
    points = rng(own.k).normal(size=(2, 3, own.n_dim))
    theirs, ours = PyMCTarget(model).constrained(points), own.constrained(points)
    for name in ("w", "mu", *(["C0"] if own.hierarchical else [])):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12)
    np.testing.assert_allclose(ours["sigma2"], theirs["sigma2"], rtol=1e-12)
    one = own.constrained(points[0, 0])
    np.testing.assert_allclose(own.unconstrained(one), points[0, 0], atol=1e-12)


def test_the_labels_do_not_matter():
    own = posterior("hierarchical", "full", 3)
    values = own.constrained(rng(4).normal(size=own.n_dim))
    turned = {name: value[[2, 0, 1]] if np.ndim(value) else value for name, value in values.items()}
    assert own(own.unconstrained(turned))[0] == pytest.approx(own(own.unconstrained(values))[0], rel=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e4, -1e4, 1e200])
@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_points_beyond_a_float_are_refused_and_harm_nothing(bad, covariance):
    own = posterior("hierarchical", covariance, 3)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(own.density.address)
    data = own.header
    for place in range(own.n_dim):
        point, gradient, value = np.zeros(own.n_dim), np.zeros(own.n_dim), np.zeros(1)
        point[place] = bad
        arrays = (array.ctypes.data for array in (point, gradient, value, data))
        code = function(own.n_dim, *arrays)
        finite = np.isfinite(value).all() and np.isfinite(gradient).all()
        assert code == (0 if finite else 3 if not np.isfinite(gradient).all() else 4)
        is_logarithm = any(place in range(own.n_dim)[own.places[name]] for name in ("C0", "sigma2"))
        assert finite == (abs(bad) == 1e4 and not is_logarithm)  # a distant mean or an empty component is only improbable


def test_components_may_be_as_empty_as_a_sparse_prior_wants_them():
    own, pymc = pair("conjugate, all given", "full", 2)
    point = np.zeros(own.n_dim)
    for y in (-599.0, 599.0, 601.0, 5_000.0):
        point[0] = y
        np.testing.assert_allclose(own(point)[0], pymc(point)[0], rtol=1e-10)


@pytest.mark.parametrize("k", [2, 3])
def test_many_points_at_once(k):
    own = posterior("hierarchical", "full", k)
    points = rng(k).normal(size=(7, own.n_dim))
    points[3, -1] = np.nan
    np.testing.assert_array_equal(own.values(points), [own(point)[0] for point in points])


def test_the_sampler_steps_back_from_points_beyond_a_float():
    """Two chains that start at the very edge of what a float holds come back from it."""
    from bayesgmm.engines.compiled_target import CompiledTarget
    from bayesgmm.engines.interface import Start
    from bayesgmm.engines.nuts import NutsSettings, sample_nuts
    from bayesgmm.engines.phases import Phases

    own = posterior("hierarchical", "full", 2)
    start = np.zeros(own.n_dim)
    start[own.places["sigma2"]] = 599.85
    settings = NutsSettings(draws=20, tune=300, chains=2, seed=1, target_accept=0.9, progressbar=False)
    sampled = sample_nuts(
        CompiledTarget(own), [Start(start + shift) for shift in (-0.05, 0.05)], settings, Phases(announce=False)
    )
    assert np.isfinite(sampled.sample_stats["lp"]).all()
    assert (sampled.posterior["sigma"] < 1e3).all()
