"""Wishart matrices by their factors: against scipy, and the coordinates against finite differences."""

import numpy as np
import pytest
from scipy import stats

from bayesgmm.model import wishart
from tests.statistics import assert_mean, rng

RATE = np.array([[2.0, 0.3, -0.4], [0.3, 1.0, 0.2], [-0.4, 0.2, 0.7]])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_coordinates_there_and_back(size):
    coordinates = rng(size).normal(size=(4, wishart.n_entries(size)))
    factors = wishart.from_coordinates(coordinates, size)
    assert (np.triu(factors, 1) == 0).all()
    assert (np.diagonal(factors, axis1=1, axis2=2) > 0).all()
    np.testing.assert_allclose(wishart.to_coordinates(factors), coordinates, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(wishart.unpack(wishart.pack(factors), size), factors)


@pytest.mark.parametrize(("shape", "size"), [(1.3, 1), (1.7, 2), (4.0, 3)])
def test_log_density_is_scipys_with_the_jacobian(shape, size):
    rate = RATE[:size, :size]
    point = rng(size).normal(0, 0.5, wishart.n_entries(size))

    def matrix(coordinates):
        factor = wishart.from_coordinates(coordinates, size)
        return factor.T @ factor

    entries = np.tril_indices(size)
    step = 1e-6
    slopes = [
        (matrix(point + step * e)[entries] - matrix(point - step * e)[entries]) / (2 * step) for e in np.eye(len(point))
    ]
    known = stats.wishart(2 * shape, np.linalg.inv(2 * rate)).logpdf(matrix(point)) + np.linalg.slogdet(slopes)[1]
    assert wishart.log_density(point, shape, rate) == pytest.approx(known, rel=1e-7)


def test_the_density_integrates_to_one():
    diagonal, slope = np.linspace(-5, 3, 41), np.linspace(-30, 30, 601)
    points = np.stack(np.meshgrid(diagonal, slope, diagonal, indexing="ij"), axis=-1)
    density = np.exp(wishart.log_density(points, 2.5, np.broadcast_to(RATE[:2, :2], (*points.shape[:-1], 2, 2))))
    assert density.sum() * 0.2 * 0.1 * 0.2 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("shape", [1.2, 3.0])
def test_draws_are_scipys(shape):
    factors = wishart.draw_factors(shape, np.broadcast_to(RATE, (20_000, 3, 3)), rng(1))
    matrices = factors.swapaxes(1, 2) @ factors
    for i in range(3):
        for j in range(i + 1):
            assert_mean(matrices[:, i, j], shape * np.linalg.inv(RATE)[i, j], f"mean of entry {i}, {j}")
    theirs = stats.wishart(2 * shape, np.linalg.inv(2 * RATE))
    logs = np.linalg.slogdet(matrices)[1]
    sample = np.linalg.slogdet(theirs.rvs(20_000, random_state=rng(2)))[1]
    assert stats.ks_2samp(logs, sample).pvalue > 1e-6
    assert stats.ks_2samp(matrices[:, 0, 1], theirs.rvs(20_000, random_state=rng(3))[:, 0, 1]).pvalue > 1e-6


def test_factors_of_inverse():
    factor = wishart.factors_of_inverse(RATE)
    np.testing.assert_allclose(factor.T @ factor, np.linalg.inv(RATE), rtol=1e-12)


def test_what_cannot_be_inverted_is_a_sentence():
    with pytest.raises(ValueError, match=r"the posterior has collapsed: .* singular") as found:
        wishart.factors_of_inverse(np.stack([RATE, 1e20 * np.ones((3, 3))]))
    assert not isinstance(found.value, np.linalg.LinAlgError)
