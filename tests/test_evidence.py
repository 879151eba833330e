"""The evidence against quadrature and all allocations of a few observations, and its parts against scipy."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln, logsumexp

import bayesgmm as bg
from bayesgmm.analysis import tree as trees
from bayesgmm.comparison.bridge import bridge
from bayesgmm.comparison.joint import log_joint
from bayesgmm.comparison.proposal import Proposal
from bayesgmm.kernels.permanents import log_permanent, log_permanent_by_blocks, room_for_blocks, subset_steps
from bayesgmm.posterior.log_posterior import LogPosterior
from tests.families import COVARIANCES, KINDS, STRUCTURES
from tests.oracles.joint import prior_points, small_posterior
from tests.oracles.marginal import (
    PAIRS,
    SHARED,
    SHARED_2,
    X,
    correlated_features,
    independent_features,
    log_given_covariances,
)
from tests.statistics import SEED, Z, assert_mean, rng

# with five observations or forty draws, convergence diagnostics fail
pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
]
MATRIX = np.array([[2.0, 0.6], [0.6, 1.0]])


def posterior_tree(x, k, prior, covariance="full", **options):
    return bg.fit(
        x,
        k,
        **{"method": "gibbs", "prior": prior, "covariance": covariance, "random_seed": SEED, "progressbar": False} | options,
    )


def test_the_brute_force_is_the_density_of_one_big_normal():
    x, sigma = PAIRS[:3], np.array([[0.7, 0.2], [0.2, 1.1]])
    covariance = np.kron(np.eye(3), sigma) + np.kron(np.ones((3, 3)), SHARED_2["B0"])
    exact = stats.multivariate_normal.logpdf(x.ravel(), np.tile(SHARED_2["b0"], 3), covariance)
    assert log_given_covariances(x, SHARED_2["b0"], SHARED_2["B0"], sigma) == pytest.approx(exact, rel=1e-12)


def assert_evidence(found, expected):
    z = (found.value - expected) / found.mcse
    assert found.mcse < 0.05, found
    assert abs(z) < Z, f"{found} against {expected:.5f} (z = {z:.1f}, seed {SEED})"


QUICK = [("hierarchical", "full", 2), ("conjugate", "tied", 2), ("conjugate", "full", 1)]
LATER = [
    ("hierarchical", "full", 1),
    ("conjugate", "full", 2),
    ("hierarchical", "tied", 2),
    *((kind, "full", 3) for kind in KINDS),
]


def one_feature(kind):
    return bg.HierarchicalPrior(**SHARED, g0=2.0, G0=1.5) if kind == "hierarchical" else bg.ConjugatePrior(**SHARED, C0=1.5)


@pytest.mark.parametrize(
    ("kind", "covariance", "k"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in LATER)]
)
def test_one_feature_against_all_allocations(kind, covariance, k):
    prior, x = one_feature(kind), X[: 4 if k == 3 else 5]
    exact = independent_features(x[:, None], k, prior, tied=covariance == "tied")
    assert_evidence(bg.log_evidence(posterior_tree(x, k, prior, covariance), random_seed=1), exact)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("covariance", ["diag", "spherical", "tied_diag", "tied_spherical"])
def test_independent_features_against_all_allocations(kind, covariance):
    scale = np.array([1.5, 0.7]) if covariance.endswith("diag") else 1.5
    prior = (
        bg.HierarchicalPrior(**SHARED_2, g0=2.0, G0=scale)
        if kind == "hierarchical"
        else bg.ConjugatePrior(**SHARED_2, C0=scale)
    )
    traits = {"tied": covariance.startswith("tied"), "spherical": covariance.endswith("spherical")}
    exact = independent_features(PAIRS, 2, prior, **traits)
    assert_evidence(bg.log_evidence(posterior_tree(PAIRS, 2, prior, covariance), random_seed=1), exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "covariance", "k"),
    [
        ("conjugate", "full", 1),
        ("hierarchical", "full", 1),
        ("conjugate", "full", 2),
        ("conjugate", "tied", 2),
        ("hierarchical", "tied", 2),
    ],
)
def test_correlated_features_against_all_allocations(kind, covariance, k):
    prior = (
        bg.HierarchicalPrior(**SHARED_2, g0=3.0, G0=MATRIX)
        if kind == "hierarchical"
        else bg.ConjugatePrior(**SHARED_2, C0=MATRIX)
    )
    exact = correlated_features(PAIRS, k, prior, tied=covariance == "tied")
    assert_evidence(bg.log_evidence(posterior_tree(PAIRS, k, prior, covariance), random_seed=1), exact)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "published"), [(2, -239.76), (3, -226.81)])
def test_the_published_values(galaxies, k, published):
    """Galaxies with one common variance; the values printed by Chib (1995) lack log K!."""
    prior = bg.ConjugatePrior(b0=20, B0=100, c0=3, C0=20)
    found = bg.log_evidence(posterior_tree(galaxies, k, prior, "tied"), random_seed=1)
    assert abs(found.value - published) < 0.01 + Z * found.mcse, found


@pytest.mark.slow
def test_controls_lost_constants_are_noticed(monkeypatch):
    prior = one_feature("conjugate")
    tree, exact = posterior_tree(X, 2, prior), independent_features(X[:, None], 2, prior)
    assert_evidence(bg.log_evidence(tree, random_seed=1), exact)
    whole, constants = Proposal.log_density, LogPosterior._log_constants
    for owner, name, spoilt in (
        (Proposal, "log_density", lambda self, points: whole(self, points) + gammaln(self.own.k + 1)),
        (LogPosterior, "_log_constants", lambda self: constants(self) - gammaln(self.k * self.prior.alpha)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, spoilt)
            found = bg.log_evidence(tree, random_seed=1)
        with pytest.raises(AssertionError, match="seed"):
            assert_evidence(found, exact)


@pytest.mark.parametrize(("covariance", "n_features"), [("full", 1), ("tied", 1), ("diag", 3), ("spherical", 3)])
def test_the_scale_is_integrated_out(covariance, n_features):
    """Against a grid over log C0 of the posterior with C0. If there are several scales, the others are held fixed."""
    own = small_posterior(covariance, n_features, "hierarchical")
    point, place = prior_points(own, 1, rng(1))[0], own.places["C0"]
    grid, others = np.linspace(-12, 8, 2_001), 0.0
    for at in range(place.start, place.stop):
        points = np.repeat(point[None], len(grid), axis=0)
        points[:, at] = grid
        # log of the integral over one scale, less the value at the point: the scales are independent given the rest
        others += logsumexp(own.values(points)) + np.log(grid[1] - grid[0]) - own(point)[0]
    found = log_joint(own, point[None], rng(2))[0]
    assert found == pytest.approx(own(point)[0] + others, rel=1e-9)
    assert log_joint(own, point[None], rng(3))[0] == pytest.approx(found, rel=1e-12)


def log_kernel(own, proposal, t, parts):
    """Log density of kernel t by SciPy at ordered components (w, mu, precisions), with the Jacobian of the coordinates."""
    w, mu, precisions = parts
    prior, d = own.prior, own.n_features
    counts, b0, B0 = proposal.counts[t], np.atleast_1d(prior.b0), np.atleast_2d(prior.B0)
    value = stats.dirichlet.logpdf(w / w.sum(), prior.alpha + counts) if len(w) > 1 else 0.0
    value += np.log(w).sum() + np.log(own.k)
    for j in range(len(proposal.shapes[t])):
        shape, rate, precision = proposal.shapes[t, j], proposal.rates[t, j], precisions[j]
        if rate.shape == (d, d) and d > 1:
            value += stats.wishart.logpdf(precision, 2 * shape, np.linalg.inv(2 * rate))
            diagonal = np.diag(np.linalg.cholesky(precision[::-1, ::-1]))[::-1]  # of F, F'F = P
            value += d * np.log(2) + (2 * np.arange(1, d + 1) * np.log(diagonal)).sum()
        else:
            for v, each in enumerate(rate):
                value += stats.gamma.logpdf(precision[v, v], shape, scale=1 / each) + np.log(precision[v, v])
    for j in range(own.k):
        own_precision = precisions[j if len(precisions) > 1 else 0]
        precision = np.linalg.inv(B0) + counts[j] * own_precision
        mean = np.linalg.solve(precision, np.linalg.solve(B0, b0) + counts[j] * own_precision @ proposal.means[t, j])
        value += stats.multivariate_normal.logpdf(mu[j], mean, np.linalg.inv(precision))
    return value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
def test_kernels_are_the_full_conditionals_over_all_relabellings(covariance, n_features, kind):
    own = small_posterior(covariance, n_features, kind)
    proposal = Proposal.at(own, prior_points(own, 4, rng(1)), rng(2))
    points = np.concatenate([proposal.draw(1, rng(3)), prior_points(own, 3, rng(4))])
    factors = own.spread.precision_factors(own.coordinates(points))
    precisions = factors.swapaxes(-1, -2) @ factors
    for s, found in enumerate(proposal.log_density(points)):
        w, mu = np.exp(own.log_weights(points))[s], own.means(points)[s]
        terms = []
        for order in map(list, permutations(range(own.k))):
            turned = precisions[s] if covariance.startswith("tied") else precisions[s][order]
            terms += [log_kernel(own, proposal, t, (w[order], mu[order], turned)) for t in range(4)]
        assert found == pytest.approx(logsumexp(terms) - np.log(4) - gammaln(own.k + 1), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
def test_what_is_drawn_has_the_density(covariance, n_features, kind):
    """E_q[h / q] = 1 for any density h. Here h is a narrow normal density, fitted to the draws."""
    own = small_posterior(covariance, n_features, kind, k=1)
    proposal = Proposal.at(own, prior_points(own, 20, rng(1)), rng(2))
    keep = np.delete(np.arange(own.n_dim), np.r_[own.places[own.spread.scale_name]] if own.hierarchical else [])
    points = proposal.draw(1_000, rng(3))
    h = stats.multivariate_normal(np.median(points[:, keep], axis=0), 0.2 * np.cov(points[:, keep].T))
    assert_mean(np.exp(h.logpdf(points[:, keep]) - proposal.log_density(points)), 1.0)


@pytest.mark.slow
def test_many_components_against_all_partitions():
    """With nine components, permanents are computed by blocks. Many components are without observations."""
    prior, x = one_feature("conjugate"), np.append(X, [-2.0, 0.7, 1.2, 3.1])
    few = [independent_features(X[:4, None], 3, prior, by_partitions=each) for each in (False, True)]
    assert few[0] == pytest.approx(few[1], rel=1e-12)
    exact = independent_features(x[:, None], 9, prior, by_partitions=True)
    assert_evidence(bg.log_evidence(posterior_tree(x, 9, prior), random_seed=1), exact)


@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("spread", [0.1, 10, 60, 3_000])
def test_permanents_by_blocks_are_those_of_the_whole(k, spread):
    for seed in range(20):
        log_f = rng(seed).normal(0, spread, (k, k))
        log_f[0] += rng(seed).choice([0.0, -1e6])
        if k > 4:  # clusters without observations
            log_f[:, 3] = log_f[:, 1] = log_f[:, 0]
        exact = log_permanent(log_f, -np.inf, subset_steps(k), np.empty(k * k), np.empty(1 << k))
        scratch = room_for_blocks(k), np.empty(1 << k)
        assert log_permanent_by_blocks(log_f, -np.inf, *scratch) == pytest.approx(exact, rel=1e-12, abs=1e-8)
        assert log_permanent_by_blocks(log_f, exact - 1, *scratch) == pytest.approx(exact, rel=1e-12, abs=1e-8)
        assert log_permanent_by_blocks(log_f, exact + k * np.log(k + 1), *scratch) == -np.inf


def test_a_permanent_of_twenty_components_in_two_blocks():
    """First with rows and columns in random order. Then with a single block, because all clusters have the same density."""
    generator, k = rng(3), 20
    blocks = generator.normal(0, 2, (2, 10, 10))
    log_f = np.full((k, k), -500.0)
    log_f[:10, :10], log_f[10:, 10:] = blocks
    scratch = subset_steps(10), np.empty(100), np.empty(1 << 10)
    exact = sum(log_permanent(each, -np.inf, *scratch) for each in blocks)
    mixed = log_f[generator.permutation(k)][:, generator.permutation(k)] + generator.normal(0, 100, (k, 1))
    shift = np.median(mixed, axis=1).sum() - np.median(log_f, axis=1).sum()
    room = room_for_blocks(k), np.empty(1 << k)
    assert log_permanent_by_blocks(mixed, -np.inf, *room) - shift == pytest.approx(exact, abs=1e-8)
    alike = np.repeat(generator.normal(size=(k, 1)), k, axis=1)
    exact = alike[:, 0].sum() + np.log(np.arange(1, k + 1)).sum()
    assert log_permanent_by_blocks(alike, -np.inf, *room) == pytest.approx(exact, rel=1e-12)


def test_a_permanent_by_blocks_of_labelled_components():
    """Components that no relabelling may exchange are in different blocks. A cluster that fits no component gives zero."""
    log_f = np.full((4, 4), -np.inf)
    log_f[:2, :2], log_f[2:, 2:] = [[0.0, 1.0], [2.0, 0.5]], [[-1.0, 0.0], [0.0, 3.0]]
    scratch = room_for_blocks(4), np.empty(16)
    exact = logsumexp([0.5, 3.0]) + logsumexp([2.0, 0.0])
    assert log_permanent_by_blocks(log_f, -np.inf, *scratch) == pytest.approx(exact, rel=1e-12)
    log_f[:, 1] = -np.inf
    assert log_permanent_by_blocks(log_f, -np.inf, *scratch) == -np.inf


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("spread", [0.1, 10, 3_000])
def test_permanents_against_the_sum_over_permutations(k, spread):
    for seed in range(20):
        log_f = rng(seed).normal(0, spread, (k, k))
        log_f[0] += rng(seed).choice([0.0, -1e6])  # a row of another scale
        exact = logsumexp([log_f[np.arange(k), order].sum() for order in map(list, permutations(range(k)))])
        scratch = subset_steps(k), np.empty(k * k), np.empty(1 << k)
        assert log_permanent(log_f, -np.inf, *scratch) == pytest.approx(exact, rel=1e-12)
        assert log_permanent(log_f, exact - 1, *scratch) == pytest.approx(exact, rel=1e-12)
        assert log_permanent(log_f, exact + k * np.log(k) + 2e3 * spread * k, *scratch) == -np.inf


def test_a_permanent_far_below_its_rows_largest_entries():
    log_f = np.array([[0.0, -1e3, -5e3], [0.0, -3e3, -2e3], [0.0, -2e3, -4e3]])
    exact = logsumexp([log_f[np.arange(3), order].sum() for order in map(list, permutations(range(3)))])
    assert log_permanent(log_f, -np.inf, subset_steps(3), np.empty(9), np.empty(8)) == pytest.approx(exact, rel=1e-14)


def test_the_bridge_knows_a_normalising_constant_and_its_own_error():
    z = []
    for seed in range(200):
        generator = rng(seed)
        p, q = generator.normal(0, 1, (4, 100)), generator.normal(0.7, 1.4, (1, 300))
        ratios = [stats.norm.logpdf(each) + 7.0 - stats.norm.logpdf(each, 0.7, 1.4) for each in (p, q)]
        found = bridge(*ratios, stratified=True)
        z.append((found.log_ratio - 7.0) / np.sqrt(found.variance))
        assert 0.5 < found.overlap < 1.0
    assert_mean(z, 0.0)
    assert_mean(np.square(z), 1.0)


def test_the_labels_do_not_matter_at_all(galaxies):
    tree = posterior_tree(galaxies, 3, None, draws=100, chains=2)
    order = rng(1).permuted(np.broadcast_to(np.arange(3), (2, 100, 3)), axis=2)
    one, other = (bg.log_evidence(each, random_seed=1) for each in (tree, trees.permute(tree, order)))
    assert one == other
    assert bg.log_evidence(tree, random_seed=2) != one
    assert one.mcse < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_another_unit_lowers_it_by_its_logarithm(faithful, galaxies, covariance):
    for x, shift, scale in (
        (galaxies, 64.0, 8.0),
        (faithful, np.array([4.0, -32.0]), np.array([4.0, 4.0] if covariance.endswith("spherical") else [2.0, 16.0])),
    ):
        tree = posterior_tree(x, 2, None, covariance, draws=60, chains=2, tune=50, thin=2)
        moved = tree.copy()
        posterior, observed = tree["posterior"].to_dataset(), tree["observed_data"].to_dataset()
        spread = (
            {"sigma": posterior["sigma"] * scale}
            if "sigma" in posterior
            else {"cov": posterior["cov"] * np.outer(scale, scale)}
        )
        moved["posterior"] = trees.xr.DataTree(posterior.assign(mu=posterior["mu"] * scale + shift, **spread))
        moved["observed_data"] = trees.xr.DataTree(observed.assign(x=observed["x"] * scale + shift))
        prior = bg.HierarchicalPrior().scaled_to(np.asarray(observed["x"]), covariance)
        moved.attrs["prior"] = prior.rescaled(-shift / scale, 1 / scale).to_json()
        one, other = (bg.log_evidence(each, random_seed=1) for each in (tree, moved))
        expected = one.value - len(x) * np.log(scale * np.ones(np.shape(observed["x"])[1:])).sum()
        assert other.value == pytest.approx(expected, abs=1e-6)
        assert other.mcse == pytest.approx(one.mcse, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_component_one_chain_few_draws_by_either_engine(faithful, covariance):
    for x in (faithful, faithful["waiting"]):
        by_nuts, by_gibbs = (
            bg.log_evidence(
                posterior_tree(x, 1, None, covariance, method=method, chains=1, draws=60, tune=200), random_seed=1
            )
            for method in ("nuts", "gibbs")
        )
        assert max(by_nuts.mcse, by_gibbs.mcse) < 0.2
        assert abs(by_nuts.value - by_gibbs.value) < Z * np.hypot(by_nuts.mcse, by_gibbs.mcse)


def test_it_prints_as_a_line(galaxies):
    tree = posterior_tree(galaxies, 1, None)
    found = bg.log_evidence(tree, random_seed=1)
    assert repr(found).startswith(f"log evidence {found.value:.3f} +- {found.mcse:.2g} (effective sample size")
    more = bg.log_evidence(tree, random_seed=1, effort=4)
    assert more.ess > found.ess


def test_bad_input_gets_a_sentence(galaxies):
    tree = posterior_tree(galaxies, 2, None, draws=40, chains=1, tune=10, thin=1)
    bg.log_evidence(tree, random_seed=1)
    with pytest.raises(TypeError, match="tree must be the DataTree that fit returns, got ndarray"):
        bg.log_evidence(galaxies.to_numpy())
    with pytest.raises(ValueError, match="tree must have at least 40 draws in each chain, got 39; fit with more draws"):
        bg.log_evidence(tree.isel(draw=slice(1, None)))
    with pytest.raises(ValueError, match="tree must have a group observed_data with x; pass what fit returned"):
        bg.log_evidence(tree.drop_nodes("observed_data"))
    with pytest.raises(ValueError, match="effort must be a positive finite number, got 0"):
        bg.log_evidence(tree, effort=0)
    for change, sentence in (
        ({"method": "advi"}, "tree must have a group approximation for method 'advi' and for no other, got method 'advi'"),
        (
            {"prior": "custom model"},
            "whose normalising constants are known, got a custom model; fit again with prior= in place of model=",
        ),
        ({"k": 3}, "tree must hold all of its 3 clusters, got 2; pass what fit returned"),
    ):
        other = tree.copy()
        other.attrs |= change
        with pytest.raises(ValueError, match=sentence):
            bg.log_evidence(other)
    other = tree.copy()
    other.attrs |= {"method": "advi"}
    other["approximation"] = xr.DataTree()
    with pytest.raises(
        ValueError, match="from the posterior itself, got those of method='advi'; fit again with method='nuts'"
    ):
        bg.log_evidence(other)
    other = tree.copy()
    del other.attrs["prior"]
    with pytest.raises(ValueError, match="tree must have an attribute prior, got none; pass what fit returned"):
        bg.log_evidence(other)


@settings(deadline=None)
@given(
    exponents=st.lists(st.floats(0, 300), min_size=2, max_size=2),
    seed=st.integers(0, 10_000),
    zero=st.floats(0, 0.9),
    stratified=st.booleans(),
)
def test_the_bridge_stands_whatever_the_ratios(exponents, seed, zero, stratified):
    """Log ratios of a collapsed posterior may be as large as floats allow. The root lies within 50 of their range."""
    generator = np.random.default_rng(seed)
    of_p, of_q = (generator.normal(size=(2, 20)) * 10.0**exponent for exponent in exponents)
    of_q[generator.random(of_q.shape) < zero] = -np.inf
    of_q[0, 0] = 0.0
    found = bridge(of_p, of_q, stratified=stratified)
    both = np.concatenate([of_p.ravel(), of_q[np.isfinite(of_q)]])
    assert both.min() - 50 <= found.log_ratio <= both.max() + 50
    assert found.variance >= 0
    assert 0 <= found.overlap <= 1


@pytest.mark.parametrize(
    ("of_p", "of_q", "sentence"),
    [
        (np.inf, 0.0, "densities within the range of a float, got 1 of 20 points where they are not"),
        (-np.inf, 0.0, "densities within the range of a float, got 1 of 20 points where they are not"),
        (np.nan, 0.0, "densities within the range of a float, got 1 of 20 points where they are not"),
        (0.0, np.nan, "densities within the range of a float, got 10 of 20 points where they are not"),
        (0.0, -np.inf, "a proposal that overlaps the posterior, got one with no point where"),
    ],
)
def test_the_bridge_refuses_ratios_that_say_nothing(of_p, of_q, sentence):
    seen = np.zeros((2, 5))
    seen[0, 0] = of_p
    with pytest.raises(ValueError, match=sentence):
        bridge(seen, np.full((2, 5), of_q))
