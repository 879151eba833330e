"""Values known only as intervals: laws of bins, rounding and censoring, in every function that takes data."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate, optimize, stats

import bayesgmm as bg
from bayesgmm.analysis.reading import Reading
from bayesgmm.comparison.cache import FitCache
from bayesgmm.data.observations import Observations
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.kernels.allocations import allocate_at
from bayesgmm.kernels.intervals import draw_between, draw_sums, log_probability, moments
from bayesgmm.posterior import LogPosterior
from tests.families import prior_of
from tests.oracles.intervals import interval_moments, row_by_row
from tests.rows import (
    assert_as_stated_by_pymc,
    assert_evidence_is_an_integral,
    assert_nuts_and_gibbs_agree,
    assert_p_k_is_that_of_evidence,
)
from tests.statistics import rng

pytestmark = [
    pytest.mark.filterwarnings("ignore:the chains have not converged"),
    pytest.mark.filterwarnings("ignore:too few effective draws"),
    pytest.mark.filterwarnings("ignore:fewer than 100 effective draws"),
]

KINDS = [("bins", 1), ("censored", 1), ("all", 1), ("bins", 2), ("all", 3)]
OF_STRUCTURES = [(kind, d, each) for kind, d in KINDS for each in (("full", "tied") if d == 1 else ("diag", "spherical"))]


def values(d, n=40, offset=0):
    generator = rng(d + offset)
    return np.where(generator.uniform(size=(n, 1)) < 0.4, -2.0, 2.0) + generator.normal(size=(n, d))


def ends(kind, d, **others):
    """Lower and upper ends (n, D) of this kind of intervals, for rows of two clusters."""
    x = values(d, **others)
    generator = rng(7)
    if kind == "bins":
        return np.floor(x), np.floor(x) + 1.0
    lower, upper = np.where(x < -2.5, -np.inf, x), np.where(x < -2.5, -2.5, x)
    if kind == "all":
        what = generator.integers(0, 4, x.shape)
        lower = np.choose(what, [x, x - generator.uniform(size=x.shape), x - 1.0, np.full(x.shape, -np.inf)])
        upper = np.choose(what, [x, x + generator.uniform(size=x.shape), np.full(x.shape, np.inf), x + 1.0])
        if d > 1:
            nothing = generator.uniform(size=len(x)) < 0.2
            lower[nothing, 0], upper[nothing, 0] = -np.inf, np.inf
    return lower, upper


def seen(kind, d, **others):
    lower, upper = ends(kind, d, **others)
    return Observations(lower=lower, upper=upper, missing="at_random")


def a_mixture(k, d, generator):
    return generator.dirichlet(np.ones(k)), generator.normal(0, 2, (k, d)), np.exp(generator.normal(size=(k, d)) / 2)


@pytest.mark.parametrize("width", [1e-6, 0.01, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("change", [0.0, 1e-3, 0.1, 0.5, 1.0])
def test_short_intervals_have_their_digits(width, change):
    """Moments have full precision, however many terms the series needs."""
    a = change / width - width / 2
    b = a + width
    log_p, first, second = interval_moments(a, b)
    found = moments(a, b, b - a)
    assert abs(found[0] - log_p) <= 1e-14 * max(1, abs(log_p))
    assert abs(found[1] - first) <= 1e-14 * second**0.5
    assert abs(found[2] - second) <= 1e-14 * second


@pytest.mark.parametrize("far", [0.0, 3.0, 40.0])
def test_probabilities_and_moments_have_their_digits(far):
    generator = rng(1)
    widths = 10.0 ** generator.uniform(-9, 2, 60)
    begins = generator.choice([-1, 1], 60) * (far + generator.exponential(size=60) / (1 + far))
    cases = [*zip(begins, begins + widths, strict=True), (far, np.inf), (-np.inf, -far), (-far, np.inf)]
    for a, b in cases:
        log_p, first, second = interval_moments(a, b)
        found = moments(a, b, float(b - a))
        assert abs(found[0] - log_p) <= 1e-12 * max(1, abs(log_p))
        assert log_probability(a, b, float(b - a)) == found[0]
        assert abs(found[1] - first) <= 1e-11 * second**0.5
        assert abs(found[2] - second) <= 1e-11 * second


def test_points_out_of_reach_and_ends_that_bound_nothing():
    assert moments(-np.inf, np.inf, np.inf) == (0.0, 0.0, 1.0)
    for a, b in ((1e9, 2e9), (1e160, np.inf), (1e200, 1e201)):
        found, mirrored = moments(a, b, b - a), moments(-b, -a, b - a)
        assert np.isfinite(found).all()
        assert mirrored == (found[0], -found[1], found[2])
    narrow = Observations(lower=[1.0], upper=[1.0 + 1e-7]).log_density(*a_mixture(2, 1, rng(2)))
    exact = Observations([1.0 + 5e-8]).log_density(*a_mixture(2, 1, rng(2)))
    np.testing.assert_allclose(narrow - np.log((1.0 + 1e-7) - 1.0), exact, rtol=1e-9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (-0.3, 0.4),
        (-0.2, 1.9),
        (-np.inf, 0.2),
        (0.4, 1.7),
        (1.0, 1.2),
        (3.0, np.inf),
        (8.0, 9.0),
        (-30.0, -29.9),
        (-9.0, -4.0),
    ],
)
def test_draws_between_ends_have_the_distribution(a, b):
    generator = rng(3)
    drawn = np.array([draw_between(generator, a, b) for _ in range(4_000)])
    assert ((a < drawn) & (drawn < b)).all()
    side, low, high = (1, a, b) if a + b > 0 or np.isinf(b) else (-1, -b, -a)
    tail = lambda t: stats.norm.sf(t)  # noqa: E731
    uniform = (tail(side * drawn) - tail(high)) / (tail(low) - tail(high))
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("a", "b"), [(-1.2, 0.4), (-np.inf, np.inf), (0.3, np.inf), (-3.0, -2.5), (30.0, 31.0), (-np.inf, -9.0)]
)
def test_sums_of_many_draws_have_their_means_and_covariance(a, b):
    generator, many = rng(4), 20_000.0
    drawn = np.array([draw_sums(generator, a, b, many) for _ in range(4_000)])
    _, first, second = interval_moments(a, b)
    density = lambda t: np.exp(-(t**2) / 2 + max(a, -b, 0) ** 2 / 2)  # noqa: E731
    low, high = max(a, -10 if a < 0 and b > -8 else -12.0), min(b, 10.0 if a < 8 else 31.0)
    grid = np.linspace(low, high, 100_001)
    raised = [integrate.simpson(grid**p * density(grid), grid) for p in (0, 3, 4)]
    first, second, third, fourth = float(first), float(second), raised[1] / raised[0], raised[2] / raised[0]
    wanted = np.array([[second - first**2, third - first * second], [third - first * second, fourth - second**2]])
    sd = np.sqrt(np.diag(wanted) * many)
    assert (abs(drawn.mean(axis=0) - many * np.array([first, second])) < 5 * sd / np.sqrt(4_000)).all()
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(sd, sd), wanted * many / np.outer(sd, sd), atol=0.12)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_sums_and_densities_are_those_row_by_row(kind, d, labelled):
    lower, upper = ends(kind, d)
    generator = rng(3)
    weights, means, sd = a_mixture(3, d, generator)
    counts, labels = generator.uniform(0.1, 3, len(lower)), generator.integers(-1, 3, len(lower))
    known = {"weight": counts, "labels": labels} if labelled else {}
    if not labelled:
        counts, labels = np.ones(len(lower)), np.full(len(lower), -1)
    observed = Observations(lower=lower, upper=upper, missing="at_random", **known)
    joint, first, second = row_by_row(lower, upper, weights, means, sd)
    joint = np.where((labels[:, None] == np.arange(3)) | (labels[:, None] < 0), joint, -np.inf)
    log_density = np.logaddexp.reduce(joint, axis=1)
    r = np.exp(joint - log_density[:, None])
    np.testing.assert_allclose(observed.log_density(weights, means, sd), log_density, rtol=1e-10)
    as_matrices = observed.log_density(weights[None], means[None], (sd[:, :, None] * np.eye(d))[None])
    np.testing.assert_allclose(as_matrices[0], log_density, rtol=1e-10)
    np.testing.assert_allclose(observed.responsibilities(weights, means, sd), r, atol=1e-11)
    got, r = observed.sums(weights, means, sd), r * counts[:, None]
    wanted = counts @ log_density, r.sum(axis=0), np.einsum("ik,ikd->kd", r, first), np.einsum("ik,ikd->kd", r, second)
    for mine, exact in zip(got[:4], wanted, strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-10)


def test_the_probability_of_a_bin_is_an_integral():
    mixture = bg.Mixture([0.3, 0.7], [0.0, 2.0], sigma=[1.0, 0.4])
    found = mixture.log_density(Observations.binned([1, 1, 1, 1], [-np.inf, -1.0, 2.1, 2.2, np.inf]))
    density = lambda x: np.exp(mixture.log_density([x])[0])  # noqa: E731
    for (low, high), log_p in zip([(-10, -1), (-1, 2.1), (2.1, 2.2), (2.2, 10)], found, strict=True):
        assert log_p == pytest.approx(np.log(integrate.quad(density, low, high, epsabs=1e-13)[0]), abs=1e-8)


@pytest.mark.parametrize(("kind", "d", "covariance"), OF_STRUCTURES)
def test_density_and_gradient_are_those_of_the_pymc_model(kind, d, covariance):
    observed = seen(kind, d, n=12)
    assert_as_stated_by_pymc(observed, covariance)


@pytest.mark.parametrize(("kind", "d", "covariance"), OF_STRUCTURES)
def test_em_never_decreases_and_moves_with_the_data(kind, d, covariance):
    lower, upper = ends(kind, d, n=60)
    shift, scale = np.arange(1, d + 1) * 100.0, np.full(d, 7.0) if covariance == "spherical" else 10.0 ** np.arange(d)
    settings = {"covariance": covariance, "random_seed": 1, "tol": 1e-12, "max_iter": 20_000}
    one = bg.fit_em(Observations(lower=lower, upper=upper, missing="at_random"), 2, **settings)
    moved = Observations(lower=shift + scale * lower, upper=shift + scale * upper, missing="at_random")
    other = bg.fit_em(moved, 2, **settings)
    assert (np.diff(one.history) >= -1e-9 * abs(one.log_likelihood)).all()
    moved_back = other.mixture.rescaled(-shift / scale, 1 / scale)
    np.testing.assert_allclose(moved_back.mu, one.mixture.mu, atol=2e-3)
    np.testing.assert_allclose(moved_back.sd, one.mixture.sd, rtol=2e-3)
    volume = (lower == upper).sum(axis=0) @ np.log(scale)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - volume, abs=1e-6)


def test_em_of_a_histogram_is_the_maximum_of_its_likelihood():
    """The maximum is found by a general optimiser. Probabilities of bins are differences of SciPy's normal cdf."""
    counts, edges = np.histogram(values(1, n=500)[:, 0], np.arange(-6, 7))

    def minus_log_likelihood(point):
        w, mu, sd = 1 / (1 + np.exp(-point[0])), point[1:3], np.exp(point[3:])
        p = np.diff(stats.norm.cdf(edges[:, None], mu, sd), axis=0) @ [w, 1 - w]
        return -(counts @ np.log(np.maximum(p, 1e-300)))

    wanted = optimize.minimize(minus_log_likelihood, [0.0, -1.0, 1.0, 0.0, 0.0], tol=1e-10)
    found = bg.fit_em(Observations.binned(counts, edges), 2, random_seed=1, tol=1e-12, max_iter=10_000)
    assert found.log_likelihood == pytest.approx(-wanted.fun, abs=1e-6)
    order = np.argsort(wanted.x[1:3])
    np.testing.assert_allclose(found.mixture.means, wanted.x[1:3][order], atol=1e-3)
    np.testing.assert_allclose(found.mixture.sigma, np.exp(wanted.x[3:])[order], rtol=1e-3)


@pytest.mark.parametrize("covariance", ["diag", "spherical"])
def test_ends_that_are_one_and_intervals_that_are_everywhere(covariance):
    """An interval of width zero is an exact value; a very wide one is a gap; a very short one is a density."""
    x = values(3)
    assert repr(Observations(lower=x, upper=x)) == repr(Observations(x))
    gaps = np.where(rng(8).uniform(size=x.shape) < 0.2, np.nan, x)
    gaps[:, 1] = x[:, 1]
    missing = Observations(gaps, missing="at_random")
    nowhere = Observations(gaps, lower=np.full(x.shape, np.nan), missing="at_random")
    assert nowhere.known.lower is None
    wide = Observations(gaps, lower=np.where(np.isnan(gaps), -1e9, np.nan), upper=np.where(np.isnan(gaps), 1e9, np.nan))
    short = Observations(lower=x - 1e-6, upper=x + 1e-6)
    prior = prior_of("hierarchical, all given", covariance, 3)
    point = None
    for one, other, offset, digits in ((wide, missing, 0.0, 1e-10), (short, Observations(x), x.size * np.log(2e-6), 1e-8)):
        densities = [LogPosterior(each, 2, prior.scaled_to(x, covariance), covariance) for each in (one, other)]
        point = rng(9).normal(size=densities[0].n_dim) / 2
        (value, slopes), (exact, exact_slopes) = (density(point) for density in densities)
        assert value - offset == pytest.approx(exact, rel=digits)
        np.testing.assert_allclose(slopes, exact_slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_weights_count_and_the_order_does_not_matter(kind, d):
    lower, upper = ends(kind, d)
    counts, generator = rng(1).integers(1, 4, len(lower)), rng(2)
    labels, order = generator.integers(-1, 2, len(lower)), generator.permutation(len(lower))

    def of(places, weight=None):
        bounds = {"lower": lower[places], "upper": upper[places]}
        return Observations(**bounds, missing="at_random", weight=weight, labels=labels[places])

    one = LogPosterior(of(order, counts[order]), 2, prior_of("conjugate, all given", "diag", d), "diag")
    other = LogPosterior(of(np.repeat(np.arange(len(lower)), counts)), 2, one.prior, "diag")
    point = generator.normal(size=one.n_dim)
    assert one(point)[0] == pytest.approx(other(point)[0], rel=1e-11)
    np.testing.assert_allclose(one(point)[1], other(point)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "d"), KINDS)
def test_rows_behind_have_their_mean_and_variance(kind, d):
    observed = seen(kind, d, n=6)
    weights, means, sd = a_mixture(2, d, rng(4))
    lower, upper = ends(kind, d, n=6)
    joint, first, second = row_by_row(lower, upper, weights, means, sd)
    r = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    mean = np.einsum("ik,ikd->id", r, means + first)
    square = np.einsum("ik,ikd->id", r, means**2 + 2 * means * first + second)
    for found, wanted in zip(observed.expected((weights, means, sd)), (mean, square), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
    drawn = np.array([observed.completed((weights, means, sd), generator) for generator in [rng(6)] for _ in range(4_000)])
    assert ((lower - 1e-12 <= drawn) & (drawn <= upper + 1e-12)).all()
    for each, wanted in ((drawn, mean), (drawn**2, square)):
        error = each.std(axis=0) / np.sqrt(len(each))
        assert (abs(each.mean(axis=0) - wanted) < 5 * error + 1e-9).all()


@pytest.mark.parametrize(("kind", "d"), [("bins", 1), ("all", 3)])
def test_a_tree_holds_what_is_known(kind, d, tmp_path):
    observed = seen(kind, d)
    settings = {"method": "gibbs", "draws": 20, "tune": 20, "thin": 1, "chains": 2, "random_seed": 1, "progressbar": False}
    tree = bg.fit(observed, 1, covariance="diag", **settings)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    read = Reading.of(xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf").load()).observations
    np.testing.assert_array_equal(read.x, observed.x)
    assert read.known.equals(observed.known)
    again = pickle.loads(pickle.dumps(observed))
    parameters = a_mixture(2, d, rng(1))
    np.testing.assert_array_equal(again.log_density(*parameters), observed.log_density(*parameters))


def test_a_tree_with_ends_that_do_not_fit_is_refused():
    settings = {"method": "gibbs", "draws": 20, "tune": 20, "thin": 1, "chains": 2, "random_seed": 1, "progressbar": False}
    tree = bg.fit(seen("bins", 1), 1, **settings)
    data = tree["observed_data"].to_dataset()
    for wrong in (data.drop_vars("upper"), data.assign(upper=data["upper"] - 2), data.assign(lower=data["lower"] + np.nan)):
        damaged = tree.copy()
        damaged["observed_data"] = xr.DataTree(wrong)
        with pytest.raises(ValueError, match="lower and upper in observed_data of tree must be ends of intervals around x"):
            bg.responsibilities(damaged)


def test_bins_and_limits_are_read_as_they_are_given():
    x = pd.Series(values(1, n=30)[:, 0], name="flux")
    bins = Observations.binned(*np.histogram(x, 5))
    assert bins.total == 30
    assert (bins.known.weight > 0).all()
    assert Observations.binned(*np.histogramdd(x.to_numpy(), 5)).known.equals(bins.known)
    several = Observations.binned(*np.histogramdd(values(2, n=50), (4, 3)))
    assert (several.total, several.n_features) == (50, 2)
    limited = Observations.censored(x, below=-1.0, above=np.full(30, 2.5))
    np.testing.assert_array_equal(np.isinf(limited.known.lower[:, 0]), x <= -1)
    np.testing.assert_array_equal(np.isinf(limited.known.upper[:, 0]), x >= 2.5)
    np.testing.assert_array_equal(limited.exact[:, 0], x.where((x > -1) & (x < 2.5)))
    assert limited.names == ("flux",)
    assert Observations.censored(x, below=-99.0).known.lower is None


WRONG = [
    (lambda: Observations(), "x must be given, unless lower or upper is"),
    (
        lambda: Observations(lower=[1.0, 3.0], upper=[2.0, 2.5]),
        "lower must not be above upper, got 1 of 2 wrong, the first in row 1",
    ),
    (lambda: Observations(lower=[1.0, 2.0], upper=[2.0]), r"upper must have shape \(2,\) like lower, got \(1,\)"),
    (lambda: Observations(lower=[np.inf], upper=[np.inf]), "lower must be below infinity"),
    (lambda: Observations([1.0], lower=[0.0], upper=[2.0]), "x must be NaN where an interval is given"),
    (lambda: Observations([5.0], lower=[0.0], upper=[2.0]), "x must lie between lower and upper"),
    (
        lambda: Observations(lower=[0.0, -np.inf], upper=[1.0, np.inf]),
        "lower and upper must give an interval for every unknown value, got 1 row",
    ),
    (lambda: Observations(lower=[0.0], upper=[1.0], error=[0.1]), "error must not be given beside lower and upper"),
    (lambda: Observations.binned([1, -2], [0, 1, 2]), "counts must be finite and not negative .* may be fractional"),
    (lambda: Observations.binned([1, 2], [0, 1]), "edges must hold one number more than the 2 bins of counts"),
    (lambda: Observations.binned([1, 2], [0, 1, 1]), "edges must increase, got 1 before 1 at position 1"),
    (lambda: Observations.binned([[1, 2]], [0, 1, 2]), "edges must hold one array of edges for each of the 2 features"),
    (lambda: Observations.binned([], [0]), "counts must have a number for each bin"),
    (lambda: Observations.binned([0, 0], [0, 1, 2]), "weight must hold at least one positive weight"),
    (lambda: Observations.censored([1.0, 2.0], below=[1.0]), r"below must be a number, or of shape \(2,\)"),
    (lambda: Observations.censored([1.0, 2.0], 3.0, 3.0), "below must be less than above"),
    (lambda: Observations.censored([1.0, 2.0], np.nan), "below must hold numbers, got NaN"),
    (lambda: bg.fit_em(seen("bins", 2), 2), "x must have no intervals where features are correlated"),
    (
        lambda: bg.build_model(seen("bins", 2), 2, covariance="tied"),
        "x must have no intervals where features are correlated",
    ),
    (
        lambda: bg.Mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]]).log_density(seen("bins", 2)),
        "x must have no intervals where features are correlated",
    ),
    (
        lambda: bg.fit_em(Observations(lower=[0.0] * 9, upper=[1.0] * 9), 1),
        "x must not lie in intervals that all overlap",
    ),
    (
        lambda: bg.fit_em(Observations.censored(np.ones(9), above=1.0), 1),
        r"got 9 value\(s\) that may all be equal \(from 1 to inf\)",
    ),
    (
        lambda: Observations.censored([1.0, np.inf], below=0.0),
        "x must be finite; for a value beyond a limit, give the limit itself",
    ),
    (lambda: Observations.binned([3], [-np.inf, np.inf]), "lower and upper must give an interval for every unknown value"),
    (
        lambda: Observations(lower=pd.DataFrame({"a": [1.0], "b": [2.0]}), upper=pd.DataFrame({"b": [3.0], "a": [3.0]})),
        "upper must have its columns in the order of lower, a, b",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_bad_input_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        given()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "d", "covariance"), [("bins", 1, "full"), ("censored", 1, "tied"), ("all", 3, "diag")])
def test_nuts_and_gibbs_agree(kind, d, covariance):
    assert_nuts_and_gibbs_agree(seen(kind, d, n=60), covariance)


@pytest.mark.slow
def test_evidence_of_one_component_is_an_integral():
    observed = Observations.censored(values(1, n=15)[:, 0], -1.5, 2.0)

    def log_likelihood(mu, sd):
        total = np.zeros(mu.shape)
        for low, high in zip(observed.known.lower[:, 0], observed.known.upper[:, 0], strict=True):
            if low == high:
                total += stats.norm.logpdf(low, mu, sd)
            else:
                total += stats.norm.logcdf(high, mu, sd) if np.isinf(low) else stats.norm.logsf(low, mu, sd)
        return total

    assert_evidence_is_an_integral(observed, log_likelihood)


@pytest.mark.slow
def test_the_number_of_components_agrees_with_evidence():
    """The data are a single cluster in bins, for which one, two and three components are all plausible."""
    observed = Observations.binned(*np.histogram(rng(3).normal(size=40), np.arange(-4, 5)))
    assert_p_k_is_that_of_evidence(observed)


@pytest.mark.slow
def test_a_billion_events_in_bins_cost_as_many_rows_as_bins():
    edges = np.linspace(-10, 25, 201)
    p = np.diff(0.3 * stats.norm.cdf(edges, 0, 2) + 0.7 * stats.norm.cdf(edges, 8, 3))
    observed = Observations.binned(np.round(1e9 * p), edges)
    tree = bg.fit(observed, 2, method="nuts", random_seed=1, progressbar=False)
    assert len(observed) < 201
    found = tree["posterior"].mean(("chain", "draw"))
    for name, wanted in (("w", [0.3, 0.7]), ("mu", [0.0, 8.0]), ("sigma", [2.0, 3.0])):
        np.testing.assert_allclose(found[name], wanted, atol=1e-3)
        assert (tree["posterior"][name].std(("chain", "draw")) < 1e-3).all()


def test_finished_fits_are_of_what_is_known(tmp_path):
    """The cache must not take the same numbers as weights, as errors and as intervals for the same data."""
    x, numbers = np.arange(1.0, 9.0), np.linspace(0.5, 1.0, 8)
    known = [
        Observations(x),
        Observations(x, weight=numbers),
        Observations(x, error=numbers),
        Observations(lower=x - numbers, upper=x + numbers),
        Observations(lower=x - 2 * numbers, upper=x + 2 * numbers),
    ]
    keys = [FitCache.of(tmp_path, each, {}, 1).key for each in [*known, Observations(x, error=numbers)]]
    assert len(set(keys)) == len(known)


@pytest.mark.parametrize("many", [None, 3, 20_000])
@pytest.mark.parametrize("kind", ["exact", "errors", "gaps", "bins"])
def test_allocations_have_the_expected_sums(kind, many):
    """Counts and first and second moments of allocated rows, with copies of each row, against their expectations."""
    if kind == "gaps" and many == 20_000:
        many = 30  # copies with gaps are drawn one by one
    d, generator = 2 if kind == "gaps" else 1, rng(11)
    x = 5 + generator.normal(size=(60, d))
    known = {"weight": None if many is None else np.full(60, float(many)), "missing": "at_random"}
    rows = {
        "exact": lambda: Observations(x, **known),
        "errors": lambda: Observations(x, error=np.full(x.shape, 0.4), **known),
        "gaps": lambda: Observations(np.where((np.arange(60)[:, None] + [0, 30]) % 5 == 0, [np.nan, x[0, 1]], x), **known),
        "bins": lambda: Observations(lower=np.floor(x), upper=np.floor(x) + 1, **known),
    }[kind]()
    means, sd = 5 + np.array([[-0.5], [0.5]]) * np.ones(d), np.array([[0.8], [1.2]]) * np.ones(d)
    wanted, times = rows.sums(np.array([0.3, 0.7]), means, sd), 400
    counts, first, second = np.empty((times, 2)), np.empty((times, 2, d)), np.empty((times, 2, d, d))
    factors = (1 / sd)[:, :, None] * np.eye(d)
    observed = rows.rows(2).for_allocation()
    for t in range(times):
        allocate_at(generator, observed, np.log([0.3, 0.7]), means, factors, counts[t], first[t], second[t])
    squares = np.diagonal(second, axis1=2, axis2=3)
    for found, expected in ((counts, wanted.counts), (first, wanted.first), (squares, wanted.second)):
        error = found.std(axis=0) / np.sqrt(times)
        assert (abs(found.mean(axis=0) - expected) < 5 * error).all()
        assert (error < 0.02 * np.abs(wanted.second).max()).all()


@pytest.mark.parametrize(
    ("kind", "covariance"),
    [("errors", "full"), ("errors", "tied"), ("gaps", "full"), ("gaps", "diag"), ("bins", "full"), ("bins", "tied")],
)
@pytest.mark.slow
def test_gibbs_sees_the_data(kind, covariance):
    """With one component, mean and sd of the draws of mu are near the EM estimate and its standard error."""
    d = 2 if kind == "gaps" else 1
    x = 5 + rng(12).normal(size=(400, d))
    rows = {
        "errors": lambda: Observations(x, error=np.full(x.shape, 0.4)),
        "gaps": lambda: Observations(np.where(np.arange(400)[:, None] % 5 == [0, 1], np.nan, x), missing="at_random"),
        "bins": lambda: Observations(lower=np.floor(x), upper=np.floor(x) + 1),
    }[kind]()
    own = LogPosterior(rows, 1, prior_of("hierarchical", covariance, d).scaled_to(rows.x, covariance), covariance)
    best = bg.fit_em(rows, 1, covariance=covariance).mixture
    draws, state = np.empty((500, own.n_dim)), own.at(best)
    sweeps(own)(rng(13), state, 2, draws)
    found, error = own.means(draws)[:, 0], best.sd[0] / np.sqrt(400)
    assert (abs(found.mean(axis=0) - best.mu[0]) < error).all()
    assert (0.8 * error < found.std(axis=0)).all()
    assert (found.std(axis=0) < 1.6 * error).all()


@pytest.mark.parametrize("top", [20.0, 1e4, 1e9, 1e150])
def test_an_end_far_away_is_none(top):
    """An end far beyond the data acts like an infinite one. The prior's scale, EM's units and its starts do not change."""
    x = np.concatenate([rng(1).normal(-3, 1, 100), rng(2).normal(3, 1, 100)])
    lower, ends = np.where(x > 4, 4.0, x), [np.where(x > 4, each, x) for each in (np.inf, top)]
    one, other = (Observations(lower=lower, upper=upper) for upper in ends)
    np.testing.assert_allclose(other.x, one.x, rtol=1e-4)
    found = [bg.fit_em(each, 2, random_seed=1) for each in (one, other)]
    assert found[0].log_likelihood == pytest.approx(found[1].log_likelihood, abs=1e-4)
    np.testing.assert_allclose(found[0].mixture.means, [-3, 3], atol=0.3)


def test_the_prior_has_room_for_what_is_censored():
    """Of a thousand values all but about twenty are only known to be large."""
    x = rng(3).normal(10, 1, 1000)
    prior = bg.HierarchicalPrior().scaled_to(Observations.censored(x, above=8.0).x)
    whole = bg.HierarchicalPrior().scaled_to(x)
    assert abs(prior.b0 - 10) < 2 * np.sqrt(prior.B0)
    assert prior.B0 > whole.B0 / 4


@pytest.mark.slow
def test_ends_that_a_float_cannot_tell_apart_are_drawn():
    for a, b in ((1.0, 1.0), (1e160, np.inf), (-np.inf, -1e160), (1.0, np.nextafter(1.0, 2.0))):
        assert np.isfinite(draw_sums(rng(1), a, b, 2e4)).all()
    lower = np.array([1.0, 2.0, 3.0, 4.0])
    rows = Observations(lower=lower, upper=np.nextafter(lower, 9.0), weight=[2e4, 5e4, 5e4, 3e4])
    tree = bg.fit(rows, 1, method="gibbs", draws=200, random_seed=1, progressbar=False)
    assert float(tree["posterior"]["mu"].mean()) == pytest.approx(2.6, abs=0.01)


def test_bins_that_hold_many_are_not_swept_as_if_they_were_rows():
    edges = np.linspace(-3, 3, 31)
    assert Observations.binned(np.full(30, 1.0), edges).work < 10 * 30
    assert Observations.binned(np.full(30, 1e6), edges).work == Observations.binned(np.full(30, 1e9), edges).work > 1e5
