"""Simulation-based calibration: for parameters from the prior, and data given them, ranks among the draws are uniform.

Talts, Betancourt, Simpson, Vehtari & Gelman (2018), Validating Bayesian inference algorithms with simulation-based
calibration, arXiv:1804.06788. The log-likelihood is among the quantities, as Modrák et al. (2023, doi:10.1214/23-BA1404)
advise; none depends on the labels.

Power: with n data sets, a mean rank that is off by 7 / sqrt(12 n) of the range is detected at five standard errors with
probability .98. That is .09 for 500 data sets, .14 for 200, and .26 for 60. The power of controls is stated with them.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from bayesgmm.analysis.densities import log_density
from bayesgmm.analysis.draws import draws_of
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations
from bayesgmm.engines.advi import sample_advi
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Start
from bayesgmm.engines.nuts import NutsSettings, choose_geometry, sample_nuts
from bayesgmm.engines.options import Options
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.starts import Optimum
from bayesgmm.engines.sweeps import sweeps
from tests.oracles.joint import draw_data, prior_points, small_posterior
from tests.statistics import assert_uniform_ranks, rng

pytestmark = pytest.mark.statistical
DRAWS = 99
PROBLEMS = [("full", 1, "hierarchical", 2), ("full", 1, "hierarchical", 3), ("tied", 1, "conjugate", 2)]
PROBLEMS += [("full", 3, "hierarchical", 2), ("diag", 3, "conjugate", 3)]


def exactly(x, generator):
    """Exact rows."""
    return Observations.made(x)


def with_errors(x, generator):
    """Rows with measurement errors, half of them small."""
    error = generator.choice([0.2, 2.0], x.shape)
    return Observations.made(x + error * generator.normal(size=x.shape), Known(error=error))


def with_gaps(x, generator):
    """Rows with a third of the values missing, but at least one value in each."""
    gaps = generator.uniform(size=x.shape) < 1 / 3
    gaps[gaps.all(axis=1), 0] = False
    return Observations.made(np.where(gaps, np.nan, x))


def with_both(x, generator):
    """Rows with missing values, and measurement errors of the others."""
    measured = with_errors(x, generator)
    return Observations.made(with_gaps(measured.x, generator).x, measured.known)


def in_intervals(x, generator):
    """Rows with two thirds of the values in wide bins. The outer bins are open."""
    edges = np.array([-np.inf, -3.0, -1.0, 1.0, 3.0, np.inf])
    bins, seen = np.searchsorted(edges, x) - 1, generator.uniform(size=x.shape) < 1 / 3
    return Observations(lower=np.where(seen, x, edges[bins]), upper=np.where(seen, x, edges[bins + 1]))


def middles(x, generator):
    """The middle of each bin, or the end of an open one, taken for the exact value."""
    known = in_intervals(x, generator).known
    ends = [
        np.where(np.isfinite(one), one, other) for one, other in ((known.lower, known.upper), (known.upper, known.lower))
    ]
    return Observations.made((ends[0] + ends[1]) / 2)


def with_strays(x, generator):
    """Rows, a share of which is noise, uniform on a wide box; and this share, drawn from its prior."""
    share = generator.beta(1, 9)
    strays = generator.uniform(size=len(x)) < share
    x = np.where(strays[:, None], generator.uniform(-8, 8, x.shape), x)
    return Observations.made(x).with_noise(-x.shape[1] * np.log(16.0)), share


def without_strays(x, generator):
    """Rows with noise, taken for rows without."""
    return Observations.made(with_strays(x, generator)[0].x)


def believed_exact(x, generator):
    """Rows with errors, taken for exact ones."""
    return Observations.made(with_errors(x, generator).x)


def filled(x, generator):
    """Missing values replaced by means, which are taken for exact values."""
    return Observations.made(with_gaps(x, generator).filled)


def quantities(draws, rows):
    """Log-likelihood of the data, log density at the origin, largest weight, mean and variance of the first feature."""
    w, mu, sd = draws.w, draws.mu[..., 0], draws.sd[..., 0]
    mean = (w * mu).sum(axis=1)
    return {
        "log-likelihood": log_density(draws, rows).sum(axis=1),
        "log density": log_density(draws, Observations.made(np.zeros((1, rows.n_features))))[:, 0],
        "largest weight": w.max(axis=1),
        "mean": mean,
        "variance": (w * (sd**2 + mu**2)).sum(axis=1) - mean**2,
    } | of_family(draws)


def of_family(draws):
    """The share of noise, the smallest nu, and the sum of log nu."""
    of_noise = {} if draws.noise is None else {"noise": draws.noise}
    if draws.nu is None:
        return of_noise
    return of_noise | {"smallest nu": draws.nu.min(axis=1), "log nu": np.log(draws.nu).sum(axis=1)}


def draws_at(own, points):
    return draws_of(CompiledTarget(own).constrained(points[None]))


def by_gibbs(own, start, generator):
    draws, state = np.empty((DRAWS, own.n_dim)), start.copy()
    sweeps(own)(generator, state, 500, np.empty((1, own.n_dim)))
    sweeps(own)(generator, state, 20, draws)
    return draws_at(own, draws)


def by_nuts(own, start, generator):
    settings = NutsSettings(DRAWS, 300, 1, int(generator.integers(2**31)), 0.9, False, adaptation="diag", thin=5)
    return draws_of(sample_nuts(CompiledTarget(own), [Start(start)], settings, Phases(announce=False)).posterior)


def by_default(own, start, generator):
    """NUTS as `fit` sets it up: in coordinates that fit the posterior, from a draw of Laplace's approximation or a Gibbs run."""
    seed = int(generator.integers(2**31))
    phases = Phases(announce=False)
    chosen = choose_geometry(own, [Optimum(0, start, None, 1.0)], 1, seed, phases)
    settings = NutsSettings(DRAWS, chosen.tune, 1, seed, chosen.target_accept, False, adaptation=chosen.adaptation, thin=5)
    return draws_of(sample_nuts(CompiledTarget(own), chosen.starts, settings, phases).posterior)


def by_mean_field(own, start, generator):
    options = Options("advi", DRAWS, 1, None, None, None, None, DRAWS, "meanfield", 2_000)
    seed = int(generator.integers(2**31))
    return draws_of(sample_advi(CompiledTarget(own), start, options, seed, Phases(announce=False), own).posterior)


def ranks(problem, sampler, size, n=20, believed=None, seen=exactly, family="gaussian", fitted=None):
    """Ranks of true quantities among the draws, for ``size`` data sets, each from a draw of the prior.

    The fit may have another prior, ``believed``, and another family, ``fitted``. ``seen`` makes observations of the data.
    """
    covariance, n_features, kind, k = problem
    own, generator = replace(small_posterior(covariance, n_features, kind, k, n), family=family), rng(7)
    result = {}
    for truth in prior_points(own, size, generator):
        observed, start = seen(draw_data(own, truth, generator), generator), prior_points(own, 1, generator)[0]
        if isinstance(observed, tuple):
            observed, share = observed
            at = len(truth) - (k if own.n_nu else 0)  # log(nu - 1) are the last
            truth, start = np.insert(truth, at, logit(share)), np.insert(start, at, logit(0.1))
        posed = replace(own, observations=observed, prior=believed or own.prior, family=fitted or family)
        if fitted:
            truth, start = truth[: posed.n_dim], start[: posed.n_dim]
        true, drawn = (
            quantities(draws_at(posed, truth[None]), posed.observations),
            quantities(sampler(posed, start, generator), posed.observations),
        )
        for name, values in drawn.items():
            result.setdefault(name, []).append((values < true[name]).sum())
    return result


def assert_calibrated(found):
    for name, each in found.items():
        assert_uniform_ranks(each, DRAWS, name)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_gibbs_is_calibrated(problem):
    assert_calibrated(ranks(problem, by_gibbs, 500))


@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=str)
def test_nuts_is_calibrated(problem):
    assert_calibrated(ranks(problem, by_nuts, 200))


@pytest.mark.parametrize(("problem", "size"), [(PROBLEMS[0], 200), (PROBLEMS[3], 60)], ids=str)
def test_nuts_as_fit_sets_it_up_is_calibrated(problem, size):
    assert_calibrated(ranks(problem, by_default, size))


SEEN = [
    (PROBLEMS[0], with_errors),
    (PROBLEMS[0], in_intervals),
    (PROBLEMS[3], with_gaps),
    (PROBLEMS[0], with_strays),
    (PROBLEMS[3], with_strays),
    (PROBLEMS[3], with_both),
    (PROBLEMS[4], with_both),
    (PROBLEMS[4], in_intervals),
]


def name_of(part):
    return getattr(part, "__name__", str(part))


@pytest.mark.parametrize(("problem", "seen"), SEEN, ids=name_of)
def test_gibbs_of_rows_partly_known_is_calibrated(problem, seen):
    assert_calibrated(ranks(problem, by_gibbs, 300, seen=seen))


@pytest.mark.parametrize(("problem", "seen"), SEEN[:4], ids=name_of)
def test_nuts_of_rows_partly_known_is_calibrated(problem, seen):
    assert_calibrated(ranks(problem, by_nuts, 100, seen=seen))


@pytest.mark.parametrize(
    ("problem", "seen"),
    [(PROBLEMS[0], believed_exact), (PROBLEMS[3], filled), (PROBLEMS[0], middles), (PROBLEMS[0], without_strays)],
    ids=name_of,
)
def test_control_what_is_not_known_taken_for_known_is_noticed(problem, seen):
    found = ranks(problem, by_gibbs, 200, seen=seen)
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(found)


@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[2], PROBLEMS[3], PROBLEMS[4]], ids=str)
def test_gibbs_of_t_distributions_is_calibrated(problem):
    assert_calibrated(ranks(problem, by_gibbs, 300, family="t"))


def test_gibbs_of_t_distributions_among_noise_is_calibrated():
    assert_calibrated(ranks(PROBLEMS[0], by_gibbs, 300, family="t", seen=with_strays))


@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[3]], ids=str)
def test_nuts_of_t_distributions_is_calibrated(problem):
    assert_calibrated(ranks(problem, by_nuts, 100, family="t"))


def test_control_gaussians_in_place_of_t_distributions_are_noticed():
    found = ranks(PROBLEMS[0], by_gibbs, 200, n=60, family="t", fitted="gaussian")
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(found)


def test_mean_field_is_too_narrow():
    """True values lie beyond most of its draws too often, at either end: the fault that ADVI is known for."""
    found = ranks(PROBLEMS[0], by_mean_field, 100)
    tails = {
        name: np.mean((np.array(each) < DRAWS * 0.05) | (np.array(each) > DRAWS * 0.95)) for name, each in found.items()
    }
    assert max(tails.values()) > 0.2, tails
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(found)


@pytest.mark.parametrize(("name", "factor"), [("alpha", 10), ("B0", 100), ("c0", 0.2), ("G0", 30)])
def test_control_a_wrong_prior_is_noticed(name, factor):
    """200 data sets detect these faults at 17, 8, 10 and 11 standard errors."""
    own = small_posterior(*PROBLEMS[0], 20)
    found = ranks(PROBLEMS[0], by_gibbs, 200, believed=replace(own.prior, **{name: factor * getattr(own.prior, name)}))
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(found)


def test_control_a_wrong_prior_is_noticed_by_nuts():
    own = small_posterior(*PROBLEMS[0], 20)
    found = ranks(PROBLEMS[0], by_nuts, 100, believed=replace(own.prior, alpha=10 * own.prior.alpha))
    with pytest.raises(AssertionError, match="seed"):
        assert_calibrated(found)
