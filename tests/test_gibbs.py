"""Gibbs: sweeps leave the joint distribution of parameters and data invariant; fits and their trees."""

import arviz as az
import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats

import bayesgmm as bg
from bayesgmm.engines.gibbs import burn_in_sweeps, sweeps_between_draws
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.exceptions import ConvergenceWarning
from bayesgmm.posterior import log_posterior
from tests.families import COVARIANCES, STRUCTURES
from tests.oracles.joint import draw_data, prior_points, small_posterior
from tests.statistics import SEED, assert_counts, assert_same_means, rng


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "of_each"),
    [("hierarchical", False), ("conjugate", False), ("conjugate", True)],
    ids=["hierarchical", "conjugate", "of each"],
)
@pytest.mark.parametrize(("covariance", "n_features"), STRUCTURES)
def test_parameters_and_data_drawn_in_turn_follow_the_prior(covariance, n_features, kind, of_each):
    assert_sweeps_leave_the_prior(small_posterior(covariance, n_features, kind, of_each=of_each))


@pytest.mark.slow
@pytest.mark.parametrize(("covariance", "n_features"), [("full", 1), ("full", 3)])
def test_the_same_with_a_scale_that_is_learnt_from_components_with_their_own_priors(covariance, n_features):
    assert_sweeps_leave_the_prior(small_posterior(covariance, n_features, "hierarchical", of_each=True))


@pytest.mark.slow
def test_control_the_prior_of_another_component_is_noticed():
    own = small_posterior("full", 1, "conjugate", of_each=True)
    names = ("alpha", "b0", "B0", "c0", "C0")
    other = bg.ConjugatePrior(**{name: np.roll(getattr(own.prior, name), 1) for name in names})
    with pytest.raises(AssertionError):
        assert_sweeps_leave_the_prior(own, log_posterior(own.x, own.k, other, "full"))


def assert_sweeps_leave_the_prior(own, swept=None):
    """The test of Geweke (2004, doi:10.1198/016214504000001132).

    Sweeps given data alternate with data given parameters. The parameters must then follow the prior. A control sweeps
    another posterior.
    """
    swept = own if swept is None else swept
    run, generator, length = sweeps(swept), rng(2), 15_000
    state = prior_points(own, 1, generator)[0]
    draws = np.empty((length, own.n_dim))
    x = swept.x  # the sweeps read this array
    for s in range(length):
        x[:] = draw_data(own, state, generator)
        run(generator, state, 1, draws[s : s + 1])
    independent = prior_points(own, length, rng(3))
    pairs = [(i, j) for i in range(own.n_dim) for j in (i, i + 1, i + own.n_features) if j < own.n_dim]
    for name, of in [*((str(i), (i,)) for i in range(own.n_dim)), *((f"{i} x {j}", (i, j)) for i, j in pairs)]:
        one, other = (np.prod(points[:, list(of)], axis=1) for points in (draws, independent))
        mean, error = other.mean(), other.std() / np.sqrt(length)
        assert_same_means(one.mean(), float(array_stats.mcse(one[None])), mean, error, name)


def test_components_come_in_every_order_equally_often():
    own = small_posterior("full", 1, "conjugate", k=3)
    draws = np.empty((6_000, own.n_dim))
    sweeps(own)(rng(4), own.unconstrained(own.constrained(np.zeros(own.n_dim))), 1, draws)
    order = np.argsort(draws[:, own.places["mu"]], axis=1)
    _, counts = np.unique(order @ [9, 3, 1], return_counts=True)
    assert_counts(counts, np.full(6, 1 / 6), "orders")


def gibbs(x, k=2, **options):
    return bg.fit(x, k, **{"method": "gibbs", "random_seed": SEED, "progressbar": False} | options)


@pytest.fixture(scope="module")
def tree(galaxies):
    return gibbs(galaxies, 3)


def test_the_galaxies(tree, nuts_tree):
    assert bg.diagnose(tree).ok, bg.diagnose(tree)
    assert (tree.attrs["method"], tree.attrs["tune"], tree.attrs["thin"]) == ("gibbs", 1000, 50)
    assert set(tree["sample_stats"].data_vars) == {"lp", "permutation"}
    assert {str(v) for v in tree["posterior"].data_vars} == {str(v) for v in nuts_tree["posterior"].data_vars}
    assert float(az.rhat(tree, var_names=["mu"])["mu"].max()) < 1.01


def test_raw_labels_are_exchangeable(tree):
    posterior = bg.raw_order(tree)["posterior"].to_dataset()
    means = posterior["mu"].mean(("chain", "draw")).values
    assert np.ptp(means) < 1.0  # of clusters at 10, 21 and 33
    assert stats.chisquare(np.bincount(posterior["mu"].argmin("cluster").values.ravel())).pvalue > 1e-6


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
def test_a_seed_repeats_the_run(galaxies):
    one, two = (gibbs(galaxies, 3, draws=20, chains=2, tune=10) for _ in range(2))
    np.testing.assert_array_equal(one["posterior"]["mu"], two["posterior"]["mu"])
    other = gibbs(galaxies, 3, draws=20, chains=2, tune=10, random_seed=SEED + 1)
    assert (one["posterior"]["mu"] != other["posterior"]["mu"]).any()
    assert (one["posterior"]["mu"][0] != one["posterior"]["mu"][1]).any()


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_component_one_chain_ten_draws(faithful, covariance):
    for x in (faithful, faithful["waiting"]):
        tree = gibbs(x, 1, covariance=covariance, chains=1, draws=10, thin=1, tune=20)
        assert (tree["posterior"]["w"] == 1).all()
        assert np.isfinite(tree["sample_stats"]["lp"]).all()


@pytest.mark.parametrize(
    ("operations", "burn_in", "thin"), [(82 * 6, 1_000, 50), (20_000, 1_000, 7), (500_000, 300, 1), (10**9, 200, 1)]
)
def test_slow_sweeps_are_fewer(operations, burn_in, thin):
    assert (burn_in_sweeps(operations), sweeps_between_draws(operations)) == (burn_in, thin)


def test_options_belong_to_it(galaxies):
    with pytest.raises(TypeError, match="thin is an option of method='nuts' and method='gibbs', got method='advi'; leave"):
        bg.fit(galaxies, 2, method="advi", thin=2)
    with pytest.raises(TypeError, match="target_accept is an option of method='nuts', got method='gibbs'; leave it out"):
        gibbs(galaxies, target_accept=0.9)
    with pytest.raises(
        TypeError, match="method='gibbs' draws from the conditionals of the package's own priors, got it with eng"
    ):
        gibbs(galaxies, engine="pymc")
    with pytest.raises(ValueError, match="thin must be an integer of at least 1, got 0"):
        gibbs(galaxies, thin=0)
    with pytest.warns(ConvergenceWarning):
        assert gibbs(galaxies, 2, thin=3, tune=7, draws=10).attrs["thin"] == 3
