"""Scaling to the data, change of units, and the rules for hyperparameters."""

import dataclasses
import json

import numpy as np
import pytest

from bayesgmm.data.observations import Observations
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, prior_of, read_prior
from tests.families import COVARIANCES
from tests.statistics import rng

X1 = np.array([2.0, 4.0, 12.0])
X2 = np.array([[0.0, 10.0], [1.0, 30.0], [4.0, 20.0]])


def test_hierarchical_defaults_are_richardson_and_greens_for_one_feature():
    prior = HierarchicalPrior().scaled_to(X1)
    assert (prior.alpha, prior.b0, prior.B0, prior.c0, prior.g0) == (1, 7, 100, 2, 0.2)
    assert prior.G0 == pytest.approx(0.1)


def test_hierarchical_defaults_for_several_features():
    prior = HierarchicalPrior().scaled_to(X2)
    np.testing.assert_allclose(prior.b0, [2, 20])
    np.testing.assert_allclose(prior.B0, np.diag([16, 400]))
    assert (prior.c0, prior.g0) == (3, 1)
    np.testing.assert_allclose(prior.G0, 100 / 3 * np.diag([1 / 16, 1 / 400]))


@pytest.mark.parametrize("x", [X1, X2])
def test_conjugate_scale_is_the_hierarchical_one_at_its_mean(x):
    fixed, free = ConjugatePrior().scaled_to(x), HierarchicalPrior().scaled_to(x)
    mean = free.g0 / free.G0 if x.ndim == 1 else free.g0 * np.linalg.inv(free.G0)
    np.testing.assert_allclose(fixed.C0, mean)


def test_given_hyperparameters_are_kept():
    prior = ConjugatePrior(alpha=2, b0=20, B0=100, c0=3, C0=20).scaled_to(X1)
    assert (prior.alpha, prior.b0, prior.B0, prior.c0, prior.C0) == (2, 20, 100, 3, 20)
    assert json.loads(prior.to_json()) == {"name": "ConjugatePrior", "alpha": 2, "b0": 20, "B0": 100, "c0": 3, "C0": 20}


@pytest.mark.parametrize("kind", [HierarchicalPrior, ConjugatePrior])
@pytest.mark.parametrize(("x", "shift", "scale"), [(X1, 5.0, 3.0), (X2, np.array([1.0, -2.0]), np.array([4.0, 0.5]))])
def test_scaling_commutes_with_a_change_of_units(kind, x, shift, scale):
    assert_alike(kind().scaled_to(x).rescaled(shift, scale), kind().scaled_to((x - shift) / scale))


def assert_alike(one, other, rtol=1e-7):
    """Two priors of one kind have the same hyperparameters."""
    for spec in dataclasses.fields(one):
        if spec.name != "scale":
            np.testing.assert_allclose(getattr(one, spec.name), getattr(other, spec.name), rtol=rtol, err_msg=spec.name)


def two_features(n):
    """Two clusters without tails. The features differ in unit."""
    return rng(1).uniform(-1, 1, (n, 2)) * [2, 30] + rng(2).integers(0, 2, (n, 1)) * [6, 0]


@pytest.mark.parametrize("kind", [HierarchicalPrior, ConjugatePrior])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("n_features", [1, 2])
def test_strays_do_not_move_a_prior_scaled_to_the_core(kind, covariance, n_features):
    x = two_features(200)[:, :n_features]
    by_range, by_core = (kind(scale=scale).scaled_to(x, covariance) for scale in ("range", "core"))
    assert_alike(by_core, by_range, rtol=0)  # without strays
    for far in (10, 50, 1000, -1000):
        stray = x.mean(axis=0) + far * x.std(axis=0) * np.eye(n_features)[-1]
        with_stray = np.insert(x, 7, stray, axis=0)
        assert_alike(kind(scale="core").scaled_to(with_stray, covariance), by_range, rtol=0)
        assert np.max(kind().scaled_to(with_stray, covariance).B0) > 2 * np.max(by_range.B0)


@pytest.mark.parametrize("kind", [HierarchicalPrior, ConjugatePrior])
@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_core_follows_a_change_of_units(kind, covariance):
    x, shift, scale = np.vstack([two_features(200), [[900, -4000], [-80, 0]]]), np.array([1e3, -2.0]), np.array([4e-3, 50.0])
    prior = kind(scale="core")
    assert_alike(prior.scaled_to(x, covariance).rescaled(shift, scale), prior.scaled_to((x - shift) / scale, covariance))


def test_the_core_counts_weights():
    x, prior = np.append(two_features(100)[:, 0], 60.0), HierarchicalPrior(scale="core")
    counts = np.append(np.full(100, 3), 2)
    for last in (2, 3, 4, 100):
        counts[-1] = last
        rows = prior.scaled_to(np.repeat(x, counts))
        assert_alike(prior.scaled_to(x, sample_weight=counts), rows, rtol=0)
        assert (rows.B0 > 3000) == (last > 3)  # of about 300, at most three can be strays


def test_a_core_is_wider_than_equal_observations():
    ties = np.zeros(200)
    assert HierarchicalPrior(scale="core").scaled_to(np.append(ties, [1.0, 50.0])).B0 == 1
    assert HierarchicalPrior(scale="core").scaled_to(np.append(ties, 50.0)).B0 == 2500


def test_few_observations_have_no_strays():
    for n, far in ((28, True), (29, False)):  # plus the far one
        prior = HierarchicalPrior(scale="core").scaled_to(np.append(np.linspace(0, 1, n), 100.0))
        assert (prior.B0 == 100**2) == far


@pytest.mark.parametrize("kind", [HierarchicalPrior, ConjugatePrior])
def test_the_record_tells_the_scale(kind):
    x = np.append(two_features(100)[:, 0], 60.0)
    prior = kind(scale="core").scaled_to(x)
    again = prior_of(prior.to_json())
    assert again.scale == prior.rescaled(1, 2).scale == "core"
    assert_alike(again, prior, rtol=0)
    by_range = kind().scaled_to(x)
    assert "scale" not in json.loads(by_range.to_json())  # as in records older than this choice
    assert prior_of(by_range.to_json()).scale == "range"


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HierarchicalPrior().alpha = 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: HierarchicalPrior(scale="iqr"),
            ValueError,
            "HierarchicalPrior.scale must be one of 'range', 'core', got 'iqr'",
        ),
        (lambda: ConjugatePrior(scale=2.0), ValueError, "ConjugatePrior.scale must be one of 'range', 'core', got 2.0"),
        (lambda: HierarchicalPrior(alpha=0), ValueError, "alpha must be a positive finite number, got 0"),
        (lambda: HierarchicalPrior(alpha=[1, -2]), ValueError, r"alpha must hold positive numbers, got \[1.0, -2.0\]"),
        (lambda: HierarchicalPrior(g0=[1, 2]), TypeError, "g0 must be a positive number"),
        (lambda: HierarchicalPrior(g0=-1), ValueError, "g0 must be a positive"),
        (lambda: HierarchicalPrior(B0=-1), ValueError, "B0 must be a positive"),
        (lambda: HierarchicalPrior(b0=np.nan), ValueError, "b0 must be finite"),
        (lambda: HierarchicalPrior(b0=[[1]]).scaled_to(X1), ValueError, r"b0 must have shape \(\), or \(K,\) for 1 feature"),
        (lambda: ConjugatePrior(B0=np.ones((1, 2))), ValueError, r"B0 must be a positive number or a \(D, D\) matrix"),
        (lambda: ConjugatePrior(C0=[1, -2]), ValueError, r"C0 must hold positive numbers, got \[1.0, -2.0\]"),
        (
            lambda: ConjugatePrior(C0=[[1, 2], [2, 1]]).scaled_to(X2),
            ValueError,
            "C0 must be symmetric and positive definite",
        ),
        (
            lambda: ConjugatePrior(C0=np.eye(2)).scaled_to(X1),
            ValueError,
            r"ConjugatePrior.C0 must have shape \(\), or \(K,\)",
        ),
        (lambda: ConjugatePrior(b0=1).scaled_to(X2), ValueError, r"b0 must have shape \(2,\), or \(K, 2\) for 2 feature"),
        (lambda: ConjugatePrior().rescaled(0, 1), ValueError, "must be scaled to data"),
        (
            lambda: read_prior("flat", Observations(X1), "full", "gaussian", [2]),
            TypeError,
            "prior must be a HierarchicalPrior or a ConjugatePrior, got str",
        ),
    ],
)
def test_bad_hyperparameters_get_a_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_given_shapes_reach_the_default_scales():
    prior = HierarchicalPrior(c0=4, g0=5).scaled_to(X2)
    np.testing.assert_allclose(prior.G0, 100 * 5 / 4 * np.diag([1 / 16, 1 / 400]))
