"""Known labels at every entry point. Exact answers are sums over all allocations that the labels allow."""

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.analysis.draws import draws_of
from bayesgmm.data.known import Known, sorting
from bayesgmm.kernels import estep
from bayesgmm.posterior import log_posterior
from tests.families import COVARIANCES, STRUCTURES
from tests.oracles.marginal import PAIRS, SHARED, SHARED_2, X, correlated_features, independent_features
from tests.oracles.pymc_density import assert_density_is, stated_by_pymc, value_and_gradient
from tests.statistics import SEED, Z, rng

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning"),
]
SOFT = np.array([[0.7, 0.3], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8], [0.5, 0.5]])
LABELS = {
    "one known": np.array([-1, -1, 1, -1, -1]),
    "both known": np.array([0, -1, -1, -1, 1]),
    "all known": np.array([0, 0, 1, 1, 1]),
    "probabilities": SOFT,
}


def gibbs(x, k, **options):
    return bg.fit(x, k, **{"method": "gibbs", "random_seed": SEED, "progressbar": False} | options)


def possible(labels, k):
    return np.exp(Known(labels=labels).log_labels(k)).T


def test_what_labels_say_and_what_they_leave_exchangeable():
    known = Known(labels=np.array([0, -1, 2, -1]))
    np.testing.assert_array_equal(np.exp(known.log_labels(4)), [[1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 0, 1]])
    assert known.classes(4).tolist() == [0, 1, 2, 1]
    assert Known().classes(3).tolist() == [0, 0, 0]
    assert Known(labels=np.full((3, 2), 0.5)).classes(2).tolist() == [0, 0]
    np.testing.assert_allclose(possible(SOFT, 2)[0], [1, 3 / 7])
    keys = np.array([[5.0, 9.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    assert sorting(known.classes(4), keys).tolist() == [[0, 3, 2, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("name", "covariance"), [("one known", "full"), ("both known", "tied"), ("all known", "full"), ("probabilities", "tied")]
)
def test_the_evidence_is_the_sum_over_the_allocations_that_labels_allow(name, covariance):
    prior, labels = bg.HierarchicalPrior(**SHARED, g0=2.0, G0=1.5), LABELS[name]
    exact = independent_features(X[:, None], 2, prior, tied=covariance == "tied", possible=possible(labels, 2))
    found = bg.log_evidence(gibbs(X, 2, prior=prior, covariance=covariance, labels=labels), random_seed=1)
    assert found.mcse < 0.05
    assert abs(found.value - exact) < Z * found.mcse, (found, exact, SEED)


@pytest.mark.slow
def test_control_the_evidence_counts_no_symmetry_that_labels_have_broken():
    """With both components labelled, only one of K! mirror images exists. Without classes the proposal would count all."""
    prior, labels = bg.ConjugatePrior(**SHARED, C0=1.5), LABELS["both known"]
    exact = independent_features(X[:, None], 2, prior, possible=possible(labels, 2))
    unlabelled = independent_features(X[:, None], 2, prior)
    found = bg.log_evidence(gibbs(X, 2, prior=prior, labels=labels), random_seed=1)
    assert abs(found.value - exact) < Z * found.mcse
    assert abs(found.value - np.log(2) - exact) > 5 * found.mcse
    assert abs(unlabelled - exact) > 5 * found.mcse


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["both known", "probabilities"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_several_features_against_all_allocations(covariance, labels):
    matrix = np.array([[2.0, 0.6], [0.6, 1.0]])
    scale = {"diag": np.array([1.5, 0.7]), "spherical": 1.5}.get(covariance.removeprefix("tied_"), matrix)
    prior, allowed = bg.ConjugatePrior(**SHARED_2, C0=scale), possible(LABELS[labels], 2)
    if covariance in ("full", "tied"):
        exact = correlated_features(PAIRS, 2, prior, tied=covariance == "tied", possible=allowed)
    else:
        traits = {"tied": covariance.startswith("tied"), "spherical": covariance.endswith("spherical")}
        exact = independent_features(PAIRS, 2, prior, **traits, possible=allowed)
    found = bg.log_evidence(gibbs(PAIRS, 2, prior=prior, covariance=covariance, labels=LABELS[labels]), random_seed=1)
    assert abs(found.value - exact) < max(Z * found.mcse, 1e-3), (found, exact, SEED)


@pytest.mark.parametrize(
    ("covariance", "d", "matrix"),
    [
        pytest.param(*each, i % 2 > 0, marks=[pytest.mark.slow] if i in (0, 3, 4) else [])
        for i, each in enumerate(STRUCTURES)
    ],
)
def test_the_density_of_what_is_known_is_the_pymc_models(covariance, d, matrix):
    generator = rng(2)
    x, k = generator.normal(size=(12, d)), 3
    labels = generator.dirichlet(np.ones(k), len(x)) if matrix else generator.integers(-1, k, len(x))
    prior = bg.HierarchicalPrior().scaled_to(x, covariance)
    own = log_posterior(x, k, prior, covariance, Known(generator.uniform(0.3, 3, len(x)), labels))
    pymc = value_and_gradient(own, stated_by_pymc(own))
    assert_density_is(own, pymc, generator)


def labelled_data(n=150):
    """Three groups with about a third of the members labelled. Labels are not in the order of the means."""
    generator = rng(3)
    z = generator.integers(0, 3, n)
    x = np.array([6.0, 0.0, 3.0])[z] + generator.normal(size=n)
    return x, np.where(generator.random(n) < 1 / 3, z, -1), z


def test_em_keeps_the_numbers_of_the_labels_and_its_likelihood_is_that_of_what_is_known():
    x, labels, _ = labelled_data()
    em = bg.fit_em(x, 3, labels=labels, random_seed=1)
    assert em.mixture.means.round().tolist() == [6.0, 0.0, 3.0]
    joint = np.log(em.mixture.weights) + stats.norm.logpdf(x[:, None], em.mixture.means, em.mixture.sigma)
    expected = np.logaddexp.reduce(np.where(possible(labels, 3) > 0, joint, -np.inf), axis=1).sum()
    assert em.log_likelihood == pytest.approx(expected)
    assert (np.diff(em.history) > -1e-8).all()
    sure = labels >= 0
    np.testing.assert_array_equal(em.responsibilities[sure], np.eye(3)[labels[sure]])


def test_all_labelled_is_one_gaussian_for_each():
    x, _, z = labelled_data()
    em = bg.fit_em(x, 3, labels=z, random_seed=1)
    np.testing.assert_allclose(em.mixture.means, [x[z == j].mean() for j in range(3)])
    np.testing.assert_allclose(em.mixture.weights, np.bincount(z) / len(z))


@pytest.mark.parametrize("method", ["nuts", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gibbs", "advi"))])
def test_clusters_are_the_labels_own(method):
    x, labels, z = labelled_data()
    tree = bg.fit(x, 3, method=method, labels=labels, random_seed=1, progressbar=False)
    assert tree["posterior"]["mu"].mean(("chain", "draw")).values.round().tolist() == [6.0, 0.0, 3.0]
    r = bg.responsibilities(tree)["mean"].values
    sure = labels >= 0
    np.testing.assert_allclose(r[sure], np.eye(3)[labels[sure]], atol=1e-12)
    assert (r.argmax(axis=1) == z).mean() > 0.75
    assert (bg.sample_assignments(tree, random_seed=1).values[..., sure] == labels[sure]).all()
    assert bg.label_quality(tree).trusted
    assert (tree["sample_stats"]["permutation"] == np.arange(3)).all()


@pytest.mark.slow
def test_engines_agree_with_each_other_and_with_pymc():
    x, labels, _ = labelled_data(60)
    trees = {
        name: bg.fit(x, 3, labels=labels, random_seed=2, progressbar=False, **options)
        for name, options in (("gibbs", {"method": "gibbs"}), ("nuts", {}), ("pymc", {"engine": "pymc", "draws": 500}))
    }
    means = {name: tree["posterior"]["mu"].mean(("chain", "draw")).values for name, tree in trees.items()}
    spread = trees["gibbs"]["posterior"]["mu"].std(("chain", "draw")).values
    for name in ("nuts", "pymc"):
        assert (abs(means[name] - means["gibbs"]) < 0.25 * spread).all(), (name, means)


@pytest.mark.slow
def test_what_labels_do_not_tell_apart_is_relabelled_and_nothing_else():
    x, labels, _ = labelled_data()
    only_one = np.where(labels == 0, 0, -1)
    tree = bg.fit(x, 3, method="gibbs", thin=10, labels=only_one, random_seed=1, progressbar=False)
    permutation = tree["sample_stats"]["permutation"].values
    assert (permutation[..., 0] == 0).all()
    assert 0.4 < (permutation[..., 1] == 1).mean() < 0.6  # raw draws number the other two components at random
    assert tree["posterior"]["mu"].mean(("chain", "draw")).values.round().tolist() == [6.0, 0.0, 3.0]
    again = bg.relabel(bg.raw_order(tree), "ecr")
    np.testing.assert_allclose(again["posterior"]["mu"].mean(("chain", "draw")), [6.0, 0.0, 3.0], atol=0.5)
    assert (again["sample_stats"]["permutation"].values[..., 0] == 0).all()


@pytest.mark.slow
def test_loo_predicts_an_observation_with_its_label():
    x, labels, _ = labelled_data(60)
    tree = bg.fit(x, 3, method="gibbs", labels=labels, random_seed=1, progressbar=False, log_likelihood=True)
    draws = draws_of(tree["posterior"].to_dataset())
    found, sure = bg.loo(tree), np.flatnonzero(labels >= 0)
    i = sure[found.influence_pareto_k.values[sure].argmin()]  # where importance weights hardly need to be smoothed
    joint = (np.log(draws.w) + stats.norm.logpdf(x[i], draws.mu[..., 0], draws.sd[..., 0]))[:, labels[i]]
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values.reshape(-1, len(x))[:, i], joint)
    assert found.elpd_i.values[i] == pytest.approx(np.log(len(joint)) - np.logaddexp.reduce(-joint), abs=0.01)
    assert found.elpd < bg.loo(bg.fit(x, 3, method="gibbs", random_seed=1, progressbar=False)).elpd


def test_a_tree_keeps_its_labels(tmp_path):
    import xarray as xr

    x, labels, _ = labelled_data(60)
    for given in (labels, np.where(possible(labels, 3) > 0, 1, 0) / possible(labels, 3).sum(axis=1, keepdims=True)):
        tree = bg.fit(x, 3, method="gibbs", draws=50, labels=given, random_seed=1, progressbar=False)
        tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
        with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as stored:
            read = stored.load()
        np.testing.assert_array_equal(bg.responsibilities(read)["mean"], bg.responsibilities(tree)["mean"])
        np.testing.assert_array_equal(read["observed_data"]["label"].values, given)


def test_kernels_with_labels_are_those_without_where_all_is_possible():
    generator = rng(4)
    for d in (1, 3):
        data = generator.normal(size=(300, d))
        w, mu = generator.dirichlet(np.ones(3)), generator.normal(size=(3, d))
        factors = np.linalg.cholesky(np.array([np.eye(d) + 0.1 * np.ones((d, d))] * 3))
        parameters = w, mu, factors
        nothing, log_labels = np.zeros((3, 300)), np.log(generator.dirichlet(np.ones(3), 300).T)
        np.testing.assert_allclose(estep.log_density(data, *parameters, nothing), estep.log_density(data, *parameters))
        one, other = estep.e_step(data, *parameters, None, nothing), estep.e_step(data, *parameters)
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
        sums, r = estep.e_step(data, *parameters, None, log_labels), estep.responsibilities(data, *parameters, log_labels)
        plain = estep.responsibilities(data, *parameters) * np.exp(log_labels.T)
        np.testing.assert_allclose(r, plain / plain.sum(axis=1, keepdims=True), rtol=1e-10)
        np.testing.assert_allclose(sums.counts, r.sum(axis=0), rtol=1e-12)
        assert sums.log_likelihood == pytest.approx(estep.log_density(data, *parameters, log_labels).sum())
        far = np.full_like(data[:3], 1e200)  # out of reach of every component
        known = np.where(np.eye(3) > 0, 0.0, -np.inf)
        np.testing.assert_allclose(estep.responsibilities(far, *parameters, known), np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 1, 2, -1], r"labels must be below k = 2, got 2"),
        ([0, 1, -2, -1], "labels must hold the number of each observation's component.*got -2"),
        ([0, 1, 0.5, -1], "labels must hold the number.*got 0.5"),
        ([0, 1, 1e300, -1], r"labels must hold the number.*got 1e\+300"),
        ([0, 1], "labels must hold one label for each observation, shape .4,"),
        (["a", "b", "a", "b"], "labels must hold numbers"),
        ([0, 0, 0, 0], "labels must allow every component for at least one observation.*component 1"),
        (np.full((4, 3), 1 / 3), "labels must have a column for each of k = 2 components, got 3"),
        (np.full((4, 2), 0.4), "labels must have rows that add to one, got 0.8 in row 0"),
        ([[2.0, -1.0]] * 4, "labels must be .*negative"),
        ([[1.0, 0.0]] * 4, "labels must allow every component for at least one observation"),
        ([[np.nan, 1.0]] * 4, "labels must be .*NaN"),
    ],
)
@pytest.mark.parametrize("door", [bg.fit, bg.fit_em, bg.build_model])
def test_wrong_labels_get_a_sentence(door, labels, match):
    with pytest.raises((TypeError, ValueError), match=match):
        door([1.0, 2.0, 3.0, 4.5], 2, labels=labels)


@pytest.mark.slow
def test_a_comparison_needs_every_k_to_have_the_labels_components():
    x, labels, _ = labelled_data(60)
    with pytest.raises(ValueError, match="below k = 2"):
        bg.compare(x, [2, 3], labels=labels)
    found = bg.compare(x, [3, 4], labels=labels, method="gibbs", draws=100, thin=5, random_seed=1, progressbar=False)
    assert found.table["log_evidence"].notna().all()
    with pytest.raises(TypeError, match="labels"):
        bg.posterior_k(x, labels=labels)
