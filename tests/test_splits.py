"""Split-merge moves with a fixed number of components: their algebra, and that they leave the posterior invariant."""

import numpy as np
import pytest
from scipy import integrate, stats

from bayesgmm.engines.sweeps import moves_before_a_sweep, sweeps
from bayesgmm.kernels import split_merge as splits
from bayesgmm.kernels.prior import compiled_prior
from bayesgmm.kernels.rows import rows_of
from bayesgmm.posterior import log_posterior
from tests.families import KINDS
from tests.oracles.joint import draw_data, prior_points, small_posterior
from tests.statistics import assert_mean, assert_same_means, rng


def arguments(own):
    """Arguments of the compiled moves for a posterior of one feature."""
    return own.k, own.hierarchical, compiled_prior(own.hyper)


def random_components(generator, k=3):
    return np.stack([np.log(generator.dirichlet(np.ones(k))), generator.normal(size=k), generator.normal(size=k)])


def merged(components, a, b):
    whole, division = np.empty(3), np.empty(3)
    splits.merge(*components, a, b, whole, division)
    return whole, division


def test_a_sum_keeps_the_moments_and_its_division_gives_the_parts_back():
    for seed in range(20):
        components = random_components(rng(seed))
        w, mu, variances = np.exp(components[0]), components[1], np.exp(components[2])
        whole, division = merged(components, 2, 0)
        raw = [(w * m)[[0, 2]].sum() for m in (1, mu, mu**2 + variances)]
        total, mean, variance = np.exp(whole[0]), whole[1], np.exp(whole[2])
        np.testing.assert_allclose([total, total * mean, total * (mean**2 + variance)], raw)
        again = np.full((3, 3), np.nan)
        splits.split(whole, division, again, 2, 0)
        np.testing.assert_allclose(again[:, [0, 2]], components[:, [0, 2]], atol=1e-12)


@pytest.mark.parametrize("z", [-900.0, 900.0])
def test_a_part_next_to_nothing_is_within_reach(z):
    whole, components = np.array([-1.0, 0.5, 0.2]), np.empty((3, 2))
    splits.split(whole, np.array([z, 2.0, 1.0]), components, 0, 1)
    assert np.isfinite(components).all()
    np.testing.assert_allclose(merged(components, 0, 1)[1], [z, 2.0, 1.0])
    assert np.isfinite(splits.log_jacobian(whole, np.array([z, 2.0, 1.0])))
    assert np.isfinite(splits.log_proposal(np.array([z / 2, 2.0, 1.0]), 1e-300))


def test_parts_cannot_be_farther_apart_than_their_sum_is_wide():
    assert np.isnan(splits.log_jacobian(np.zeros(3), np.array([0.0, 2.1, 0.0])))
    assert np.isfinite(splits.log_jacobian(np.zeros(3), np.array([0.0, 1.9, 0.0])))


def test_the_jacobian_is_that_of_the_transformation():
    def parts(at):
        components = np.empty((3, 2))
        splits.split(np.array([np.log(at[0]), *at[1:3]]), at[3:], components, 0, 1)
        return np.concatenate([np.exp(components[0]), components[1], components[2]])

    for seed in range(10):
        whole, division = merged(random_components(rng(seed)), 0, 1)
        at = np.concatenate([[np.exp(whole[0])], whole[1:], division])
        columns = [(parts(at + step) - parts(at - step)) / 2e-6 for step in 1e-6 * np.eye(6)]
        assert splits.log_jacobian(whole, division) == pytest.approx(np.linalg.slogdet(np.array(columns))[1], abs=1e-6)


@pytest.mark.parametrize("visible", [0.01, 3.0, 5_000.0])
def test_divisions_are_proposed_with_the_density_that_is_said(visible):
    def density(z):  # density of (z, 0, 0), divided by that of delta = rho = 0 given z
        spread = splits._spread(z, visible)
        return np.exp(splits.log_proposal(np.array([z, 0.0, 0.0]), visible)) / (stats.t(4).pdf(0) / spread) ** 2

    farthest = 2 + np.log1p(visible)
    mass = [integrate.quad(density, *ends)[0] for ends in ((-60, -farthest), (-farthest, farthest), (farthest, 60))]
    assert sum(mass) == pytest.approx(1, abs=1e-6)
    drawn, generator = np.empty((20_000, 3)), rng(8)
    for each in drawn:
        splits.propose(generator, visible, each)
    assert_mean(abs(drawn[:, 0]) < farthest, mass[1], "within")
    half = integrate.quad(density, 0, farthest / 2)[0]
    assert_mean((drawn[:, 0] > 0) & (drawn[:, 0] < farthest / 2), half, "half way")
    scaled = drawn[:, 1:] / np.array([splits._spread(z, visible) for z in drawn[:, 0]])[:, None]
    for name, values in zip(("delta", "rho"), scaled.T, strict=True):
        assert stats.kstest(values, stats.t(4).cdf).pvalue > 1e-6, name
    one, other = (splits.log_proposal(np.array([0.3, *at]), visible) for at in ((0.5, -0.2), (0.0, 1.0)))
    t = stats.t(4, scale=splits._spread(0.3, visible)).logpdf
    assert one - other == pytest.approx(t([0.5, -0.2]).sum() - t([0.0, 1.0]).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_posteriors_without_C0(kind):
    own = small_posterior("full", 1, kind)
    k, hierarchical, prior = arguments(own)
    differences, nothing = [], np.empty(0)
    for point in prior_points(own, 5, rng(6)):
        values = own.constrained(point)
        log_w, mu, log_variances = np.log(values["w"]), values["mu"], np.log(values["sigma2"])
        mine = splits.log_density(
            own.rows.for_moves(), log_w, nothing, mu, log_variances, prior, hierarchical, np.empty(k), np.empty(k)
        )
        theirs = own(point)[0]
        if own.hierarchical:
            shape, pace = own.prior.g0 + k * own.prior.c0, own.prior.G0 + np.exp(-log_variances).sum()
            theirs -= stats.loggamma(shape).logpdf(point[own.places["C0"]][0] + np.log(pace))
        differences.append(theirs - log_w.sum() - mine)
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)


def after_moves(own, size, moves, move=splits.move):
    """Points from the prior after moves, given data drawn with them. If the moves are exact, the points follow the prior."""
    k, *others = arguments(own)
    generator = rng(9)
    points = prior_points(own, size, generator)
    for point in points:
        move(generator, rows_of(draw_data(own, point, generator), None, None).for_moves(), k, *others, moves, point)
    return points


def assert_follow_the_prior(own, points):
    independent = prior_points(own, 10 * len(points), rng(10))
    quantities = {}
    for which, each in (("moved", points), ("prior", independent)):
        values = own.constrained(each)
        w, mu, log_variances = values["w"], values["mu"], np.log(values["sigma2"])
        quantities[which] = {
            "smallest weight": np.log(w).min(axis=1),
            "largest weight": w.max(axis=1),
            "mean": (w * mu).sum(axis=1),
            "means' spread": mu.var(axis=1),
            "means, squared": (mu**2).sum(axis=1),
            "log variances": log_variances.sum(axis=1),
            "log variances' spread": log_variances.var(axis=1),
            "weighted log variance": (w * log_variances).sum(axis=1),
            "weighted distance": (w * (mu - own.prior.b0) ** 2).sum(axis=1),
        }
        if own.hierarchical:
            quantities[which]["C0"] = each[:, own.places["C0"]][:, 0]
    for name, moved in quantities["moved"].items():
        prior = quantities["prior"][name]
        errors = (values.std() / np.sqrt(len(values)) for values in (moved, prior))
        assert_same_means(moved.mean(), next(errors), prior.mean(), next(errors), name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [2, 3, 5])
def test_moves_leave_the_posterior_as_it_is(k, kind):
    own = small_posterior("full", 1, kind, k=k)
    points = after_moves(own, 20_000, 20)
    assert_follow_the_prior(own, points)


def test_moves_go_places():
    own = small_posterior("full", 1, "hierarchical", k=3, n=20)
    points = after_moves(own, 500, 20)
    assert np.mean((points[:, :2] != prior_points(own, 500, rng(9))[:, :2]).any(axis=1)) > 0.8


def test_how_many_moves():
    assert moves_before_a_sweep(small_posterior("full", 1, "conjugate", k=3, n=100)) == 2
    assert moves_before_a_sweep(small_posterior("full", 1, "conjugate", k=3, n=3_000)) == 9
    by_nodes = small_posterior("full", 1, "conjugate", k=3, n=10_000)
    assert moves_before_a_sweep(by_nodes) == 20 * 10_000 // len(by_nodes.observations.nodes.x)
    assert moves_before_a_sweep(small_posterior("full", 1, "conjugate", k=3, n=1_000_000)) == 600


def test_a_superfluous_component_is_now_a_part_of_one_now_of_another():
    """Three components for two Gaussians far apart: without moves, a chain is stuck for thousands of sweeps."""
    generator = rng(11)
    x = np.concatenate([generator.normal(-5, 1, 2_000), generator.normal(5, 1, 2_000)]) / 5
    own = small_posterior("full", 1, "conjugate", k=3)
    own = log_posterior(x[:, None], 3, own.prior, "full")
    start = own.unconstrained(
        {"w": np.array([0.25, 0.25, 0.5]), "mu": np.array([-1.0, -1.0, 1.0]), "sigma2": np.full(3, 0.04)}
    )
    draws = np.empty((600, own.n_dim))
    sweeps(own)(generator, start, 1, draws)
    left = own.means(draws)[..., 0] < 0
    shares = np.mean((left.sum(axis=1)[:, None] == [1, 2]), axis=0)
    assert shares.min() > 0.1, shares
