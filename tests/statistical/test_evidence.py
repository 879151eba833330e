"""The evidence over many fits: its stated error is right, engines agree, and published probabilities are reproduced."""

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from tests.oracles.marginal import independent_features
from tests.statistics import SEED, Z, assert_mean, assert_same_means

pytestmark = pytest.mark.statistical


def evidence(x, k, seed, **options):
    tree = bg.fit(x, k, **{"method": "gibbs", "random_seed": seed, "progressbar": False} | options)
    return bg.log_evidence(tree, random_seed=seed)


@pytest.mark.parametrize("k", [3, 5])
def test_the_error_is_the_one_it_tells(galaxies, k):
    """The scatter over independent fits is not above the stated error, nor below half of it."""
    found = [evidence(galaxies, k, SEED % 2**20 + seed, draws=500, thin=20, relabel=False) for seed in range(15)]
    values, errors = (np.array([getattr(each, name) for each in found]) for name in ("value", "mcse"))
    assert errors.max() < 0.15
    squares = (((values - np.average(values, weights=errors**-2)) / errors) ** 2).sum()
    tail = stats.norm.sf(Z)
    low, high = stats.chi2.ppf(tail, len(found) - 1), stats.chi2.isf(tail, len(found) - 1)
    assert low / 4 < squares < high, f"{values.std(ddof=1):.3g} against {errors.mean():.3g} (seed {SEED})"


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
def test_no_bias_against_all_allocations():
    x = np.array([-1.3, -0.4, 0.1, 1.8, 2.5])
    prior = bg.HierarchicalPrior(alpha=1.5, b0=0.3, B0=2.0, c0=3.0, g0=2.0, G0=1.5)
    found = [evidence(x, 2, seed, prior=prior, relabel=False).value for seed in range(20)]
    assert np.std(found) < 0.03
    assert_mean(found, independent_features(x[:, None], 2, prior), "log evidence")


def test_richardson_and_green(galaxies):
    """Table 1 of Richardson & Green (1997) has p(k | x) under a uniform prior to three digits. Ratios to k = 5 agree."""
    published = {3: 0.061, 4: 0.128, 5: 0.182, 6: 0.199, 7: 0.160, 8: 0.109}
    found = {k: evidence(galaxies, k, SEED % 2**20 + k, relabel=False) for k in published}
    for k in (3, 4, 6, 7, 8):
        log_ratio = found[k].value - found[5].value
        error = np.hypot(found[k].mcse, found[5].mcse)
        assert_same_means(log_ratio, error, np.log(published[k] / published[5]), 0.05, f"k = {k}")


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_engines_agree(faithful, covariance):
    one, other = (evidence(faithful, 2, SEED % 2**20, method=method, covariance=covariance) for method in ("nuts", "gibbs"))
    assert max(one.mcse, other.mcse) < 0.05
    assert_same_means(one.value, one.mcse, other.value, other.mcse, covariance)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # chains mix slowly if k is too large
@pytest.mark.parametrize("k", [2, 3])
def test_many_observations(k):
    """With the true number of clusters, and with one too many, where allocations tell least about the parameters."""
    x = bg.datasets.two_gaussians(n=2_000).x
    one, other = evidence(x, k, SEED % 2**20, method="nuts"), evidence(x, k, SEED % 2**20, thin=20, draws=500)
    assert_same_means(one.value, one.mcse, other.value, other.mcse, f"k = {k}")
