"""Calibration of p(k | x): for data from the prior, k is true with the stated probability.

For pairs (k, x) from the prior, the indicator of k minus p(k | x) has mean zero. So has its product with any function of x,
such as p(k | x) itself. These means sum up a reliability diagram in a few numbers for each k.

Power: 600 data sets detect, at five standard errors and with probability .98, a p(k | x) that is off by .14 or more on
average (7 standard errors of at most .5 / sqrt(600)), and ranks whose mean is off by .08 of their range.
"""

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayesgmm as bg
from bayesgmm import priors
from bayesgmm.engines.telescoping import room_for
from bayesgmm.kernels import number
from tests.oracles.unknown_k import AXES, PRIOR, Problem, summary
from tests.statistics import SEED, assert_mean, assert_same_means, assert_uniform_ranks, rng

pytestmark = pytest.mark.statistical
DRAWS, THIN, TUNE = 49, 40, 400
PROBLEMS = [
    ("full", 1, "hierarchical", "static"),
    ("full", 1, "hierarchical", "dynamic"),
    ("tied", 1, "conjugate", "static"),
    ("full", 3, "hierarchical", "static"),
    ("diag", 3, "conjugate", "dynamic"),
]


def simulate(which, size, n=20, alpha=1.0):
    """True k and occupied components for data from the prior, their posterior probabilities, and ranks of quantities."""
    problem, generator = Problem(*which, n=n, alpha=alpha), rng(11)
    d, truths, probabilities, ranks = problem.own.n_features, [], [], []
    for mixture in problem.mixtures(size, generator):
        problem.own.x[:], occupied = problem.data(mixture, generator)
        sampler, components = problem.sampler(), problem.begin(generator)
        sampler(generator, components, np.zeros((0, d)), TUNE, *room_for(problem.own, problem.most, 0, 1, 1))
        draws, kept = room_for(problem.own, problem.most, 0, DRAWS, DRAWS)
        sampler(generator, components, np.zeros((0, d)), THIN, draws, kept)
        true = summary(mixture)[2:]
        drawn = []
        for s in range(DRAWS):
            one = kept._replace(**{name: getattr(kept, name)[s : s + 1] for name in ("z", "w", "mu", "spread")})
            drawn.append(summary(problem.mixture_at(components, one, None))[2:])
        last = 2 + 3 * d  # C0 comes later, and only that of the last draw is known
        drawn = np.array(drawn)[:, :last]
        ranks.append((drawn < true[:last]).sum(axis=0))
        truths.append([len(mixture[1]), occupied])
        probabilities.append([draws.p_k.mean(axis=0), draws.p_occupied.mean(axis=0)])
    return np.array(truths), np.array(probabilities), np.array(ranks)


def assert_calibrated(truths, probabilities, ranks, compared):
    for which, name in enumerate(("k", "occupied")):
        for k in range(1, len(PRIOR) + 1):
            p = probabilities[:, which, k - 1]
            surprise = (truths[:, which] == k) - p
            assert_mean(surprise, 0, f"{name} = {k}")
            assert_mean(surprise * p, 0, f"{name} = {k}, where it is probable")
            assert_mean(surprise * probabilities[:, 1, 0], 0, f"{name} = {k}, where one component is occupied")
    for i in compared:
        assert_uniform_ranks(ranks[:, i], DRAWS, f"quantity {i}", bins=10)


def quantities(which):
    """Indices, in the ranks, of sums over components. They vary under any structure, without exact ties if k = 1."""
    d = which[1]
    return range(2, 2 + 3 * d)


@pytest.mark.parametrize("which", PROBLEMS, ids=str)
def test_the_posterior_of_k_is_calibrated(which):
    assert_calibrated(*simulate(which, 600), quantities(which))


@pytest.mark.parametrize(
    ("forgotten", "weights"),
    [("log_arrangements", "static"), ("log_arrangements", "dynamic"), ("log_normaliser", "static")],
)
def test_control_a_forgotten_factor_is_noticed(forgotten, weights, monkeypatch):
    """The factors K! / (K - K+)! and Gamma(gamma K) / Gamma(n + gamma K). With dynamic weights the latter is constant in K.

    300 data sets detect these faults at 9, 8 and 23 standard errors, and another prior on k at 11.
    """
    if forgotten == "log_arrangements":
        monkeypatch.setattr(number, forgotten, lambda occupied, k: np.where(k >= occupied, 0.0, -np.inf))
    else:
        monkeypatch.setattr(number, forgotten, lambda total, n: 0 * total)
    which = ("full", 1, "hierarchical", weights)
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(*simulate(which, 300), quantities(which))


def test_control_another_prior_on_k_is_noticed(monkeypatch):
    which, tables = PROBLEMS[0], number.number_tables
    monkeypatch.setattr(
        "tests.oracles.unknown_k.number_tables", lambda p, *given: tables(p[::-1] ** 2 / (p**2).sum(), *given)
    )
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(*simulate(which, 300), quantities(which))


@pytest.fixture(scope="module")
def long_run(galaxies):
    return bg.posterior_k(galaxies, draws=8_000, thin=100, random_seed=SEED, progressbar=False)


def test_a_long_run_on_the_galaxies_is_richardson_and_greens(long_run):
    """Table 1 of Richardson & Green (1997) again, with less than half the default run's error. The rest is the table's."""
    published = np.array([0.061, 0.128, 0.182, 0.199, 0.160, 0.109, 0.071, 0.040, 0.023, 0.013, 0.006, 0.003])
    theirs = np.sqrt(published * (1 - published) / 5_000) + 0.0005
    for k in range(3, 15):
        found, error = long_run["p_k"].sel(k=k).item(), long_run["p_k_mcse"].sel(k=k).item()
        assert error < 0.004
        assert_same_means(found, error, published[k - 3], theirs[k - 3], f"p({k})")


@pytest.mark.parametrize("weights", ["static", "dynamic"])
def test_the_prior_on_k_enters_as_a_factor(galaxies, weights):
    """p(k | x) / p(k) is proportional to the evidence, whatever the prior. Two runs that prefer different k agree on it."""
    one = bg.posterior_k(galaxies, weights=weights, prior_k=priors.Uniform(8), random_seed=SEED, progressbar=False)
    p = np.array([1, 1, 2, 1, 2, 3, 4, 6]) / 20
    other = bg.posterior_k(galaxies, weights=weights, prior_k=p, random_seed=SEED + 1, progressbar=False)
    for k in range(4, 8):
        ratios = []
        for tree, prior in ((one, np.full(8, 1 / 8)), (other, p)):
            found, error = tree["p_k"].values, tree["p_k_mcse"].values
            log_ratio = np.log(found[k - 1] / prior[k - 1]) - np.log(found[7] / prior[7])
            ratios += [log_ratio, np.hypot(error[k - 1] / found[k - 1], error[7] / found[7])]
        assert_same_means(*ratios, f"evidence of {k} over that of 8")


def test_fixed_numbers_of_components_give_the_same_evidence(galaxies, long_run):
    """The ratio of evidence for K and K + 1 components follows from how often partitions have K clusters under either.

    Partitions into K clusters have the same likelihood under both.
    """
    of_fixed = {}
    for k in (3, 4, 5):
        tree = bg.fit(galaxies, k, method="gibbs", draws=2_000, thin=20, random_seed=SEED, progressbar=False, relabel=False)
        of_fixed[k] = bg.occupied_clusters(tree, SEED).values
    for k in (3, 4):
        log_ratio, variance = 0.0, 0.0
        for components, sign in ((k, 1), (k + 1, -1)):
            same = (of_fixed[components] == k).astype(float)
            log_prior = number.log_arrangements(np.array(k), np.array(components)) + number.log_normaliser(components, 82)
            log_ratio += sign * (np.log(same.mean()) - log_prior)
            variance += (float(array_stats.mcse(same, **AXES)) / same.mean()) ** 2
        p, error = long_run["p_k"].sel(k=[k, k + 1]).values, long_run["p_k_mcse"].sel(k=[k, k + 1]).values
        assert_same_means(np.log(p[1] / p[0]), np.hypot(*(error / p)), log_ratio, np.sqrt(variance), f"{k + 1} over {k}")
