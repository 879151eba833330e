"""Sums of true rows with a common measurement error have the distribution of sums of rows drawn one by one."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.kernels.behind import draw_sums
from tests.statistics import rng

DRAWS = 20_000
ERROR = np.array([[0.3, 0.1, 0.0], [0.1, 0.4, 0.0], [0.0, 0.0, 1e-8]])
SIGMA = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 0.7]])


def rows(n, kind, d):
    generator = rng(n)
    if kind == "equal":
        return np.tile(generator.normal(size=d), (n, 1))
    if kind == "nearly equal":  # rounding may raise the rank of their sums
        return generator.normal(size=d) + 1e-5 * generator.normal(size=(n, d))
    return generator.normal(size=(n, d))


def by_rows(distances, sigma, error, generator):
    """Sums (S, D) and sums of squares (S, D, D) of true rows, drawn row by row."""
    towards = sigma @ np.linalg.inv(sigma + error)
    root = np.linalg.cholesky(sigma - towards @ sigma)
    behind = distances @ towards.T + generator.normal(size=(DRAWS, *distances.shape)) @ root.T
    return behind.sum(axis=1), np.einsum("sia,sib->sab", behind, behind)


def by_sums(distances, sigma, error, generator):
    d = distances.shape[1]
    inverse = np.linalg.inv(np.linalg.cholesky(sigma + error))
    first, second = np.empty((DRAWS, d)), np.empty((DRAWS, d, d))
    s, squares = distances.sum(axis=0), np.tril(distances.T @ distances)
    for a in range(DRAWS):
        first[a], second[a] = s, squares
        draw_sums(generator, float(len(distances)), inverse, inverse @ sigma, sigma, first[a], second[a])
    assert not np.triu(second, 1).any()  # only the lower triangle is filled
    return first, second


@pytest.mark.parametrize("kind", ["apart", "equal", "nearly equal"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 30])
@pytest.mark.parametrize("d", [1, 3])
def test_sums_have_the_distribution_of_rows_drawn_one_by_one(n, kind, d):
    """Compare the means, covariances and third central moments of all sums."""
    distances, sigma, error = rows(n, kind, d), SIGMA[:d, :d], ERROR[:d, :d]
    found = []
    for draw in (by_rows, by_sums):
        first, second = draw(distances, sigma, error, rng(7))
        lower = second[:, *np.tril_indices(d)]
        of_all = np.column_stack([first, lower])
        about = of_all - of_all.mean(axis=0)
        products = (about[:, :, None] * about[:, None, :]).reshape(DRAWS, -1)
        found.append(np.column_stack([of_all, products, about**3]))
    one, other = found
    error_of = np.sqrt((one.var(axis=0) + other.var(axis=0)) / DRAWS)
    used = error_of > 1e-12
    z = (one.mean(axis=0) - other.mean(axis=0))[used] / error_of[used]
    assert abs(z).max() < 5
    assert np.mean(z**2) < 2


@pytest.mark.slow
def test_gibbs_with_one_error_has_the_posterior_of_rows_taken_one_by_one():
    """If the error of one row differs by 1e-9, rows form two groups and are drawn one by one."""
    generator = rng(3)
    x = np.concatenate([generator.normal(0, 1, (60, 2)), generator.normal(5, 1, (60, 2))])
    error = np.full(x.shape, 0.7)
    apart = error.copy()
    apart[0] += 1e-9
    one, other = (
        bg.diagnose(bg.fit(bg.Observations(x, error=each), 2, method="gibbs", draws=2000, random_seed=1, progressbar=False))
        for each in (error, apart)
    )
    z = (one.invariants["mean"] - other.invariants["mean"]) / np.hypot(
        one.invariants["mcse_mean"], other.invariants["mcse_mean"]
    )
    assert len(z) > 10
    assert abs(z).max() < 4.5


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.slow
def test_evidence_of_rows_with_a_small_error_is_that_of_exact_rows(covariance):
    x = np.concatenate([rng(3).normal(size=(30, 2)), rng(4).normal(4, 1, (30, 2))]) @ [[1.0, 0.6], [0.0, 1.0]]
    options = {"covariance": covariance, "method": "gibbs", "draws": 300, "random_seed": 1, "progressbar": False}
    exact, measured = (
        bg.log_evidence(bg.fit(data, 2, **options), random_seed=1)
        for data in (x, bg.Observations(x, error=np.full((60, 2), 1e-3)))
    )
    assert exact.mcse < 0.05
    assert measured.mcse < 0.05
    assert measured.value == pytest.approx(exact.value, abs=5 * np.hypot(exact.mcse, measured.mcse))
