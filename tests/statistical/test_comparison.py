"""Two ways to the same quantity must agree: evidence and the sampler over k, PSIS-LOO and exact leave-one-out."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import read_draws
from bayesgmm.analysis.tree import read_observations
from bayesgmm.data.observations import Observations
from tests.statistics import SEED, Z, assert_same_means, rng

pytestmark = pytest.mark.statistical


def fitted(x, k, prior, seed=SEED, **options):
    return bg.fit(x, k, prior=prior, method="gibbs", random_seed=seed, progressbar=False, **options)


@pytest.fixture(scope="module")
def by_counting(galaxies):
    """Log odds of each k against k = 3 under a uniform prior on k, and their errors, from the sampler over k."""
    tree = bg.posterior_k(galaxies, prior_k=bg.priors.Uniform(6), draws=4_000, random_seed=SEED, progressbar=False)
    p, error = (tree[name].sel(k=[3, 4, 5, 6]).values for name in ("p_k", "p_k_mcse"))
    relative = error / p
    return np.log(p[1:] / p[0]), relative[1:] + relative[0]  # the estimates are dependent


@pytest.fixture(scope="module")
def by_evidence(galaxies):
    """Log odds of each k against k = 3, and their errors, from bridge sampling for each k."""
    found = [bg.log_evidence(fitted(galaxies, k, None), random_seed=SEED) for k in (3, 4, 5, 6)]
    values, errors = np.array([each.value for each in found]), np.array([each.mcse for each in found])
    return values[1:] - values[0], np.hypot(errors[1:], errors[0])


def assert_same_odds(by_counting, by_evidence):
    for k, *each in zip((4, 5, 6), *by_counting, *by_evidence, strict=True):
        assert_same_means(*each, f"log odds of k = {k}")


def test_evidence_agrees_with_the_sampler_over_k(by_counting, by_evidence):
    assert_same_odds(by_counting, by_evidence)
    assert max(by_counting[1].max(), by_evidence[1].max()) < 0.25  # errors small enough to show a difference


def test_control_a_forgotten_factorial_is_noticed(by_counting, by_evidence):
    log_factorials = np.cumsum(np.log([4, 5, 6]))
    with pytest.raises(AssertionError, match="log odds"):
        assert_same_odds(by_counting, (by_evidence[0] - log_factorials, by_evidence[1]))


def test_control_a_forgotten_constant_of_the_weights_prior_is_noticed(by_counting, by_evidence):
    """Gamma(k), the constant of a uniform distribution on the simplex."""
    log_gammas = np.cumsum(np.log([3, 4, 5]))
    with pytest.raises(AssertionError, match="log odds"):
        assert_same_odds(by_counting, (by_evidence[0] - log_gammas, by_evidence[1]))


@pytest.fixture(scope="module", params=[1, 2], ids=["D = 1", "D = 2"])
def left_out(request):
    """A fit of 14 observations in two groups, and exact leave-one-out log densities from refits, with errors."""
    n_features, generator = request.param, rng(21)
    x = np.concatenate([generator.normal(0, 1, (9, n_features)), generator.normal(6, 1, (5, n_features))])
    prior = bg.HierarchicalPrior().scaled_to(x)
    tree = fitted(x, 2, prior)
    exact = []
    for i in range(len(x)):
        without = read_draws(fitted(np.delete(x, i, axis=0), 2, prior, SEED + 1 + i, thin=10))
        values = log_density(without, Observations.made(x[[i]]))[:, 0]
        density = np.exp(values - values.max())
        error = array_stats.mcse(without.by_chain(density), chain_axis=0, draw_axis=1) / density.mean()
        exact.append((logsumexp(values) - np.log(len(values)), error))
    return tree, *np.array(exact).T


def assert_same_elpd(elpd, exact, error, least):
    """Sums over the observations agree. The error of PSIS is taken to be that of the refits, plus ``least``."""
    total, spread = np.sum(elpd), np.sqrt(np.sum(2 * error**2) + least**2)
    z = (total - exact.sum()) / spread
    assert abs(z) < Z, f"elpd {total:.3f} against {exact.sum():.3f} +- {spread:.2g} (z = {z:.1f}, seed {SEED})"


def test_loo_agrees_with_leaving_out_in_earnest(left_out):
    tree, exact, error = left_out
    found = bg.loo(tree, random_seed=SEED)
    assert not found.warning
    assert_same_elpd(found.elpd_i.values, exact, error, 0.02)


def test_control_predicting_what_was_seen_is_noticed(left_out):
    tree, exact, error = left_out
    seen = logsumexp(log_density(read_draws(tree), Observations.made(read_observations(tree))), axis=0) - np.log(4000)
    with pytest.raises(AssertionError, match="elpd"):
        assert_same_elpd(seen, exact, error, 0.02)
