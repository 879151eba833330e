"""Functions refuse a damaged tree with a sentence, or give the right answer if they do not need the damaged part."""

import json
import tempfile
import warnings
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm as bg
from tests.statistics import SEED

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ApproximationWarning"),
]
SHORT = {"draws": 20, "chains": 2, "n_init": 2, "random_seed": SEED, "progressbar": False}


@pytest.fixture(scope="module")
def trees(galaxies, faithful):
    """Trees of every kind, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        galaxies, faithful = galaxies[::3], faithful[::10]
        of_k = {name: value for name, value in SHORT.items() if name != "n_init"}
        return {
            "D = 1": bg.fit(galaxies, 2, method="gibbs", **SHORT),
            "D = 2": bg.fit(faithful, 2, method="gibbs", **SHORT),
            "D = 2, tied": bg.fit(faithful, 2, method="gibbs", covariance="tied", **SHORT),
            "D = 2, diag": bg.fit(faithful, 2, method="gibbs", covariance="diag", **SHORT),
            "ADVI": bg.fit(galaxies, 2, method="advi", max_iter=2_000, **SHORT),
            "noise": bg.fit(galaxies, 2, method="gibbs", noise=True, **SHORT),
            "noise, D = 2": bg.fit(faithful, 2, method="gibbs", noise=True, **SHORT),
            "posterior_k": bg.posterior_k(galaxies, prior_k=bg.priors.Uniform(5), **of_k),
            "posterior_k, D = 2": bg.posterior_k(faithful, prior_k=bg.priors.Uniform(3), **of_k),
        }


FITS = ("D = 1", "D = 2", "D = 2, tied", "D = 2, diag", "ADVI")


def first_feature(tree):
    return tree["posterior"]["feature"].values.tolist()[0] if "feature" in tree["posterior"].coords else None


def points(tree):
    return [[2.0, 55.0], [3.0, 70.0]] if first_feature(tree) else [15.0, 20.0, 25.0]


def _written(tree):
    """Membership probabilities of points that are read in parts."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", np.array(points(tree)))
        scanned = np.load(f"{folder}/x.npy", mmap_mode="r")
        bg.write_responsibilities(tree, scanned, f"{folder}/out.parquet")
        return pd.read_parquet(f"{folder}/out.parquet")


READERS = {
    "add_correlations": bg.add_correlations,
    "add_log_likelihood": bg.add_log_likelihood,
    "add_log_prior": bg.add_log_prior,
    "add_posterior_predictive": lambda tree: bg.add_posterior_predictive(tree, 1),
    "check_against_em": bg.check_against_em,
    "coclustering": bg.coclustering,
    "compare": lambda tree: bg.compare([tree]),
    "conditional": lambda tree: bg.conditional(tree, {first_feature(tree) or 0: 3.0}),
    "credible_ball": lambda tree: bg.credible_ball(tree, draws=50),
    "diagnose": bg.diagnose,
    "for_pymc": bg.for_pymc,
    "impute": bg.impute,
    "label_quality": bg.label_quality,
    "log_evidence": lambda tree: bg.log_evidence(tree, random_seed=1),
    "loo": lambda tree: bg.loo(tree, refit=False),
    "merge_components": lambda tree: bg.merge_components(tree, n_clusters=1),
    "occupied_clusters": lambda tree: bg.occupied_clusters(tree, 1),
    "partition": lambda tree: bg.partition(tree, random_seed=1),
    "plot_coclustering": bg.plots.plot_coclustering,
    "plot_fit": lambda tree: bg.plots.plot_fit(tree, first_feature(tree)),
    "plot_pairs": bg.plots.plot_pairs,
    "plot_relabelling": lambda tree: bg.plots.plot_relabelling(tree, first_feature(tree)),
    "plot_responsibilities": bg.plots.plot_responsibilities,
    "plot_solutions": bg.plots.plot_solutions,
    "plot_conditional": lambda tree: bg.plots.plot_conditional(tree, {first_feature(tree) or 0: 3.0}),
    "plot_regression": bg.plots.plot_regression,
    "predict": lambda tree: bg.predict(tree, {first_feature(tree) or 0: [3.0, 4.0]}),
    "predictive_cdf": lambda tree: bg.predictive_cdf(tree, [20.0], first_feature(tree)),
    "predictive_density": lambda tree: bg.predictive_density(tree, points(tree)),
    "predictive_quantiles": lambda tree: bg.predictive_quantiles(tree, 0.5, first_feature(tree)),
    "prior_sensitivity": bg.prior_sensitivity,
    "raw_order": bg.raw_order,
    "relabel": bg.relabel,
    "rename_clusters": lambda tree: bg.rename_clusters(tree, None),
    "report": lambda tree: bg.report(tree, "report.html", force=True),
    "responsibilities": bg.responsibilities,
    "write_responsibilities": lambda tree: _written(tree),
    "responsibilities of new points": lambda tree: bg.responsibilities(tree, points(tree)),
    "sample_assignments": lambda tree: bg.sample_assignments(tree, 1),
    "solutions": bg.solutions,
}
OF_K = {"plot_k": bg.plots.plot_k, "report": READERS["report"], "credible_ball": READERS["credible_ball"]}
NO_TREES = {  # public names that take data or settings, tested elsewhere; by_feature does not depend on the draws
    "BayesianGMM", "BayesianGMMRegressor", "BootstrapLRT", "bootstrap_lrt", "Comparison", "ConjugatePrior", "CredibleBall", "Diagnosis", "EMCheck", "EMResult", "Evidence", "by_feature", "HierarchicalPrior",
    "LabelQuality", "ManyFits", "MergedClusters", "Mixture", "PriorSensitivity", "Observations", "Solutions", "StructureComparison", "adjusted_rand", "build_model", "datasets", "exceptions", "fit", "fit_em", "fit_many", "jitter", "plots",
    "posterior_k", "prior_predictive", "priors", "rounded", "Scan", "scan_parquet", "plot_em_history", "plot_compare", "plot_fits", "plot_k",
}  # fmt: skip


def test_the_table_holds_every_public_function():
    assert {*READERS} - {"responsibilities of new points"} == {*bg.__all__, *bg.plots.__all__} - NO_TREES


def changed(group, name, change):
    """A damage that changes one variable of a group; trees without it are left as they are."""

    def damage(tree):
        if group in tree.children and name in tree[group].data_vars:
            dataset = tree[group].to_dataset().copy(deep=True)
            values = dataset[name].values.copy()
            dataset[name] = (dataset[name].dims, np.asarray(change(values)))
            tree[group] = xr.DataTree(dataset)
        return tree

    return damage


def put(value, where=(0, 3)):
    def change(values):
        values[where] = value
        return values

    return change


def spread(change):
    """Apply a change to sigma or cov, whichever there is."""

    def damage(tree):
        return changed("posterior", "cov", change)(changed("posterior", "sigma", change)(tree))

    return damage


def attrs(**values):
    def damage(tree):
        tree.attrs.update(values)
        return tree

    return damage


def without(*names):
    def damage(tree):
        for name in names:
            tree.attrs.pop(name, None)
        return tree

    return damage


def without_variable(group, name):
    def damage(tree):
        if group in tree.children and name in tree[group].data_vars:
            tree[group] = xr.DataTree(tree[group].to_dataset().drop_vars(name))
        return tree

    return damage


def without_group(group):
    return lambda tree: xr.DataTree.from_dict(
        {"/": tree.to_dataset(inherit=False), **{name: tree[name].to_dataset() for name in tree.children if name != group}}
    )


def prior(change):
    def damage(tree):
        stored = json.loads(tree.attrs["prior"])
        change(stored)
        tree.attrs["prior"] = json.dumps(stored)
        return tree

    return damage


def indefinite(values):
    if values.ndim == 3:
        return put(-1.0)(values)
    values[1, 2, 0] = [[1.0, 2.0], [2.0, 1.0]]
    return values


IMPOSSIBLE = {  # damage that every function must refuse
    "negative w": changed("posterior", "w", put(-0.1)),
    "NaN w": changed("posterior", "w", put(np.nan)),
    "zero w": changed("posterior", "w", put((0.0, 1.0))),
    "w that do not add to one": changed("posterior", "w", lambda w: 0.9 * w),
    "NaN mu": changed("posterior", "mu", put(np.nan)),
    "infinite mu": changed("posterior", "mu", put(np.inf)),
    "mu as text": changed("posterior", "mu", lambda mu: mu.astype(str)),
    "zero sigma": spread(put(0.0)),
    "negative sigma": spread(put(-1.0)),
    "NaN sigma": spread(put(np.nan)),
    "not positive definite": spread(indefinite),
    "NaN C0": changed("hyperparameters", "C0", put(np.nan)),
    "negative C0": changed("hyperparameters", "C0", put(-1.0)),
    "a cluster left out": lambda tree: tree.isel(cluster=[0], missing_dims="ignore"),
    "no draws": lambda tree: tree.isel(draw=slice(0, 0), missing_dims="ignore"),
    "a chain without its dim": lambda tree: tree.isel(chain=0, missing_dims="ignore"),
    "prior that is no JSON": attrs(prior="{'name': 'Hier"),
    "prior that is no text": attrs(prior=3),
    "prior that is a list": attrs(prior="[1, 2]"),
    "prior of another name": prior(lambda stored: stored.update(name="FlatPrior")),
    "prior with a negative rate": prior(lambda stored: stored.update(c0=-1.0)),
    "prior without b0": prior(lambda stored: stored.pop("b0")),
    "prior with another field": prior(lambda stored: stored.update(beta=1.0)),
    "no covariance": without("covariance"),
    "unknown covariance": attrs(covariance="banded"),
    "covariance as a number": attrs(covariance=3),
    "unknown method": attrs(method="hmc"),
    "method of an approximation": attrs(method="advi"),
    "another k": attrs(k=5),
    "k as text": attrs(k="2"),
}
OF_EM = (
    "check_against_em", "relabel", "rename_clusters", "partition", "credible_ball", "plot_fit", "plot_pairs", "plot_coclustering", "report", "compare",
)  # fmt: skip
OF_DATA = (
    "add_log_likelihood", "add_posterior_predictive", "check_against_em", "coclustering", "credible_ball", "diagnose", "log_evidence", "loo",
    "occupied_clusters", "partition", "plot_coclustering", "plot_fit", "plot_pairs", "plot_responsibilities",
    "plot_solutions", "relabel", "report", "responsibilities", "sample_assignments", "solutions", "compare",
)  # fmt: skip
PARTIAL = {  # what is damaged, and the functions that cannot do without
    "no method": (without("method"), ()),
    "no k": (without("k"), ()),
    "no prior": (without("prior"), ("log_evidence", "for_pymc")),
    "no attributes": (lambda tree: _set(tree, "/", {}), ("log_evidence", "compare", "for_pymc")),
    "no em_baseline": (without_group("em_baseline"), OF_EM),
    "em_baseline without w": (without_variable("em_baseline", "w"), OF_EM),
    "em_baseline without mu": (without_variable("em_baseline", "mu"), OF_EM),
    "em_baseline of one cluster": (lambda tree: _of_one_cluster(tree), OF_EM),
    "em_baseline with weights that do not add to one": (changed("em_baseline", "w", lambda w: 2 * w), OF_EM),
    "em_baseline with NaN": (changed("em_baseline", "mu", put(np.nan, 0)), OF_EM),
    "em_baseline without attributes": (lambda tree: _set(tree, "em_baseline", {}), OF_EM),
    "no observed_data": (without_group("observed_data"), OF_DATA),
    "observed_data without x": (without_variable("observed_data", "x"), OF_DATA),
    "observed_data with NaN": (changed("observed_data", "x", put(np.nan, 5)), OF_DATA),
    "observed_data as text": (changed("observed_data", "x", lambda x: x.astype(str)), OF_DATA),
    "no sample_stats": (without_group("sample_stats"), ()),
    "NaN lp": (
        changed("sample_stats", "lp", put(np.nan)),
        ("diagnose", "solutions", "check_against_em", "report", "compare"),
    ),
    "a permutation that is none": (
        changed("sample_stats", "permutation", put(7)),
        ("raw_order", "relabel", "plot_relabelling"),
    ),
}
OF_ADVI = {
    "no attributes": (lambda tree: _set(tree, "approximation", {}), ("diagnose", "check_against_em", "report", "compare")),
    "no approximation": (without_group("approximation"), READERS),
}
LIGHT = ("label_quality", "diagnose", "predictive_cdf", "predictive_density", "responsibilities of new points", "loo")


def _of_one_cluster(tree):
    tree["em_baseline"] = xr.DataTree(tree["em_baseline"].to_dataset().isel(cluster=[0]))
    return tree


def _set(tree, group, attributes):
    if group == "/" or group in tree.children:
        tree[group].attrs = attributes
    return tree


def copied(tree):
    return xr.DataTree.from_dict({node.path: deepcopy(node.to_dataset(inherit=False)) for node in tree.subtree})


def a_sentence(call, tree):
    """Whether the call ends in a sentence of the package. Any other exception fails the test."""
    try:
        call(tree)
    except (ValueError, TypeError) as error:
        said = str(error)
        assert "\n" not in said, said
        assert any(word in said for word in ("must", "needs", "give")), said
        assert "tree" in said or "em_baseline" in said or "approximation" in said, said
        deepest = error.__traceback__
        while deepest.tb_next is not None:
            deepest = deepest.tb_next
        assert "/bayesgmm/" in deepest.tb_frame.f_code.co_filename, said  # raised here, not by a library
        return True
    finally:
        plt.close("all")
    return False


@pytest.mark.slow
@pytest.mark.parametrize("damage", IMPOSSIBLE)
def test_impossible_draws_and_attributes_get_a_sentence(trees, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in FITS:
        if damage == "method of an approximation" and name == "ADVI":
            continue
        tree = IMPOSSIBLE[damage](copied(trees[name]))
        for reader, call in READERS.items():
            assert a_sentence(call, tree), f"{reader} of {name}"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["D = 1", "D = 2"])
@pytest.mark.parametrize("damage", PARTIAL)
def test_a_tree_in_part_gets_a_sentence_where_the_part_is_needed_and_else_the_same_answer(trees, damage, name):
    change, needed_by = PARTIAL[damage]
    tree = change(copied(trees[name]))
    for reader in needed_by:
        assert a_sentence(READERS[reader], tree), reader
    if damage == "no sample_stats":
        assert "log posterior" not in bg.diagnose(tree).invariants.index
        return
    for reader in set(LIGHT) - set(needed_by):
        assert repr(READERS[reader](tree)) == repr(READERS[reader](trees[name])), reader


@pytest.mark.slow
@pytest.mark.parametrize("damage", OF_ADVI)
def test_an_approximation_is_known_by_its_group(trees, damage):
    change, needed_by = OF_ADVI[damage]
    tree = change(copied(trees["ADVI"]))
    for reader in needed_by:
        assert a_sentence(READERS[reader], tree), reader


@pytest.mark.slow
def test_an_approximation_without_its_method_is_judged_as_one(trees):
    assert "PSIS k-hat" in bg.diagnose(without("method")(copied(trees["ADVI"]))).sampler


OF_NOISE = {  # what is damaged, and the functions that cannot do without
    "w_noise of zero": (changed("posterior", "w_noise", put(0.0)), READERS),
    "w_noise of one": (changed("posterior", "w_noise", put(1.0)), READERS),
    "NaN w_noise": (changed("posterior", "w_noise", put(np.nan)), READERS),
    "w_noise as text": (changed("posterior", "w_noise", lambda share: share.astype(str)), READERS),
    "w_noise for each cluster": (lambda tree: _of_each_cluster(tree), READERS),
    "no w_noise": (without_variable("posterior", "w_noise"), {*OF_DATA} - {"plot_fit"}),
    "no log_noise": (without_variable("observed_data", "log_noise"), {*OF_DATA} - {"plot_fit"}),
    "NaN log_noise": (changed("observed_data", "log_noise", put(np.nan, 3)), OF_DATA),
    "log_noise as text": (changed("observed_data", "log_noise", lambda noise: noise.astype(str)), OF_DATA),
    "em_baseline without w_noise": (without_variable("em_baseline", "w_noise"), OF_EM),
    "em_baseline with w_noise of one": (changed("em_baseline", "w_noise", lambda share: 1.0 + 0 * share), OF_EM),
}


def _of_each_cluster(tree):
    posterior = tree["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(posterior.assign(w_noise=posterior["w_noise"] * xr.ones_like(posterior["w"])))
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noise", "noise, D = 2"])
@pytest.mark.parametrize("damage", OF_NOISE)
def test_noise_in_part_gets_a_sentence_where_the_part_is_needed_and_else_the_same_answer(trees, damage, name):
    change, needed_by = OF_NOISE[damage]
    tree = change(copied(trees[name]))
    for reader in needed_by:
        assert a_sentence(READERS[reader], tree), reader
    for reader in {"label_quality", "predictive_cdf"} - set(needed_by):
        assert repr(READERS[reader](tree)) == repr(READERS[reader](trees[name])), reader


WRONG_NU = {
    "negative": changed("posterior", "nu", put(-1.0, (0, 0, 0))),
    "NaN": changed("posterior", "nu", put(np.nan, (0, 0, 0))),
    "of no cluster": lambda tree: _of_no_cluster(tree),
}


def _of_no_cluster(tree):
    posterior = tree["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(posterior.assign(nu=posterior["nu"].isel(cluster=0, drop=True)))
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("damage", WRONG_NU)
def test_degrees_of_freedom_that_are_none_get_a_sentence(damage):
    x = np.random.default_rng(1).standard_t(3, 100)
    tree = bg.fit(x, 2, family="t", method="gibbs", draws=20, tune=20, random_seed=1, progressbar=False)
    tree = WRONG_NU[damage](copied(tree))
    for reader in ("diagnose", "responsibilities", "predictive_density"):
        assert a_sentence(READERS[reader], tree), reader


@pytest.mark.slow
@pytest.mark.parametrize("name", ["posterior_k", "posterior_k, D = 2"])
def test_the_posterior_of_k_is_told_what_to_look_at_instead(trees, name):
    for reader, call in READERS.items():
        if reader not in OF_K:
            with pytest.raises(
                ValueError, match=r"tree must be of one k, .* got one from posterior_k; look at tree\['p_k'\]"
            ):
                call(trees[name])


WRONG_OF_K = {
    "no mcse": lambda tree: tree.assign(p_k_mcse=tree["p_k"].isel(k=0, drop=True)),
    "negative probabilities": lambda tree: tree.assign(p_k=-tree["p_k"]),
    "NaN probabilities": lambda tree: tree.assign(p_occupied=tree["p_k"] * np.nan),
    "probabilities of more than one": lambda tree: tree.assign(prior_k=2 * tree["prior_k"]),
    "no partition": without_group("partition"),
    "no observed_data": without_group("observed_data"),
    "no posterior": without_group("posterior"),
    "NaN draws": changed("posterior", "log_density", put(np.nan)),
    "unknown prior": attrs(prior="flat"),
    "unknown prior of k": attrs(prior_k='{"name": "Zipf", "s": 2}'),
    "no seed": without("seed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", WRONG_OF_K)
def test_a_damaged_posterior_of_k_gets_a_sentence(trees, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = WRONG_OF_K[damage](copied(trees["posterior_k"]))
    for call in OF_K.values():
        assert a_sentence(call, tree)
    assert not list(tmp_path.iterdir())
