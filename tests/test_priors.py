"""Scaling to the data, change of units, and the rules for hyperparameters."""

import dataclasses
import json

import numpy as np
import pytest

from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, read_prior

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
    one, other = kind().scaled_to(x).rescaled(shift, scale), kind().scaled_to((x - shift) / scale)
    for spec in dataclasses.fields(kind):
        np.testing.assert_allclose(getattr(one, spec.name), getattr(other, spec.name), err_msg=spec.name)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HierarchicalPrior().alpha = 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HierarchicalPrior(alpha=0), ValueError, "alpha must be a positive finite number, got 0"),
        (lambda: HierarchicalPrior(alpha=[1, 2]), TypeError, "alpha must be a positive number"),
        (lambda: HierarchicalPrior(g0=-1), ValueError, "g0 must be a positive"),
        (lambda: HierarchicalPrior(B0=-1), ValueError, "B0 must be a positive"),
        (lambda: HierarchicalPrior(b0=np.nan), ValueError, "b0 must be finite"),
        (lambda: HierarchicalPrior(b0=[[1]]), ValueError, "b0 must be a number or one number for each feature"),
        (lambda: ConjugatePrior(C0=np.ones((1, 2))), ValueError, r"C0 must be a positive number or a \(D, D\) matrix"),
        (lambda: ConjugatePrior(C0=[1, -2]), ValueError, r"C0 must hold positive numbers, got \[1.0, -2.0\]"),
        (lambda: ConjugatePrior(C0=[[1, 2], [2, 1]]), ValueError, "C0 must be symmetric and positive definite"),
        (lambda: ConjugatePrior(C0=np.eye(2)).scaled_to(X1), ValueError, r"ConjugatePrior.C0 must have shape \(\) for data"),
        (lambda: ConjugatePrior(b0=1).scaled_to(X2), ValueError, r"b0 must have shape \(2,\) for data with 2 feature"),
        (lambda: ConjugatePrior().rescaled(0, 1), ValueError, "must be scaled to data"),
        (
            lambda: read_prior("flat", X1, "full"),
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
