"""Mixtures: sampling, densities and responsibilities against scipy, loops and Bayes' rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesgmm import Mixture
from tests.statistics import assert_counts, assert_mean, rng

ONE = Mixture([0.25, 0.75], [5, 10], sigma=[1.5, 2])
COVARIANCES = np.array([[[2.0, 0.6], [0.6, 1.0]], [[1.0, -0.5], [-0.5, 3.0]], [[0.5, 0.0], [0.0, 0.2]]])
TWO = Mixture([0.2, 0.5, 0.3], [[0, 0], [3, 1], [-2, 4]], COVARIANCES)


def by_loop(mixture, x):
    """w_k N(x_i; mu_k, Sigma_k), one number after another."""
    covariances = mixture.covariances
    normals = [stats.multivariate_normal(m, c) for m, c in zip(mixture.means, covariances, strict=True)]
    return np.array([[w * d.pdf(each) for w, d in zip(mixture.weights, normals, strict=True)] for each in x])


@pytest.mark.parametrize("mixture", [ONE, TWO], ids=["D=1", "D=2"])
def test_densities_and_responsibilities_equal_a_loop_over_scipy(mixture):
    x, _ = mixture.sample(200, rng(1))
    joint = by_loop(mixture, x)
    np.testing.assert_allclose(mixture.log_density(x), np.log(joint.sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(
        mixture.responsibilities(x), joint / joint.sum(axis=1, keepdims=True), rtol=1e-10, atol=1e-300
    )


@pytest.mark.parametrize("mixture", [ONE, TWO], ids=["D=1", "D=2"])
def test_sample_follows_the_story(mixture):
    x, z = mixture.sample(40_000, rng(2))
    assert_counts(np.bincount(z), mixture.weights)
    x = x.reshape(len(x), -1)
    means, covariances = mixture.means.reshape(len(mixture.weights), -1), mixture.covariances.reshape(-1, *2 * x.shape[1:])
    for k in range(mixture.n_components):
        own = x[z == k]
        for i in range(x.shape[1]):
            assert_mean(own[:, i], means[k, i], f"mean of component {k}")
            for j in range(i + 1):
                products = (own[:, i] - means[k, i]) * (own[:, j] - means[k, j])
                assert_mean(products, covariances[k, i, j], f"covariance of component {k}")


def test_sample_is_seeded():
    first, second, other = (ONE.sample(50, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])
    assert ONE.sample(0, 1)[0].shape == (0,)


@pytest.mark.parametrize("mixture", [ONE, TWO], ids=["D=1", "D=2"])
def test_order_of_components_does_not_matter(mixture):
    order = np.arange(mixture.n_components)[::-1]
    turned = Mixture(mixture.weights[order], mixture.means[order], mixture.covariances[order])
    x, _ = mixture.sample(50, rng(3))
    np.testing.assert_allclose(turned.log_density(x), mixture.log_density(x), rtol=1e-14)
    np.testing.assert_allclose(turned.responsibilities(x)[:, order], mixture.responsibilities(x), rtol=1e-12)
    np.testing.assert_array_equal(turned.sorted().means, mixture.sorted().means)
    assert (np.diff(mixture.sorted().means.reshape(mixture.n_components, -1)[:, 0]) > 0).all()


def test_one_feature_as_a_column_is_one_feature():
    column = Mixture([0.25, 0.75], [[5], [10]], np.array([2.25, 4.0]).reshape(2, 1, 1))
    assert column.n_features == 1
    np.testing.assert_array_equal(column.log_density([[6.0]]), ONE.log_density([6.0]))


@given(
    scale=st.sampled_from([1e-150, 1e-3, 1.0, 1e150]),
    shift=st.floats(-100, 100),
    x=st.lists(st.floats(-50, 50), min_size=1, max_size=5),
)
def test_change_of_units_shifts_the_log_density_by_its_jacobian(scale, shift, x):
    x = np.array(x)
    moved = ONE.rescaled(scale * shift, scale)
    np.testing.assert_allclose(
        moved.log_density(scale * (x + shift)), ONE.log_density(x) - np.log(scale), rtol=1e-9, atol=1e-9
    )


def test_far_points_and_zero_weights_keep_probabilities():
    mixture = Mixture([0, 0.5, 0.5], [0, 1, 2], sigma=[1, 1e-6, 1e6])
    x = np.array([1 + 40e-6, 1e9, -1e300])
    responsibilities = mixture.responsibilities(x)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1)
    assert (responsibilities[:, 0] == 0).all()
    assert np.isfinite(mixture.log_density(x)).all()
    exact = np.log(0.5) + np.logaddexp(stats.norm(1, 1e-6).logpdf(x[0]), stats.norm(2, 1e6).logpdf(x[0]))
    np.testing.assert_allclose(mixture.log_density(x[:1]), exact, rtol=1e-12)


def test_is_frozen():
    with pytest.raises(AttributeError):
        ONE.weights = [1]
    with pytest.raises(ValueError, match="read-only"):
        ONE.weights[0] = 1
    assert repr(ONE) == "Mixture(weights=[0.25, 0.75], means=[ 5., 10.], sigma=[1.5, 2. ])"


@pytest.mark.parametrize(
    ("arguments", "sigma", "message"),
    [
        (([0.5, 0.6], [0, 1]), 1, "weights must sum to 1, got .* with sum 1.1; divide them by their sum"),
        (([0.0, 0.0], [0, 1]), 1, "weights must sum to 1"),
        (([1.5, -0.5], [0, 1]), 1, "weights must not be negative"),
        (([1.0], [0, 1]), 1, r"weights must have shape \(2,\)"),
        (([0.5, 0.5], [0, np.nan]), 1, "means must be finite"),
        (([0.5, 0.5], [[[0]], [[1]]]), 1, r"means must have shape \(K,\) or \(K, D\)"),
        (([0.5, 0.5], [0, 1]), [1, 0], "sigma must be positive"),
        (([0.5, 0.5], [0, 1]), 1e-200, "sigma must have a square within the range of a float"),
        (([0.5, 0.5], [0, 1]), None, "exactly one of covariances and sigma"),
        (([0.5, 0.5], [0, 1], [1, 1]), 1, "exactly one of covariances and sigma"),
        (([0.5, 0.5], [0, 1], [1, -1]), None, "covariances must be positive"),
        (([0.5, 0.5], [0, 1], [1, 1, 1]), None, r"covariances must be a number or have shape \(2,\)"),
        (([0.5, 0.5], [[0, 0], [1, 1]]), 1, "sigma is for one feature"),
        (([0.5, 0.5], [[0, 0], [1, 1]], np.eye(3)), None, r"covariances must have shape \(2, 2, 2\)"),
        (([0.5, 0.5], [[0, 0], [1, 1]], [[1, 2], [2, 1]]), None, "positive definite, but that of component 0 is not"),
        (([0.5, 0.5], [[0, 0], [1, 1]], [[1, 2], [0, 1]]), None, "finite and symmetric"),
    ],
)
def test_bad_parameters_get_a_sentence(arguments, sigma, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*arguments, sigma=sigma)


def test_bad_data_get_a_sentence():
    with pytest.raises(TypeError, match="weights must hold numbers, got elements of type"):
        Mixture(["a", 0.5], [0, 1], sigma=1)
    with pytest.raises(ValueError, match="random_seed must be an integer of at least 0, got -1"):
        ONE.sample(3, -1)
    with pytest.raises(ValueError, match=r"x must have 1 feature\(s\) like the mixture, got 2"):
        ONE.log_density([[1.0, 2.0]])
    with pytest.raises(ValueError, match="n must be an integer of at least 0, got -1"):
        ONE.sample(-1)
