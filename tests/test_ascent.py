"""The quasi-Newton climb of EM: its gradient, where it ends, and how many passes over the data it takes."""

import numpy as np
import pytest
from scipy import optimize, stats

import bayesgmm as bg
from bayesgmm.data.observations import Observations
from bayesgmm.em import runs
from bayesgmm.em.ascent import FREEDOM, Chart, Climb, ascend
from bayesgmm.em.result import are_one
from bayesgmm.exceptions import ConvergenceWarning
from bayesgmm.model.structures import Structure
from tests.rows import rows
from tests.statistics import SEED, rng


def overlapping(n, means, seed=0):
    generator = rng(seed)
    return generator.choice(np.asarray(means, float), n) + generator.standard_normal(n)


def place(structure, k, generator, *, noise=False, nu=None):
    """Arbitrary parameters for standardised data."""
    d = structure.n_features
    spread = generator.standard_normal((k, d, d)) / 3 + np.eye(d)
    moments = spread @ spread.swapaxes(1, 2)
    weights = generator.dirichlet(np.full(k + noise, 5.0))
    moments = moments if structure.correlated else np.diagonal(moments, axis1=1, axis2=2)
    factors, _ = structure.factors(structure.pooled(moments, weights[:k] / weights[:k].sum()), 1e-12)
    parameters = weights, generator.standard_normal((k, d)), factors
    return parameters if nu is None else (*parameters, np.asarray(nu, float))


CASES = [
    *((covariance, d, {}) for covariance in ("full", "tied", "diag", "spherical") for d in (1, 3)),
    ("full", 2, {"noise": True}),
    ("full", 1, {"nu": [2.0, 9.0, 60.0]}),
    ("tied", 3, {"nu": [2.0, 9.0, 60.0]}),
    ("diag", 2, {"nu": [2.0, 9.0, 60.0], "noise": True}),
]


@pytest.mark.parametrize(("covariance", "d", "more"), CASES)
def test_slope_is_that_of_the_log_likelihood(covariance, d, more):
    """At the origin of the chart and elsewhere, by finite differences of the log-likelihood."""
    generator, structure, k = rng(d), Structure(covariance, d), 3
    x = generator.standard_normal((60, d))
    data = Observations.read(x)
    data = data.with_noise() if more.get("noise") else data
    units = data.units(one_unit=structure.one_unit)
    middle = place(structure, k, generator, **more)
    chart = Chart(structure, middle, data.sums(*middle, units=units))
    np.testing.assert_allclose(np.concatenate([p.ravel() for p in chart.parameters(np.zeros(chart.size))]),
                               np.concatenate([p.ravel() for p in middle]), rtol=1e-12)  # fmt: skip

    def height(at):
        return data.sums(*chart.parameters(at), units=units).log_likelihood

    for at in (np.zeros(chart.size), generator.standard_normal(chart.size)):
        there = chart.parameters(at)
        slope = chart.slope(there, data.sums(*there, units=units))
        wanted = optimize.approx_fprime(at, height, 1e-6)
        np.testing.assert_allclose(slope, wanted, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize(("kind", "d"), [("gaps", 3), ("errors", 1), ("gaps and covariances", 3)])
def test_slope_of_incomplete_rows(kind, d):
    x, error = rows(kind, d, n=60)
    data = Observations(x, error=error, missing="at_random")
    structure, generator = Structure("full", d), rng(1)
    units = data.units(one_unit=False)
    middle = place(structure, 2, generator)
    chart = Chart(structure, middle, data.sums(*middle, units=units))
    at = generator.standard_normal(chart.size)
    there = chart.parameters(at)
    slope = chart.slope(there, data.sums(*there, units=units))
    wanted = optimize.approx_fprime(at, lambda at: data.sums(*chart.parameters(at), units=units).log_likelihood, 1e-6)
    np.testing.assert_allclose(slope, wanted, atol=2e-5 * max(1, np.abs(wanted).max()))


def test_no_slope_where_a_bound_stands_in_the_way_of_nu():
    x = rng(0).uniform(-np.sqrt(3), np.sqrt(3), (500, 1))
    structure, data = Structure("full", 1), Observations.read(x)
    units = data.units(one_unit=False)
    for nu, still in ((FREEDOM[1], True), (FREEDOM[0], False)):  # uniform data have no tails, so nu would grow
        there = np.ones(1), np.zeros((1, 1)), np.ones((1, 1)), np.array([nu])
        sums = data.sums(*there, units=units)
        chart = Chart(structure, there, sums)
        assert (chart.slope(there, sums)[-1] == 0) == still


def maximum(x, start):
    """The maximum of the log-likelihood of two Gaussians, by SciPy's densities and a general optimiser."""

    def minus(at):
        weight = 1 / (1 + np.exp(-at[0]))
        parts = stats.norm.logpdf(x[:, None], at[1:3], np.exp(at[3:])) + np.log([weight, 1 - weight])
        return -np.logaddexp(*parts.T).sum()

    at = np.r_[np.log(start.weights[0] / start.weights[1]), start.means, np.log(start.sigma)]
    for _ in range(3):
        at = optimize.minimize(minus, at, method="BFGS", options={"gtol": 1e-7}).x
    return -minus(at)


@pytest.mark.parametrize("seed", range(4))
def test_reaches_the_maximum_where_clusters_overlap(seed):
    """Means are one sd apart. From a k-means++ start, plain EM took 2 757 iterations and stopped 0.18 below the maximum."""
    x = overlapping(10_000, [0.0, 1.0], seed)
    em = bg.fit_em(x, 2, random_seed=seed)
    assert em.converged
    assert em.log_likelihood == pytest.approx(maximum(x, em.mixture), abs=1e-3)
    assert np.mean([each.n_iter for each in em.restarts]) < 2_757 / 20


def test_ends_where_plain_em_ends(monkeypatch):
    """Plain EM is slow with a component too many. Climbs never lower the likelihood and end at the same optimum."""
    x, _, _ = bg.datasets.three_gaussians(n=2_000)
    with pytest.warns(ConvergenceWarning):
        start = bg.fit_em(x, 4, random_seed=SEED, n_init=1, max_iter=4, tol=1e-16).mixture
    fast = bg.fit_em(x, 4, start=start)
    monkeypatch.setattr(runs, "_STEPS", 10**9)
    slow = bg.fit_em(x, 4, start=start, max_iter=100_000)
    assert (np.diff(fast.history) >= 0).all()
    assert len(fast.history) == fast.n_iter + 1
    assert fast.converged
    assert slow.converged
    assert fast.n_iter < slow.n_iter / 20
    assert fast.log_likelihood == pytest.approx(slow.log_likelihood, abs=1e-3)
    assert are_one(fast.mixture, slow.mixture)


def test_what_is_promised_at_the_end_is_what_is_left():
    """A climb ends below the maximum by a few times its tolerance at most."""
    x = overlapping(2_000, [0.0, 1.5], 3)
    data = Observations.read(x)
    units = data.units(one_unit=False)
    start = np.array([0.5, 0.5]), np.array([[-0.5], [0.5]]), np.ones((2, 1))
    structure, heights = Structure("full", 1), []
    for tol in (1e-12, 1e-4, 1e-6):
        climb = Climb(data, units, start)
        while not ascend(climb, structure, tol=tol, max_iter=10_000, floor=1e-12):
            assert climb.passes < 10_000
        heights.append(climb.history[-1])
    assert heights[0] - heights[1] < 5e-4
    assert heights[0] - heights[2] < 5e-6


def test_a_curvature_that_cannot_be_is_forgotten():
    """Curvature pairs spoilt by rounding give a direction that leads down. It must not be taken for a maximum."""
    x = overlapping(2_000, [0.0, 3.0])
    data, structure = Observations.read(x), Structure("full", 1)
    units = data.units(one_unit=False)
    start = np.array([0.5, 0.5]), np.array([[-1.0], [0.5]]), np.ones((2, 1))
    chart = Chart(structure, start, data.sums(*start, units=units))
    slope = chart.slope(start, data.sums(*start, units=units))
    for spoilt in (-slope, np.full(chart.size, np.nan)):
        climb = Climb(data, units, start, [(slope, spoilt)] * 4)
        for _ in range(20):
            if ascend(climb, structure, tol=1e-6, max_iter=500, floor=1e-12):
                break
            climb.pairs = ()
        assert climb.history[-1] == pytest.approx(
            bg.fit_em(x, 2, random_seed=1).history[-1] + units.log_volume(2_000.0), abs=1e-4
        )


def test_gives_way_to_em_at_the_floor():
    """A climb stopped by a component at the variance floor reports that it is not at the maximum, and keeps its progress."""
    x = np.r_[rng(0).standard_normal(50), [3.0, 3.0 + 1e-9]]
    data = Observations.read(x)
    units = data.units(one_unit=False)
    start = (
        np.array([0.95, 0.05]),
        np.array([[0.0], [float(units.standardised(x[-1:, None]).item())]]),
        np.full((2, 1), 1e-3),
    )
    climb = Climb(data, units, start)
    assert not ascend(climb, Structure("full", 1), tol=1e-6, max_iter=500, floor=1e-6 * (1 - 1e-9))
    assert np.isfinite(climb.sums.log_likelihood)
    assert (np.diff(climb.history) >= 0).all()
