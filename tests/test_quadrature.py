"""Quadrature nodes give the same sums, density and gradient as all values. For narrow components all values are used."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.data.by_cores import by_cores
from bayesgmm.data.observations import Observations
from bayesgmm.engines.sweeps import moves_before_a_sweep
from bayesgmm.kernels.blocks import ROOT_HALF
from bayesgmm.kernels.quadrature import nodes_of
from bayesgmm.model.priors import HierarchicalPrior
from bayesgmm.posterior import LogPosterior
from tests.statistics import rng

N = 20_000
WEIGHTS, MEANS = np.array([0.3, 0.6, 0.1]), np.array([[-1.5], [0.4], [3.0]])


def values(kind):
    generator = rng(1)
    x = np.where(generator.random(N) < 0.3, generator.normal(-1.5, 0.5, N), generator.normal(0.4, 1.0, N))
    if kind == "rounded":
        return np.round(x, 1)
    if kind == "a stray":
        return np.append(x[1:], 1e4)
    if kind == "heavy tails":
        return generator.standard_t(2, N)
    if kind == "far away":
        return 1e9 + x
    return x


KINDS = ["as they are", "rounded", "a stray", "heavy tails", "far away"]


def narrowest(nodes):
    return ROOT_HALF / nodes.widest[0]


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_have_the_moments_of_the_values(kind):
    x = values(kind)
    nodes = nodes_of(x)
    assert len(nodes.x) < N / 4
    assert nodes.weight.sum() == pytest.approx(N, rel=1e-12)
    middle, unit = np.median(x), np.ptp(np.quantile(x, [0.01, 0.99]))
    for power in range(1, 6):
        of_values, of_nodes = ((x - middle) / unit) ** power, nodes.weight * ((nodes.x - middle) / unit) ** power
        assert of_nodes.sum() == pytest.approx(of_values.sum(), abs=1e-7 * abs(of_values).sum())


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("wide", [1.001, 2.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_nodes_are_those_over_all_values(kind, wide, noise):
    """The narrowest component is as narrow as nodes allow, or wider. Values are also standardised during the summation."""
    rows = Observations(values(kind)).with_noise(noise)
    least = narrowest(rows.nodes)
    centre = 1e9 if kind == "far away" else 0.0
    weights = np.append(0.9 * WEIGHTS, 0.1) if noise else WEIGHTS
    for units in (None, rows.units(one_unit=False)):
        shift, scale = (0.0, 1.0) if units is None else (units.shift, units.scale[0])
        means, sd = (MEANS + centre - shift) / scale, np.array([wide * least, max(1.0, wide * least), 2.0]) / scale
        given = weights, means, sd[:, None, None]
        exact, by_nodes = (rows.sums(*given, units=units, by_nodes=each) for each in (False, True))
        tolerance = 1e-6 if kind == "far away" else 1e-9  # values near 1e9 have no more digits
        assert by_nodes.log_likelihood == pytest.approx(exact.log_likelihood, rel=tolerance)
        np.testing.assert_allclose(by_nodes.counts, exact.counts, rtol=tolerance, atol=1e-9 * N)
        np.testing.assert_allclose(by_nodes.first, exact.first, rtol=tolerance, atol=1e-8 * N)
        np.testing.assert_allclose(by_nodes.second, exact.second, rtol=tolerance, atol=1e-8 * N)


def test_a_narrow_component_has_all_values_looked_at():
    rows = Observations(values("as they are"))
    sd = np.array([0.999 * narrowest(rows.nodes), 1.0, 2.0])[:, None, None]
    exact, by_nodes = (rows.sums(WEIGHTS, MEANS, sd, by_nodes=each) for each in (False, True))
    assert by_nodes.log_likelihood == exact.log_likelihood
    wrong = Observations(rows.nodes.x, weight=rows.nodes.weight).sums(WEIGHTS, MEANS, 0.05 * sd)
    assert abs(wrong.log_likelihood - rows.sums(WEIGHTS, MEANS, 0.05 * sd).log_likelihood) > 1e-3  # nodes would be wrong


def test_few_values_and_others_than_plain_ones_have_none():
    x = values("as they are")
    assert nodes_of(x[:1000]) is None
    assert nodes_of(np.concatenate([np.zeros(N), [1.0]])) is None
    generator = rng(0)
    weight, labels = generator.uniform(1, 2, N), np.full(N, -1)
    for rows in (
        Observations(x, weight=weight),
        Observations(x, labels=labels),
        Observations(x, error=np.full(N, 0.1)),
        Observations(np.column_stack([x, x])),
        Observations(x).with_noise(generator.normal(size=N)),
    ):
        assert rows.nodes is None


def test_the_posterior_and_its_gradient_are_those_of_all_values():
    x = values("as they are")
    rows = Observations.made((x - x.mean())[:, None] / x.std())
    prior = HierarchicalPrior().scaled_to(rows.x)
    by_nodes, by_values = (LogPosterior(Observations.made(rows.x), 3, prior, "full") for _ in range(2))
    by_values.observations.__dict__["nodes"] = None
    generator = rng(3)
    for _ in range(20):
        point = generator.normal(0, 0.7, by_nodes.n_dim)
        (value, slopes), (expected, of_values) = by_nodes(point), by_values(point)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(slopes, of_values, rtol=1e-8, atol=1e-6)


def test_standardised_values_have_the_same_nodes():
    """Existing nodes are standardised with the values; none are made in advance."""
    rows = Observations(values("as they are"))
    units, made_anew = rows.units(one_unit=False), Observations(values("as they are"))
    nodes = rows.nodes
    moved = rows.standardised(units).__dict__["nodes"]
    np.testing.assert_allclose(moved.x, (nodes.x - units.shift) / units.scale)
    assert narrowest(moved) == pytest.approx(narrowest(nodes) / units.scale[0])
    assert "nodes" not in made_anew.standardised(units).__dict__
    np.testing.assert_allclose(made_anew.standardised(units).nodes.x, moved.x, atol=1e-6)


def test_em_ends_where_it_would_with_all_values(monkeypatch):
    x = values("as they are")
    by_nodes = bg.fit_em(x, 3, random_seed=1)
    monkeypatch.setattr("bayesgmm.em.fitting.by_cores", lambda source, k: source)
    by_values = bg.fit_em(x, 3, random_seed=1)
    assert by_nodes.log_likelihood == pytest.approx(by_values.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(by_nodes.mixture.means, by_values.mixture.means, atol=1e-3)
    assert by_cores(Observations(x), 3) is not None


def test_there_are_more_moves_where_they_cost_less():
    prior = HierarchicalPrior().scaled_to(values("as they are"))
    many, few = (LogPosterior(Observations(values("as they are")[:n]), 3, prior, "full") for n in (N, 2_000))
    assert moves_before_a_sweep(many) > 10 * moves_before_a_sweep(few)
