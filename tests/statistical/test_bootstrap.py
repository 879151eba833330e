"""The bootstrap test holds its level under the null hypothesis, and finds clusters that are apart."""

import numpy as np
import pytest
from scipy.stats import chi2

import bayesgmm as bg
from tests.statistics import assert_counts, rng

pytestmark = pytest.mark.statistical

B = 19  # the smallest number for which p-values can be 0.05
CELLS = 0.05, 0.05, 0.9  # probabilities of p <= 0.05, 0.05 < p <= 0.1, and larger ones
TWO = bg.Mixture([0.5, 0.5], [0, 5], sigma=[1, 1])


def single(generator):
    return generator.normal(size=40)


def correlated(generator):
    return generator.normal(size=(40, 2)) @ [[1.0, 0.9], [0.0, 0.5]]


def coarse(generator):
    """Values that are rounded to half a standard deviation."""
    return bg.rounded(np.round(2 * generator.normal(size=60)) / 2, 0.5)


def incomplete(generator):
    x = generator.normal(size=(60, 2))
    x[generator.random(60) < 0.3, 0] = np.nan
    return bg.Observations(x, missing="at_random", error=np.tile(generator.uniform(0, 1, (60, 1)), (1, 2)))


def two(generator):
    return TWO.sample(60, generator)[0]


def results_of(draw, k, n, offset, **options):
    made = []
    for i in range(n):
        x = draw(rng(offset + i))
        made.append(bg.bootstrap_lrt(x, k, n_bootstrap=B, n_init=3, random_seed=i, cores=1, progressbar=False, **options))
    return made


def cells(p_values):
    return np.histogram(p_values, [0, 0.0501, 0.1001, 1])[0]


@pytest.fixture(scope="module")
def of_single():
    return results_of(single, 1, 100, 10_000)


def test_the_level_is_held(of_single):
    """With one Gaussian, the distribution of the statistic does not depend on its parameters: p-values are uniform."""
    assert_counts(cells([each.p_value for each in of_single]), CELLS, "p-values")


def test_control_a_chi_squared_reference_rejects_too_often(of_single):
    """Three more parameters."""
    p = chi2.sf([each.statistic for each in of_single], 3)
    with pytest.raises(AssertionError, match="p-values"):
        assert_counts(cells(p), CELLS, "p-values")


@pytest.mark.parametrize(
    ("draw", "k", "covariance", "n"),
    [(correlated, 1, "tied", 12), (coarse, 1, "full", 30), (incomplete, 1, "diag", 12), (two, 2, "tied", 12)],
    ids=["correlated", "coarse", "incomplete", "two"],
)
def test_the_level_is_held_for_other_data(draw, k, covariance, n):
    """Replicates hold the rounding, gaps and errors of the data. Beyond one Gaussian uniformity is approximate.

    A few data sets show only whether something is badly wrong; with a hundred of each the level was held, too.
    """
    found = results_of(draw, k, n, 20_000, covariance=covariance)
    assert_counts(cells([each.p_value for each in found]), CELLS, "p-values")


def test_clusters_that_are_apart_are_found():
    found = results_of(two, 1, 12, 30_000)
    assert np.mean([each.p_value == 1 / (B + 1) for each in found]) > 0.9
