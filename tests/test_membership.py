"""Membership probabilities from as many draws as their error requires agree with those from all, within that error."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.analysis.membership import ERROR, _spread_out, averaged
from bayesgmm.analysis.reading import Reading
from bayesgmm.data.observations import Observations
from tests.oracles.membership import of_all
from tests.statistics import SEED, rng


@pytest.fixture(scope="module")
def draws():
    """Four thousand draws of two overlapping clusters that few observations determine."""
    x = np.append(bg.Mixture([0.5, 0.5], [0.0, 2.5], sigma=[1.0, 1.0]).sample(60, rng(1))[0], [9.0, -7.0])
    return Reading.of(bg.fit(x, 2, method="gibbs", noise=True, random_seed=SEED, progressbar=False)).draws


@pytest.mark.parametrize("further", [False, True])
def test_so_many_draws_are_enough(draws, further):
    rows = Observations.read(np.linspace(-9, 12, 300)).with_noise(-4.0)
    (mean, sd), (exact, exact_sd) = averaged(draws, rows, further=further), of_all(draws, rows, further)
    assert abs(mean - exact).max() < 4 * ERROR
    assert np.sqrt(np.mean((mean - exact) ** 2)) < ERROR
    assert abs(sd - exact_sd).max() < 0.05
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-12)
    assert exact_sd.max() > 0.1  # so the first round of draws does not suffice


@pytest.mark.parametrize("further", [False, True])
def test_few_draws_are_all_used(draws, further):
    few, rows = draws.thinned(100), Observations.read(np.linspace(-9, 12, 50)).with_noise(-4.0)
    for found, exact in zip(averaged(few, rows, further=further), of_all(few, rows, further), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)


def test_an_observation_has_the_same_answer_whatever_stands_beside_it(draws):
    x = np.linspace(-9, 12, 40)
    together, _ = averaged(draws, Observations.read(x).with_noise(-4.0), further=True)
    alone = [averaged(draws, Observations.read([value]).with_noise(-4.0), further=True)[0][0] for value in x]
    np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 100, 1_000, 4_096, 5_001])
def test_every_beginning_is_spread_over_all(n):
    order = _spread_out(n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    for few in (1, 2, 8, 128):
        if few <= n:
            gaps = np.diff(np.sort(np.append(order[:few], [-1, n])))
            assert gaps.max() <= 2 * n / few + 1
