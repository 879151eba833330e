"""The kernel for several features against extended precision, for every structure of covariances."""

import numpy as np
import pytest
from scipy import stats

from bayesgmm.kernels import estep
from bayesgmm.kernels.estep import e_step, inverse_factors
from tests.statistics import rng
from tests.test_estep import PRECISE

KINDS = ["triangular", "diagonal"]


def substituted(factors, deviation):
    """Rows of L^-1 (x - mu) by substitution in extended precision: (n, D)."""
    result = np.zeros_like(deviation)
    for d in range(deviation.shape[1]):
        result[:, d] = (deviation[:, d] - result[:, :d] @ factors[d, :d]) / factors[d, d]
    return result


def exactly(x, weights, means, factors, sample_weight=None, shift=0.0, scale=1.0):
    """Log density, responsibilities, sums, and sums of their terms' absolute values, in extended precision."""
    z = (x.astype(PRECISE) - np.asarray(shift, PRECISE)) / np.asarray(scale, PRECISE)
    c = np.ones(len(x), PRECISE) if sample_weight is None else sample_weight.astype(PRECISE)
    n_features = x.shape[1]
    log_joint, deviations = [], []
    for w, mean, factor in zip(*(np.asarray(v, PRECISE) for v in (weights, means, factors)), strict=True):
        full = np.diag(factor) if factor.ndim == 1 else factor
        deviation = z - mean
        y = substituted(full, deviation)
        with np.errstate(divide="ignore"):
            offset = np.log(w) - np.log(np.diagonal(full)).sum() - n_features * np.log(8 * np.arctan(PRECISE(1))) / 2
        log_joint.append(offset - (y**2).sum(axis=1) / 2)
        deviations.append(deviation)
    log_joint = np.array(log_joint).T
    largest = log_joint.max(axis=1, keepdims=True)
    joint = np.exp(log_joint - largest)
    log_density = largest[:, 0] + np.log(joint.sum(axis=1))
    r = joint / joint.sum(axis=1, keepdims=True)
    weighted, d = c[:, None] * r, np.array(deviations)
    second = "nk,knd,kne->nkde" if np.ndim(factors) == 3 else "nk,knd,knd->nkd"
    terms = [
        c * log_density,
        weighted,
        np.einsum("nk,knd->nkd", weighted, d),
        np.einsum(second, weighted, d, d),
    ]
    return log_density, r, [t.sum(axis=0) for t in terms], [abs(t).sum(axis=0) for t in terms]


def assert_exact(x, *parameters, sample_weight=None, shift=0.0, scale=1.0, within=1e-11):
    _, _, wanted, sizes = exactly(x, *parameters, sample_weight, shift, scale)
    got = e_step(x, *parameters, sample_weight, shift=shift, scale=scale)
    underflow = np.finfo(float).tiny * max(1, (abs(x - shift) / scale).max() ** 2)  # from the smallest responsibilities
    for mine, exact, size in zip(got[:4], wanted, sizes, strict=True):
        assert np.all(abs(mine - exact) <= within * size + underflow)


def a_mixture(k, n_features, kind, generator):
    factors = np.tril(generator.normal(size=(k, n_features, n_features)), -1)
    factors += np.exp(generator.normal(size=(k, n_features)))[:, :, None] * np.eye(n_features)
    if kind == "diagonal":
        factors = np.diagonal(factors, axis1=1, axis2=2).copy()
    return generator.dirichlet(np.ones(k)), generator.normal(0, 2, (k, n_features)), factors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "k", "n_features"), [(1, 1, 2), (127, 2, 2), (129, 3, 3), (300, 64, 4), (500, 3, 5), (400, 2, 20), (30, 2, 200)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_exact(n, k, n_features, kind, weighted):
    generator = rng(n + k)
    x = generator.normal(0, 3, (n, n_features))
    sample_weight = generator.integers(0, 4, n) * generator.uniform(size=n) if weighted else None
    assert_exact(x, *a_mixture(k, n_features, kind, generator), sample_weight=sample_weight)


def nearly_singular(correlation):
    return np.array([np.linalg.cholesky([[1.0, correlation], [correlation, 1.0]]), np.eye(2)])


FAR = np.array([[40.0, -40.0], [0.0, 41.5], [-39.0, 0.0]])
TWO = np.array([[0.0, 0.0], [0.5, 0.5]])
HARD = {
    "40 sd from every mean": (FAR, [0.3, 0.7], TWO, nearly_singular(0.5)),
    "a weight of 1e-300": (FAR, [1e-300, 1.0], TWO, nearly_singular(0.0)),
    "a weight of zero": (FAR, [0.0, 1.0], TWO, nearly_singular(0.3)),
    "sds from 1e-6 to 1e6": (FAR / 1e6, [0.5, 0.5], TWO, [np.diag([1e-6, 1e6]), np.eye(2)]),
    "K = 64 alike": (np.linspace(-1, 1, 600).reshape(300, 2), np.full(64, 1 / 64), np.zeros((64, 2)), np.tile(np.eye(2), (64, 1, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_stay_exact(name):
    x, *parameters = (np.asarray(v, dtype=float) for v in HARD[name])
    assert_exact(x, *parameters)
    log_density, responsibilities, _, _ = exactly(x, *parameters)
    np.testing.assert_allclose(estep.log_density(x, *parameters), log_density.astype(float), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        estep.responsibilities(x, *parameters), responsibilities.astype(float), rtol=1e-10, atol=1e-300
    )


def test_a_correlation_next_to_one_costs_the_digits_that_its_matrix_has_lost():
    """Relative errors grow with the condition number of the factor, here 1e5, and no faster."""
    generator = rng(8)
    factors = nearly_singular(1 - 1e-10)
    x = (factors[0] @ generator.standard_normal((2, 300))).T
    assert_exact(x, np.array([0.5, 0.5]), TWO, factors, within=1e-15 * 1e5 * 100)


@pytest.mark.parametrize("kind", KINDS)
def test_standardising_in_passing_stays_exact(kind):
    scale = np.array([1e-150, 1.0, 1e150])
    x = (1e9 + rng(3).standard_normal((2_000, 3))) * scale
    assert_exact(x, *a_mixture(3, 3, kind, rng(4)), shift=x.mean(axis=0), scale=scale)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_that_is_no_number_is_not_passed_over(kind, which):
    x, parameters = rng(1).normal(size=(5, 2)), list(a_mixture(3, 2, kind, rng(2)))
    parameters[which].reshape(-1)[0] = np.nan
    sums = e_step(x, *parameters)
    assert all(np.isnan(each).all() for each in sums)
    assert np.isnan(estep.log_density(x, *parameters)).all()
    assert np.isnan(estep.responsibilities(x, *parameters)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_points_out_of_reach_belong_somewhere(kind):
    x = np.array([[0.0, 0.0], [1e160, 1.0], [-1e300, 1e300], [1e160, -1e160]])
    parameters = a_mixture(2, 2, kind, rng(5))
    sums = e_step(x, *parameters)
    r = estep.responsibilities(x, *parameters)
    assert np.isfinite(estep.log_density(x, *parameters)).all()
    assert sums.log_likelihood == pytest.approx(estep.log_density(x, *parameters).sum(), rel=1e-12)
    assert sums.counts.sum() == pytest.approx(4)
    np.testing.assert_allclose(r.sum(axis=1), 1)
    assert (r >= 0).all()


def test_agrees_with_scipy():
    weights, means, factors = a_mixture(3, 4, "triangular", rng(6))
    x = rng(7).normal(0, 2, (50, 4))
    parts = [w * stats.multivariate_normal(m, f @ f.T).pdf(x) for w, m, f in zip(weights, means, factors, strict=True)]
    np.testing.assert_allclose(estep.log_density(x, weights, means, factors), np.log(np.sum(parts, axis=0)), rtol=1e-10)


def test_many_sets_of_parameters_at_once():
    generator = rng(6)
    x = generator.normal(size=(300, 3))
    sets = [np.array(v) for v in zip(*(a_mixture(4, 3, "triangular", generator) for _ in range(5)), strict=True)]
    together = estep.log_density(x, *sets)
    for row, *parameters in zip(together, *sets, strict=True):
        np.testing.assert_array_equal(row, estep.log_density(x, *parameters))
        assert row.sum() == pytest.approx(e_step(x, *parameters).log_likelihood, rel=1e-12)


def test_diagonal_factors_take_the_short_way_to_the_same_numbers():
    x, (weights, means, sds) = rng(1).normal(size=(200, 3)), a_mixture(2, 3, "diagonal", rng(2))
    factors = sds[:, :, None] * np.eye(3)
    np.testing.assert_array_equal(estep.log_density(x, weights, means, factors), estep.log_density(x, weights, means, sds))
    short, long = e_step(x, weights, means, sds), e_step(x, weights, means, factors)
    assert short.log_likelihood == pytest.approx(long.log_likelihood, rel=1e-13)
    np.testing.assert_allclose(short.second, np.diagonal(long.second, axis1=1, axis2=2), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_add_up_over_chunks(kind):
    x, parameters = rng(5).normal(size=(20_000, 3)), a_mixture(3, 3, kind, rng(6))
    whole = e_step(x, *parameters)
    parts = [e_step(part, *parameters) for part in np.array_split(x, 7)]
    for i, value in enumerate(whole):
        np.testing.assert_allclose(value, sum(part[i] for part in parts), rtol=1e-9, atol=1e-9)


def test_inverse_factors():
    factors = a_mixture(5, 6, "triangular", rng(9))[2]
    np.testing.assert_allclose(inverse_factors(factors) @ factors, np.tile(np.eye(6), (5, 1, 1)), atol=1e-10)
