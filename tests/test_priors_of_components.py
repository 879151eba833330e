"""Priors that differ between components, at every entry point. Exact answers are sums over all allocations."""

from itertools import permutations

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayesgmm as bg
from bayesgmm.analysis.draws import draws_of
from bayesgmm.analysis.places import _drawn_orders
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.prior_densities import of_places
from bayesgmm.model.priors import prior_of
from bayesgmm.posterior import log_posterior, standardised_posterior
from tests.families import COVARIANCES, KINDS, STRUCTURES, prior_of_each
from tests.oracles.marginal import X, of_each_component
from tests.oracles.pymc_density import assert_density_is, stated_by_pymc, value_and_gradient
from tests.statistics import SEED, Z, assert_mean, assert_same_means, rng

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
]
PLAIN = {"b0": 0.3, "B0": 2.0, "c0": 3.0}
EACH = {"alpha": np.array([1.5, 0.5]), "b0": np.array([0.3, 1.0]), "B0": np.array([2.0, 0.5]), "c0": np.array([3.0, 4.0])}
OF_TWO = {
    "means": bg.ConjugatePrior(**PLAIN | {"b0": np.array([-1.0, 2.0])}, C0=1.5),
    "weights": bg.ConjugatePrior(alpha=np.array([3.0, 1.0]), **PLAIN, C0=1.5),
    "all": bg.ConjugatePrior(**EACH, C0=np.array([1.5, 0.4])),
    "hierarchical": bg.HierarchicalPrior(**EACH, g0=2.0, G0=1.5),
}


def fit(x, k, prior, **options):
    return bg.fit(x, k, prior=prior, **{"random_seed": SEED, "progressbar": False} | options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("covariance", "d"),
    [pytest.param(*each, marks=[pytest.mark.slow] if i in (1, 4) else []) for i, each in enumerate(STRUCTURES)],
)
def test_the_density_is_the_pymc_models(covariance, d, kind):
    generator, k = rng(2), 3
    x = generator.normal(size=(12, d))
    own = log_posterior(x, k, prior_of_each(kind, covariance, d, k).scaled_to(x, covariance), covariance)
    assert own.classes.tolist() == [0, 1, 2]
    pymc = value_and_gradient(own, stated_by_pymc(own))
    assert_density_is(own, pymc, generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("covariance", "d"), STRUCTURES)
def test_units_of_the_data_do_not_matter(covariance, d, kind):
    """The density of standardised data differs from that in the data's units by the same constant everywhere."""
    generator, k = rng(3), 3
    x = 3.0 + generator.normal(size=(20, d)) * (2.0 if covariance.endswith("spherical") else np.arange(1, d + 1))
    prior = prior_of_each(kind, covariance, d, k).scaled_to(x, covariance)
    plain = log_posterior(x, k, prior, covariance)
    own, units = standardised_posterior(plain.observations, k, prior, covariance)
    differences = []
    for _ in range(3):
        mixture = own.mixture_at(generator.normal(0, 0.5, own.n_dim))
        points = plain.at(mixture.rescaled(units.shift, units.scale)), own.at(mixture)
        differences.append(plain(points[0])[0] - own(points[1])[0])
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)


@pytest.mark.parametrize("name", OF_TWO)
def test_the_evidence_is_the_sum_over_allocations(name):
    exact, _ = of_each_component(X, 2, OF_TWO[name])
    found = bg.log_evidence(fit(X, 2, OF_TWO[name], method="gibbs"), random_seed=1)
    assert found.mcse < 0.05
    assert abs(found.value - exact) < Z * found.mcse, (found, exact, SEED)


def test_the_evidence_counts_the_symmetries_that_remain():
    """Of three components the last two share a prior: 2! images exist, not 3!."""
    prior = bg.ConjugatePrior(**PLAIN | {"b0": np.array([-1.0, 2.0, 2.0])}, C0=1.5)
    exact, _ = of_each_component(X, 3, prior)
    tree = fit(X, 3, prior, method="gibbs")
    found = bg.log_evidence(tree, random_seed=1)
    assert abs(found.value - exact) < Z * found.mcse, (found, exact, SEED)
    assert abs(found.value + np.log(3) - exact) > 5 * found.mcse  # as if the order of all three did not matter
    assert Hyperparameters.of(prior_of(tree.attrs["prior"]), "full").classes(3).tolist() == [0, 1, 1]


@pytest.mark.parametrize("method", ["gibbs", pytest.param("nuts", marks=pytest.mark.slow), "laplace"])
@pytest.mark.parametrize("name", ["weights", "all"])
def test_the_order_of_the_components_is_part_of_the_posterior(name, method):
    """NUTS stays near one order of the components, and the prior tells only weakly which; the draws hold both."""
    _, exact = of_each_component(X, 2, OF_TWO[name])
    tree = fit(X, 2, OF_TWO[name], method=method, draws=2_000)
    w = tree["posterior"]["w"].values[..., 0]
    assert_same_means(w.mean(), float(array_stats.mcse(w)), exact[0], 0.0, name)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_orders_are_drawn_with_their_probabilities(k):
    gain = rng(k).normal(0, 1.5, size=(k, k))
    orders = list(permutations(range(k)))
    log_p = np.array([sum(gain[order[j], j] for j in range(k)) for order in orders])
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    many = 20_000
    drawn = _drawn_orders(np.broadcast_to(gain, (many, k, k)), np.zeros(k, int), rng(9))
    for order, expected in zip(orders, p, strict=True):
        share = (drawn == order).all(axis=1).mean()
        assert abs(share - expected) < Z * np.sqrt(expected * (1 - expected) / many) + 1e-9, order
    apart = _drawn_orders(np.broadcast_to(gain, (5, k, k)), np.arange(k), rng(9))
    assert (apart == np.arange(k)).all()  # labels tell all of them apart


def test_a_cluster_takes_the_place_that_its_prior_describes():
    x = np.concatenate([rng(1).normal(10, 1, 60), rng(2).normal(0, 1, 90), rng(3).normal(5, 0.5, 50)])
    prior = bg.HierarchicalPrior(b0=np.array([5.0, 10.0, 0.0]), B0=1.0)
    for method in ("nuts", "gibbs", "advi", "laplace"):
        tree = fit(x, 3, prior, method=method)
        assert tree["posterior"]["mu"].mean(("chain", "draw")).values.round().tolist() == [5.0, 10.0, 0.0], method
        assert tree["em_baseline"]["mu"].values.round().tolist() == [5.0, 10.0, 0.0]
    again = bg.relabel(tree)
    np.testing.assert_array_equal(again["posterior"]["mu"], tree["posterior"]["mu"])


def test_the_log_prior_is_that_of_each_component():
    prior = OF_TWO["all"]
    tree = bg.add_log_prior(fit(X, 2, prior, method="gibbs", draws=200))
    draws, hyper = draws_of(tree["posterior"].to_dataset()), Hyperparameters.of(prior.scaled_to(X), "full").of_each(2, 2)
    table = of_places(hyper, draws.w, draws.mu, draws.factors, hyper.rate[None], "full")
    of_tree = sum(tree["log_prior"][name].values.reshape(-1, 2) for name in ("mu", "sigma"))
    of_weights = (prior.alpha - 1) * np.log(draws.w)
    np.testing.assert_allclose(np.diagonal(table, axis1=1, axis2=2), of_tree + of_weights, rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_prior_draws_are_those_of_each_component(covariance):
    prior = prior_of_each("conjugate", covariance, 3, 2)
    drawn = bg.prior_predictive(
        rng(1).normal(size=(5, 3)), 2, prior=prior, covariance=covariance, draws=4_000, random_seed=1
    )
    mu, w = drawn["prior"]["mu"].values[0], drawn["prior"]["w"].values[0]
    for j in range(2):
        assert_mean(w[:, j], prior.alpha[j] / prior.alpha.sum(), f"w {j}")
        for d in range(3):
            assert_mean(mu[:, j, d], prior.b0[j, d], f"mu {j} {d}")
    if not covariance.startswith("tied"):
        precision = np.linalg.inv(drawn["prior"]["cov"].values[0])[..., 0, 0]
        for j in range(2):
            C0 = np.asarray(prior.C0[j])
            inverse = np.linalg.inv(C0)[0, 0] if C0.ndim == 2 else 1 / C0.ravel()[0]
            assert_mean(precision[:, j], prior.c0[j] * inverse, f"precision {j}")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"alpha": [1.0, 2.0]}, r"prior must hold hyperparameters for k = 3 components, got those of 2"),
        ({"alpha": [1.0, 2.0], "b0": [0.0, 1.0, 2.0]}, "the same number of components, got 2 of alpha, 3 of b0"),
        ({"alpha": [1.0, -2.0, 1.0]}, "alpha must hold positive numbers"),
        ({"b0": [[0.0, 1.0]]}, r"HierarchicalPrior.b0 must have shape \(\), or \(K,\) for 1 feature"),
        ({"B0": np.ones((3, 3, 3))}, "B0 must be symmetric and positive definite"),
        ({"g0": [1.0, 2.0, 3.0]}, "g0 must be"),
        ({"c0": np.ones((3, 2))}, "c0 must have at most 1 axes"),
    ],
)
def test_what_does_not_fit_is_refused(given, error):
    with pytest.raises((ValueError, TypeError), match=error):
        fit(X, 3, bg.HierarchicalPrior(**given))


def test_a_covariance_that_all_share_has_one_prior():
    with pytest.raises(ValueError, match=r"c0 must have shape \(\).*covariance=.tied."):
        fit(X, 2, bg.HierarchicalPrior(c0=[2.0, 3.0]), covariance="tied")


def test_a_prior_of_two_components_is_for_k_of_two():
    prior = OF_TWO["means"]
    with pytest.raises(ValueError, match="must be the same for all components in posterior_k"):
        bg.posterior_k(X, prior=prior)
    with pytest.raises(ValueError, match="k = 1 components, got those of 2"):
        bg.compare(X, range(1, 4), prior=prior, progressbar=False)
