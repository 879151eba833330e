"""The kernel against extended precision, on easy data and on the hardest that are legal."""

import math

import numba
import numpy as np
import pytest

from bayesgmm.kernels import blocks, estep, sums
from bayesgmm.kernels.estep import e_step
from tests.statistics import rng

PRECISE = np.longdouble


def exactly(x, weights, means, sigma, sample_weight=None, shift=0.0, scale=1.0):
    """Log density (n,), responsibilities (n, K), the four sums, and the sums of their terms' absolute values."""
    weights, means, sigma = (np.asarray(v, dtype=PRECISE) for v in (weights, means, sigma))
    z = (x.astype(PRECISE) - PRECISE(shift)) / PRECISE(scale)
    c = np.ones(len(x), dtype=PRECISE) if sample_weight is None else sample_weight.astype(PRECISE)
    deviation = z[:, None] - means
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    log_joint = log_weights - np.log(sigma) - (deviation / sigma) ** 2 / 2 - np.log(8 * np.arctan(PRECISE(1))) / 2
    largest = log_joint.max(axis=1, keepdims=True)
    joint = np.exp(log_joint - largest)
    log_density = largest[:, 0] + np.log(joint.sum(axis=1))
    r = joint / joint.sum(axis=1, keepdims=True)
    terms = [c * log_density, *(c[:, None] * r * deviation**power for power in (0, 1, 2))]
    return log_density, r, [t.sum(axis=0) for t in terms], [abs(t).sum(axis=0) for t in terms]


def in_columns(x, weights, means, sigma):
    """Rows and parameters of one feature, in the shapes of the E-step."""
    return x[:, None], weights, means[..., None], sigma[..., None]


def assert_exact(x, *parameters, sample_weight=None, shift=0.0, scale=1.0):
    _, _, wanted, sizes = exactly(x, *parameters, sample_weight, shift, scale)
    got = e_step(*in_columns(x, *parameters), sample_weight, shift=shift, scale=scale)
    got = [got.log_likelihood, got.counts, got.first[:, 0], got.second[:, 0]]
    for mine, exact, size in zip(got[:4], wanted, sizes, strict=True):
        assert np.all(abs(mine - exact) <= 1e-11 * size + np.finfo(float).tiny)


def a_mixture(k, generator):
    return generator.dirichlet(np.ones(k)), generator.normal(0, 3, k), np.exp(generator.normal(size=k))


@pytest.mark.parametrize(
    ("n", "k"),
    [(n, k) for n in (1, 2, 127, 128, 129, 3_000) for k in (1, 2, 3, 64, 300)]
    + [(20_000, 64), (1_000_000, 1), (1_000_000, 3)],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_exact(n, k, weighted):
    generator = rng(n + k)
    x = generator.standard_normal(n) * 3
    sample_weight = generator.integers(0, 4, n) * generator.uniform(size=n) if weighted else None
    assert_exact(x, *a_mixture(k, generator), sample_weight=sample_weight)


FORTY_AWAY = np.array([40.0, -40.0, 41.5, -39.0])
HARD = {
    "40 sd from every mean": (FORTY_AWAY, [0.3, 0.7], [0.0, 0.5], [1.0, 1.0]),
    "40 sd from every mean, unequal sds": (FORTY_AWAY, [0.3, 0.7], [0.0, 0.5], [0.5, 1.0]),
    "a weight of 1e-300": (FORTY_AWAY, [1e-300, 0.5, 0.5], [40.0, 0.0, 0.0], [1.0, 0.9, 1.0]),
    "a weight of zero": (FORTY_AWAY, [0.0, 1.0], [40.0, 0.0], [1.0, 1.0]),
    "sd ratio 1e6": (np.array([0.0, 1e-6, 3e-6, 0.5, -2.0]), [0.5, 0.5], [0.0, 0.0], [1e-6, 1.0]),
    "K = 64 alike": (np.linspace(-1, 1, 500), np.full(64, 1 / 64), np.zeros(64), np.ones(64)),
    "K = 1 000": (np.linspace(-1, 1, 500), np.full(1_000, 1e-3), np.linspace(-1, 1, 1_000), np.full(1_000, 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_stay_exact(name):
    x, *parameters = (np.asarray(v, dtype=float) for v in HARD[name])
    assert_exact(x, *parameters)
    log_density, responsibilities, _, _ = exactly(x, *parameters)
    given = in_columns(x, *parameters)
    np.testing.assert_allclose(estep.log_density(*given), log_density.astype(float), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(estep.responsibilities(*given), responsibilities.astype(float), rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_standardising_in_passing_stays_exact_at_an_offset_of_1e9_sd(scale, k):
    x = (1e9 + rng(3).standard_normal(5_000)) * scale
    assert_exact(x, *a_mixture(k, rng(4)), shift=x.mean(), scale=scale)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_parameter_that_is_no_number_is_not_passed_over(k, which):
    x, parameters = np.array([0.0, 1.0]), [np.full(k, 1 / k), np.arange(k) * 1.0, np.ones(k)]
    parameters[which][0] = np.nan
    given = in_columns(x, *parameters)
    assert np.isnan(e_step(*given).log_likelihood)
    assert np.isnan(e_step(*given).counts).all()
    assert np.isnan(estep.log_density(*given)).all()
    assert np.isnan(estep.responsibilities(*given)).all()


@pytest.mark.parametrize("sigma", [1e-150, 1.0, 1e150])
def test_points_out_of_reach_belong_somewhere(sigma):
    x = np.array([0.0, 1e160, -1e300]) * sigma if sigma < 1 else np.array([0.0, 1e155, -1e155]) * min(sigma, 1e150)
    parameters = np.array([0.5, 0.5]), np.array([0.0, 1.0]) * sigma, np.array([1.0, 2.0]) * sigma
    for k in (1, 2):
        few = [p[:k] for p in (np.array([1.0, 0.0]) if k == 1 else parameters[0], *parameters[1:])]
        given = in_columns(x, *few)
        sums = e_step(*given)
        assert sums.log_likelihood == pytest.approx(estep.log_density(*given).sum(), rel=1e-12)
        assert sums.counts.sum() == pytest.approx(len(x))
    given = in_columns(x, *parameters)
    r = estep.responsibilities(*given)
    assert np.isfinite(estep.log_density(*given)).all()
    np.testing.assert_allclose(r.sum(axis=1), 1)
    assert (r >= 0).all()


@numba.njit
def exponentials(values):
    return np.array([blocks.exp(v) for v in values])


def test_exp_is_right_to_the_last_bit():
    values = -np.concatenate(
        [np.linspace(0, 2, 100_001), np.geomspace(1e-300, 708, 100_001), rng(1).uniform(0, 708, 100_000)]
    )
    got, wanted = exponentials(values), np.exp(values.astype(PRECISE))
    assert float(np.max(abs(got / wanted - 1))) < 2.0**-52
    assert exponentials(np.array([0.0]))[0] == 1
    assert (exponentials(np.array([-708.0001, -1e5, -1e300, -np.inf])) == 0).all()


def test_many_sets_of_parameters_at_once():
    generator = rng(6)
    w, mu, sigma = (np.array(v) for v in zip(*(a_mixture(4, generator) for _ in range(5)), strict=True))
    x, w, mu, sigma = in_columns(generator.normal(size=300), w, mu, sigma)
    together = estep.log_density(x, w, mu, sigma)
    for row, *parameters in zip(together, w, mu, sigma, strict=True):
        np.testing.assert_array_equal(row, estep.log_density(x, *parameters))
        assert math.isclose(row.sum(), e_step(x, *parameters).log_likelihood, rel_tol=1e-13)


def test_any_array_goes_through_the_same_code():
    x, *parameters = in_columns(rng(7).standard_normal(400), *map(np.array, ([0.4, 0.6], [-1.0, 1.0], [0.5, 1.5])))
    wanted = e_step(x[::2].copy(), *parameters)
    frozen = x[::2].copy()
    frozen.flags.writeable = False
    compiled_before = len(sums.fill_sums_of.signatures)
    for version in (x[::2], frozen, x[::2].astype(np.longdouble), np.asfortranarray(x[::2])):
        got = e_step(version, *parameters)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(sums.fill_sums_of.signatures) == compiled_before


def test_sums_add_up_over_chunks():
    x, *parameters = in_columns(rng(5).standard_normal(100_000), *map(np.array, ([0.4, 0.6], [-1.0, 1.0], [0.5, 1.5])))
    whole = e_step(x, *parameters)
    parts = [e_step(part, *parameters) for part in np.array_split(x, 7)]
    for i, value in enumerate(whole):
        np.testing.assert_allclose(value, sum(part[i] for part in parts), rtol=1e-11)


@pytest.mark.parametrize("value", [0.0, -1e308, 5e-324, np.finfo(float).max])
def test_finite_numbers_are_finite(value):
    assert blocks.is_finite(value)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_others_are_not(value):
    assert not blocks.is_finite(value)
