"""Statistical tolerances that tests share: two-sided, in standard errors, with the seed in the failure message."""

import os

import numpy as np
from scipy import stats

SEED = int(os.environ.get("BAYESGMM_TEST_SEED", "20261122"))
Z = 5.0  # standard errors: a correct program fails one check in two million


def rng(offset=0):
    return np.random.default_rng([SEED, offset])


def assert_mean(values, expected, name="mean"):
    """The mean of independent values agrees with its expectation."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / np.sqrt(len(values))
    z = (values.mean() - expected) / error
    assert abs(z) < Z, f"{name}: {values.mean():.6g} +- {error:.2g} against {expected:.6g} (z = {z:.1f}, seed {SEED})"


def assert_same_means(a, a_error, b, b_error, name):
    """Two Monte Carlo estimates agree, given their Monte Carlo errors."""
    z = (a - b) / np.hypot(a_error, b_error)
    assert abs(z) < Z, f"{name}: {a:.6g} +- {a_error:.2g} against {b:.6g} +- {b_error:.2g} (z = {z:.1f}, seed {SEED})"


def assert_uniform_ranks(ranks, n_draws, name="ranks", bins=20):
    """Ranks from 0 to n_draws are uniform: their mean, and a chi-squared test of counts in bins at the level of Z."""
    z = (np.mean(ranks) - n_draws / 2) / np.sqrt(n_draws * (n_draws + 2) / 12 / len(ranks))
    assert abs(z) < Z, f"{name}: mean rank {np.mean(ranks):.1f} of {n_draws} (z = {z:.1f}, seed {SEED})"
    edges = np.linspace(0, n_draws + 1, bins + 1)
    counts, _ = np.histogram(ranks, edges)
    expected = len(ranks) * np.diff(np.ceil(edges)) / (n_draws + 1)
    p = stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), bins - 1)
    assert p > 2 * stats.norm.sf(Z), f"{name}: counts {counts}, expected {expected[0]:.1f} (p = {p:.1g}, seed {SEED})"


def assert_counts(counts, probabilities, name="counts"):
    """Multinomial counts agree with their probabilities, cell by cell."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    n = counts.sum()
    z = (counts - n * probabilities) / np.sqrt(n * probabilities * (1 - probabilities))
    assert np.abs(z).max() < Z, f"{name}: {counts} against {n * probabilities} (z = {z.round(1)}, seed {SEED})"
