"""Laws of the intricate parts. Each law must fail if its part is broken on purpose."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

import bayesgmm as bg
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import permute
from bayesgmm.kernels import split_merge as splits
from tests.conftest import make_tree
from tests.oracles.joint import prior_points, small_posterior
from tests.statistics import rng
from tests.test_splits import after_moves, assert_follow_the_prior

pytestmark = pytest.mark.statistical


@pytest.fixture(scope="module")
def tree(two_small):
    return make_tree(two_small[:60], chains=2, draws=50)


def assert_gradient_is_the_slope(density, point):
    slope = approx_fprime(point, lambda at: density(at)[0], 1e-7)
    np.testing.assert_allclose(density(point)[1], slope, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("covariance", "n_features"), [("full", 1), ("tied", 1), ("full", 3), ("diag", 3)])
def test_every_term_of_the_gradient_counts(covariance, n_features):
    own = small_posterior(covariance, n_features, "hierarchical", k=2, n=20)
    point = prior_points(own, 1, rng(5))[0]
    assert_gradient_is_the_slope(own, point)
    for place in own.places.values():

        def broken(at, place=place):
            value, gradient = own(at)
            gradient[place.start] += 0.01 * (1 + abs(gradient[place.start]))
            return value, gradient

        with pytest.raises(AssertionError):
            assert_gradient_is_the_slope(broken, point)


def assert_only_labels_changed(tree, other, x):
    one, two = read_draws(tree), read_draws(other)
    for s in range(len(one.w)):
        mixtures = [bg.Mixture(each.w[s], each.mu[s], each.factors[s] ** 2) for each in (one, two)]
        np.testing.assert_allclose(mixtures[0].log_density(x), mixtures[1].log_density(x), rtol=1e-10)


def test_control_a_relabelling_of_some_parameters_is_noticed(tree, two_small):
    turned = permute(tree, np.broadcast_to([1, 0], tree["posterior"]["w"].shape))
    assert_only_labels_changed(tree, turned, two_small)
    for forgotten in ("w", "mu", "sigma"):
        broken = turned.copy()
        posterior = turned["posterior"].to_dataset()
        broken["posterior"] = posterior.assign({forgotten: tree["posterior"][forgotten]})
        with pytest.raises(AssertionError):
            assert_only_labels_changed(tree, broken, two_small)


def assert_responsibilities_are_the_draws_own(tree, result):
    draws, x = read_draws(tree), tree["observed_data"]["x"].values
    mixtures = [bg.Mixture(w, mu, sd**2) for w, mu, sd in zip(draws.w, draws.mu, draws.factors, strict=True)]
    each = [mixture.responsibilities(x) for mixture in mixtures]
    np.testing.assert_allclose(result["mean"], np.mean(each, axis=0), atol=1e-12)
    np.testing.assert_allclose(result["sd"], np.std(each, axis=0), atol=1e-7)


def test_control_responsibilities_of_another_draw_are_noticed(tree):
    assert_responsibilities_are_the_draws_own(tree, bg.responsibilities(tree))
    broken, posterior = tree.copy(), tree["posterior"].to_dataset()
    broken["posterior"] = posterior.assign(w=posterior["w"].roll(draw=1))
    with pytest.raises(AssertionError):
        assert_responsibilities_are_the_draws_own(tree, bg.responsibilities(broken))


def test_control_moves_with_a_wrong_jacobian_or_a_wrong_density_are_noticed(monkeypatch):
    own = small_posterior("full", 1, "conjugate", k=3)
    assert_follow_the_prior(own, after_moves(own, 1_000, 10, splits.move.py_func))
    for spoilt in ("log_jacobian", "log_proposal"):
        with monkeypatch.context() as patched:
            patched.setattr(splits, spoilt, lambda *_: 0.0)
            points = after_moves(own, 1_000, 10, splits.move.py_func)
        with pytest.raises(AssertionError, match="seed"):
            assert_follow_the_prior(own, points)
