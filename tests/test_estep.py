"""The kernel's four sums against a plain loop in extended precision."""

import numpy as np
import pytest

from bayesgmm.estep import e_step
from tests.statistics import rng


def by_loop(x, weights, means, sigma, sample_weight):
    log_likelihood, sums = np.longdouble(0), np.zeros((3, len(weights)), dtype=np.longdouble)
    weights, means, sigma = (np.asarray(v, dtype=np.longdouble) for v in (weights, means, sigma))
    for each, c in zip(x.astype(np.longdouble), sample_weight, strict=True):
        deviation = each - means
        log_joint = np.log(weights) - np.log(sigma) - (deviation / sigma) ** 2 / 2 - np.log(2 * np.longdouble(np.pi)) / 2
        largest = log_joint.max()
        log_density = largest + np.log(np.exp(log_joint - largest).sum())
        r = c * np.exp(log_joint - log_density)
        log_likelihood += c * log_density
        sums += np.array([r, r * deviation, r * deviation**2])
    return log_likelihood, *sums


@pytest.mark.parametrize("n", [1, 7, 3_000])
@pytest.mark.parametrize("k", [1, 3, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_a_loop(n, k, weighted):
    generator = rng(n + k)
    x = generator.standard_normal(n) * 3
    weights, means = generator.dirichlet(np.ones(k)), generator.normal(0, 3, k)
    sigma = np.exp(generator.normal(size=k))
    sample_weight = generator.integers(0, 4, n).astype(float) if weighted else np.ones(n)
    got = e_step(x, weights, means, sigma, sample_weight if weighted else None)
    wanted = by_loop(x, weights, means, sigma, sample_weight)
    for mine, exact in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, np.asarray(exact, dtype=float), rtol=1e-11, atol=1e-11)


def test_hard_cases_stay_exact():
    x = np.array([40.0, -40.0, 1e-6, 0.5])
    weights, means, sigma = np.array([1e-300, 0.5, 0.5]), np.array([40.0, 0.0, 0.0]), np.array([1.0, 1e-6, 1.0])
    got, wanted = e_step(x, weights, means, sigma), by_loop(x, weights, means, sigma, np.ones(4))
    for mine, exact in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, np.asarray(exact, dtype=float), rtol=1e-11)


def test_sums_add_up_over_chunks():
    x = rng(5).standard_normal(100_000)  # longer than one block
    parameters = (np.array([0.4, 0.6]), np.array([-1.0, 1.0]), np.array([0.5, 1.5]))
    whole = e_step(x, *parameters)
    parts = [e_step(part, *parameters) for part in np.array_split(x, 7)]
    for i, value in enumerate(whole):
        np.testing.assert_allclose(value, sum(part[i] for part in parts), rtol=1e-11)
