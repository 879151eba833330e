"""``fit`` with several features: tree, relabelling, checks, units, custom models, bad input."""

import warnings

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.analysis.tree import DRAWN, permute
from bayesgmm.engines.custom import as_contract
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning
from bayesgmm.model import wishart
from tests.conftest import make_tree
from tests.families import COVARIANCES, KINDS
from tests.statistics import SEED, rng


def quick(x, k=2, **options):
    """A run too short to have converged, for tests that do not ask whether it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", ApproximationWarning)
        return bg.fit(x, k, **{"random_seed": SEED, "progressbar": False, "draws": 50, "tune": 100} | options)


def test_the_tree_keeps_its_contract(faithful_tree, faithful):
    posterior = faithful_tree["posterior"].to_dataset()
    assert set(posterior.data_vars) == {"w", "mu", "cov"}
    assert posterior["w"].dims == ("chain", "draw", "cluster")
    assert posterior["mu"].dims == ("chain", "draw", "cluster", "feature")
    assert posterior["cov"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    assert faithful_tree["hyperparameters"]["C0"].dims == ("chain", "draw", "feature", "feature_bis")
    assert list(posterior["feature"].values) == list(posterior["feature_bis"].values) == ["eruptions", "waiting"]
    np.testing.assert_allclose(posterior["w"].sum("cluster"), 1)
    np.testing.assert_array_equal(faithful_tree["observed_data"]["x"], faithful)
    assert faithful_tree["observed_data"]["x"].dims == ("obs", "feature")
    em = bg.fit_em(faithful, 2, random_seed=SEED).mixture
    np.testing.assert_allclose(faithful_tree["em_baseline"]["mu"], em.means, rtol=1e-4)
    np.testing.assert_allclose(
        faithful_tree["em_baseline"]["cov"].sel(feature="waiting", feature_bis="eruptions"),
        em.covariances[:, 1, 0],
        rtol=1e-3,
    )
    assert faithful_tree.attrs["covariance"] == "full"


def test_converges_and_agrees_with_em(faithful_tree):
    diagnosis, check = bg.diagnose(faithful_tree), bg.check_against_em(faithful_tree)
    assert diagnosis.ok, diagnosis
    assert check.ok, check
    assert {"w[0]", "mu[1, waiting]", "cov[0, eruptions, waiting]"} <= set(check.table.index)
    assert "cov[0, waiting, eruptions]" not in check.table.index
    assert "C0[eruptions, waiting]" in diagnosis.parameters.index
    assert sum(name.startswith("log p(x[") for name in diagnosis.invariants.index) >= 15


@pytest.mark.parametrize(
    ("kind", "covariance"),
    [
        pytest.param(kind, covariance, marks=[pytest.mark.slow] if (i + j) % 2 else [])
        for i, kind in enumerate(KINDS)
        for j, covariance in enumerate(COVARIANCES)
    ],
)
def test_every_structure_goes_all_the_way(faithful, kind, covariance):
    prior = bg.HierarchicalPrior() if kind == "hierarchical" else bg.ConjugatePrior()
    tree = quick(faithful, covariance=covariance, prior=prior, chains=2, log_likelihood=True, posterior_predictive=True)
    posterior = tree["posterior"].to_dataset()
    cov = posterior["cov"].values
    assert (np.linalg.eigvalsh(cov) > 0).all()
    np.testing.assert_array_equal(cov, cov.swapaxes(-1, -2))
    assert (cov[:, :, 0] == cov[:, :, 1]).all() == covariance.startswith("tied")
    assert (cov[..., 0, 1] == 0).all() == (covariance not in ("full", "tied"))
    assert np.allclose(cov[..., 0, 0], cov[..., 1, 1], rtol=1e-10) == covariance.endswith("spherical")
    if isinstance(prior, bg.HierarchicalPrior):
        dims = {"diag": ("feature",), "spherical": ()}.get(covariance.removeprefix("tied_"), ("feature", "feature_bis"))
        assert tree["hyperparameters"]["C0"].dims == ("chain", "draw", *dims)
    else:
        assert "hyperparameters" not in tree.children
    point = posterior.isel(chain=1, draw=7)
    mixture = bg.Mixture(point["w"].values, point["mu"].values, point["cov"].values)
    x = faithful.to_numpy()
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values[1, 7], mixture.log_density(x), rtol=1e-9)
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "obs", "feature")
    assert np.isfinite(bg.check_against_em(tree).total_variation)
    assert np.isfinite(tree["sample_stats"]["lp"]).all()


@pytest.mark.parametrize(
    "covariance", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("full", "diag", "spherical")), "tied"]
)
def test_advi_goes_the_same_way(faithful, covariance):
    advi = quick(faithful, covariance=covariance, method="advi", max_iter=600, tune=None)
    nuts = quick(faithful, covariance=covariance, draws=20, tune=20)
    for name, values in nuts["posterior"].data_vars.items():
        assert advi["posterior"][name].dims == values.dims
    assert set(advi["posterior"].data_vars) == set(nuts["posterior"].data_vars)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "covariance", "n_features"),
    [
        *((bg.HierarchicalPrior(), *case) for case in [("full", 1), ("tied", 1), *((each, 2) for each in COVARIANCES)]),
        (bg.ConjugatePrior(), "full", 2),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, bg.HierarchicalPrior | bg.ConjugatePrior) else str(each),
)
def test_the_functions_of_pymc_take_a_tree_beside_the_model(faithful, prior, covariance, n_features):
    """``for_pymc`` computes all variables of the model from the tree, in the data's units and with the same labels."""
    x = faithful if n_features == 2 else faithful["waiting"].to_numpy()
    tree = quick(x, covariance=covariance, prior=prior, draws=10, tune=50, chains=2)
    full = bg.for_pymc(tree)
    with bg.build_model(x, 2, covariance=covariance, prior=prior) as model:
        stated = pm.compute_log_likelihood(full, extend_inferencedata=False, progressbar=False)
        predicted = pm.sample_posterior_predictive(full, progressbar=False, random_seed=SEED)
    np.testing.assert_allclose(stated["x"], bg.add_log_likelihood(tree)["log_likelihood"]["x"], rtol=1e-9)
    assert set(predicted["posterior_predictive"].data_vars) == {"x"}
    posterior = full["posterior"].to_dataset()
    assert {each.name for each in model.free_RVs} <= set(posterior.data_vars)
    assert not set(DRAWN) & set(tree["posterior"].data_vars)
    assert not az.summary(tree, kind="stats").index.str.contains("C0|sigma2|factor").any()
    for name, of in (("precision_factor", "cov"), ("C0_factor", "C0")):
        if name in posterior:
            factors = wishart.unpack(posterior[name].values, n_features)
            squares = factors.swapaxes(-1, -2) @ factors
            expected = np.linalg.inv(posterior[of].values) if of == "cov" else posterior[of].values
            np.testing.assert_allclose(squares, expected[:, :, 0] if squares.ndim < expected.ndim else expected, rtol=1e-9)
    old = full.copy()  # earlier versions kept all these variables in the posterior
    assert repr(bg.diagnose(old)) == repr(bg.diagnose(tree))
    xr.testing.assert_equal(
        bg.for_pymc(bg.relabel(old))["posterior"].to_dataset(), bg.for_pymc(bg.relabel(tree))["posterior"].to_dataset()
    )


def test_units_of_each_feature_do_not_matter(faithful):
    """Powers of two as units cause no rounding, so not a digit changes."""
    scale = np.array([2.0**-300, 2.0**160])
    plain, moved = quick(faithful), quick(scale * faithful.to_numpy())
    one, other = plain["posterior"], moved["posterior"]
    np.testing.assert_array_equal(other["mu"] / scale, one["mu"])
    np.testing.assert_array_equal(other["cov"] / np.outer(scale, scale), one["cov"])
    one, other = (each["hyperparameters"]["C0"] for each in (plain, moved))
    np.testing.assert_array_equal(other / np.outer(scale, scale), one)


@pytest.mark.slow
def test_a_seed_repeats_the_run(faithful):
    quick(faithful, draws=1, tune=1, chains=1)
    one, two = (quick(faithful, k=3, covariance="tied") for _ in range(2))
    xr.testing.assert_identical(one["posterior"].to_dataset(), two["posterior"].to_dataset())


@pytest.mark.slow
def test_relabelling_finds_the_true_permutation():
    """Five clusters in five dimensions, labels shuffled by hand; two of them differ in their covariances alone."""
    generator = rng(5)
    means = np.array([[0.0] * 5, [0.0] * 5, [9.0] * 5, [0, 9, 0, 9, 0], [9, 0, 0, 0, 9]])
    turned = np.eye(5) + 0.9 * (np.eye(5, k=1) + np.eye(5, k=-1)) / 2
    covariances = np.array([4 * np.eye(5), turned, np.eye(5), turned, np.eye(5)])
    x, _ = bg.Mixture(np.full(5, 0.2), means, covariances).sample(2_000, generator)
    tree = quick(x, 5, draws=100, tune=200)
    shape = tree["posterior"]["w"].shape
    permutation = generator.permuted(np.broadcast_to(np.arange(5), shape), axis=2)
    mixed = permute(tree, permutation)
    mended = bg.relabel(mixed)
    for name in ("w", "mu", "cov"):
        np.testing.assert_array_equal(mended["posterior"][name], tree["posterior"][name])
    np.testing.assert_array_equal(mended["hyperparameters"]["C0"], tree["hyperparameters"]["C0"])
    bg.raw_order(mended)


@pytest.mark.slow
def test_adaptive_length(faithful):
    tree = bg.fit(faithful, 2, draws=100, target_ess=500, random_seed=SEED, progressbar=False)
    assert tree.attrs["stopped_by"] == "target_ess"
    assert bg.diagnose(tree).invariants["ess_bulk"].min() >= 500


@pytest.mark.slow
def test_comparison_over_k(faithful):
    comparison = bg.compare(faithful, [1, 2], covariance="tied", random_seed=SEED, progressbar=False)
    assert comparison.best["elpd_loo"] == 2
    assert comparison.table["converged"].all()


def lkj_model(x, k=2):
    """A user's own priors: LKJ correlations and half-normal scales, one factor of a covariance for each cluster."""
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(k))
        mu = pm.Normal("mu", mu=x.mean(axis=0), sigma=3 * x.std(axis=0), shape=(k, 2))
        roots = []
        for j in range(k):
            root, _, _ = pm.LKJCholeskyCov(f"lkj_{j}", n=2, eta=2, sd_dist=pm.HalfNormal.dist(x.std(axis=0)))
            roots.append(root)
        chol = pm.Deterministic("chol", pm.math.stack(roots))
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, chol=chol), observed=x)
    return model


@pytest.mark.slow
def test_a_model_of_the_users_own(faithful, faithful_tree):
    tree = quick(faithful, model=lkj_model(faithful.to_numpy()), draws=300, tune=500, chains=2)
    posterior = tree["posterior"].to_dataset()
    assert posterior["cov"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    assert tree.attrs["prior"] == "custom model"
    check = bg.check_against_em(tree)
    assert check.total_variation < 0.1
    ours = bg.check_against_em(faithful_tree).table
    for name in ("w[0]", "mu[0, waiting]", "mu[1, eruptions]"):  # other priors, 272 observations
        assert abs(check.table.loc[name, "mean"] - ours.loc[name, "mean"]) < 0.5 * ours.loc[name, "sd"]


@pytest.mark.slow
def test_one_common_covariance_of_the_users_own(faithful):
    """PyMC's packed Cholesky factor has no start from EM. Its two standard deviations must not pass for one per cluster."""
    x = faithful.to_numpy()
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(2))
        mu = pm.Normal("mu", mu=x.mean(axis=0), sigma=3 * x.std(axis=0), shape=(2, 2))
        chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(x.std(axis=0)))
        pm.Deterministic("cov", chol @ chol.T)
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, chol=chol), observed=x)
    tree = quick(faithful, model=model, chains=2)
    assert "cluster" not in tree["posterior"]["chol_stds"].dims
    assert tree.attrs["covariance"] == "tied"
    cov = tree["posterior"]["cov"].values
    assert cov.shape == (2, 50, 2, 2, 2)
    assert (cov[:, :, 0] == cov[:, :, 1]).all()


def wrong_likelihood(x):
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(2))
        mu = pm.Normal("mu", sigma=10, shape=(2, 2))
        pm.Deterministic("cov", 2 * np.eye(2) * pm.math.ones((2, 1, 1)))
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, cov=np.eye(2)), observed=x)
    return model


def without_cov(x):
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(2))
        mu = pm.Normal("mu", sigma=10, shape=(2, 2))
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, cov=np.eye(2)), observed=x)
    return model


def of_normals(x):
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(2))
        mu = pm.Normal("mu", sigma=10, shape=(2, 2))
        pm.Deterministic("cov", pm.math.eye(2) * pm.math.ones((2, 1, 1)))
        pm.NormalMixture("x", w=w, mu=mu.T, sigma=1, observed=x)
    return model


def diagonal_model(x):
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(2))
        mu = pm.Normal("mu", mu=x.mean(axis=0), sigma=3 * x.std(axis=0), shape=(2, 2))
        sigma = pm.HalfNormal("sigma", sigma=x.std(axis=0), shape=(2, 2))
        cov = pm.Deterministic("cov", (sigma**2)[..., None] * np.eye(2))
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, cov=cov), observed=x)
    return model


@pytest.mark.slow
def test_a_model_states_its_own_structure():
    x = X[["waiting", "twice"]].to_numpy()  # collinear, which is legal for independent features
    tree = quick(x, model=diagonal_model(x), draws=20, tune=200, chains=2, covariance="diag")
    assert tree.attrs["covariance"] == "diag"
    cov = tree["posterior"]["cov"]
    assert cov.dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    np.testing.assert_allclose(cov, tree["posterior"]["sigma"].values[..., None] ** 2 * np.eye(2))  # relabelled alike
    with pytest.raises(
        ValueError, match="covariance must be left out beside model, whose covariances are 'diag', got 'tied'"
    ):
        bg.fit(x, 2, model=diagonal_model(x), covariance="tied")


def test_variables_over_clusters_and_features_are_known_by_their_shape():
    """A user's own variables, without named dims, are relabelled with the others."""
    front = ("chain", "draw")
    draws = {
        "w": ((*front, "w_dim_0"), np.full((1, 3, 4), 0.25)),
        "mu": ((*front, "mu_dim_0", "mu_dim_1"), rng(1).normal(size=(1, 3, 4, 2))),
        "cov": ((*front, "a", "b", "c"), np.broadcast_to(np.eye(2), (1, 3, 4, 2, 2))),
        "z": ((*front, "z_dim_0", "z_dim_1"), rng(2).normal(size=(1, 3, 4, 2))),
        "odd": ((*front, "odd_dim_0", "odd_dim_1"), rng(3).normal(size=(1, 3, 4, 5))),
    }
    posterior = as_contract(xr.Dataset(draws, coords={"chain": [0], "draw": [0, 1, 2]}), 4, 2)
    assert posterior["z"].dims == ("chain", "draw", "cluster", "z_dim_1")
    assert "cluster" not in posterior["odd"].dims


def of_another_width(x):
    with pm.Model() as model:
        w = pm.Dirichlet("w", a=np.ones(3))
        mu = pm.Normal("mu", sigma=10, shape=(3, 2))
        cov = pm.Deterministic("cov", pm.math.eye(2))
        pm.Mixture("x", w=w, comp_dists=pm.MvNormal.dist(mu=mu, cov=cov), observed=x)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_likelihood, r"Gaussian mixture with weights w, means mu and covariances cov, .*=pm.MvNormal.dist\(mu=mu, cov=cov\)"),
        (of_normals, r"its log density of the data is another one; write it with pm.Mixture\('x', w=w, comp_dists=pm.MvNormal"),
        (without_cov, r"model must have variables w, mu and cov \(or chol\) for 2 features, got .* pm.Deterministic for cov"),
        (of_another_width, r"model must have k = 2 components of 2 features, got shapes w \(3,\), mu \(3, 2\), cov \(2, 2\)"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_gets_a_sentence(faithful, make, message):
    with pytest.raises(ValueError, match=message):
        bg.fit(faithful, 2, model=make(faithful.to_numpy()), progressbar=False)


X = bg.datasets.old_faithful().assign(twice=lambda table: 2 * table["waiting"], constant=1.0)
WRONG = {
    "constant feature": (X[["eruptions", "constant"]], {}, r"column 'constant' of x must vary, got 272 observation\(s\) all equal to 1; leave it out"),
    "duplicated feature": (X[["eruptions", "waiting", "twice"]], {}, r"x must not have collinear columns for covariance='full', got columns 'waiting', 'twice'"),
    "collinear, tied": (np.c_[X.iloc[:, :2], X["eruptions"] + X["waiting"]], {"covariance": "tied"}, r"covariance='tied', got columns 0, 1, 2, each a linear combination of the others"),
    "too few": (X.iloc[:2, :2], {}, r"x must have more observations than features for covariance='full', got n = 2 for 2 features; use"),
    "unknown structure": (X.iloc[:, :2], {"covariance": "VVV"}, "covariance must be the name of a structure here, got mclust's 'VVV'; use 'full'"),
    "one name twice": (pd.concat([X["eruptions"]] * 2, axis=1), {}, "x must have columns of different names, got eruptions, eruptions; rename"),
    "narrow feature": (X.iloc[:, :2] * [1, 1e-200], {}, "column 'waiting' of x must have a range between"),
}  # fmt: skip


@pytest.mark.parametrize("door", [bg.fit_em, bg.build_model, bg.fit], ids=lambda door: door.__name__)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_get_a_sentence(door, case):
    x, options, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        door(x, 2, **options)


@pytest.mark.parametrize("covariance", ["diag", "spherical"])
def test_collinear_and_few_data_are_legal_without_correlations(faithful, covariance):
    collinear = faithful[["waiting"]].assign(twice=2 * faithful["waiting"])
    tree = quick(collinear, covariance=covariance, chains=2)
    assert np.isfinite(tree["posterior"]["cov"]).all()
    few = quick(X.iloc[[0, 1, 5, 30, 99], :2], covariance=covariance, chains=2)
    assert few["posterior"]["mu"].shape[-1] == 2


def test_kinds_of_columns():
    table = pd.DataFrame({"a": np.arange(30) % 7, "b": rng(1).normal(size=30), "c": pd.Categorical(["x", "y"] * 15)})
    with pytest.raises(TypeError, match=r"x must hold numeric columns, got c \(category\); convert or leave them out"):
        bg.fit_em(table, 2)
    assert bg.fit_em(table[["a", "b"]], 1).mixture.means[0, 0] == pytest.approx(table["a"].mean())


def test_widths_must_fit(faithful_tree):
    with pytest.raises(ValueError, match=r"grid must have 2 feature\(s\) like the data, got 3 column\(s\)"):
        bg.predictive_density(faithful_tree, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"x must have 2 feature\(s\) like the mixture, got 1"):
        bg.fit_em(X.iloc[:, :2], 2, random_seed=1).mixture.log_density([1.0])
    with pytest.raises(ValueError, match=r"HierarchicalPrior.b0 must have shape \(2,\), or \(K, 2\) for 2 feature"):
        bg.fit(X.iloc[:, :2], 2, prior=bg.HierarchicalPrior(b0=1.0))
    with pytest.raises(
        ValueError, match=r"G0 must have shape \(2,\) for data with 2 feature\(s\) and covariance='diag', got"
    ):
        bg.fit(X.iloc[:, :2], 2, prior=bg.HierarchicalPrior(G0=np.eye(2)), covariance="diag")
    with pytest.raises(ValueError, match=r"c0 must be above 0.5 for 2 features and covariance='full', got 0.4"):
        bg.fit(X.iloc[:, :2], 2, prior=bg.ConjugatePrior(c0=0.4))


def test_columns_in_another_order_are_not_taken_for_each_other(faithful_tree, faithful):
    with pytest.raises(
        ValueError, match="grid must have the columns eruptions, waiting, in this order, got waiting, eruptions"
    ):
        bg.predictive_density(faithful_tree, faithful[["waiting", "eruptions"]])
    named, bare = (bg.predictive_density(faithful_tree, x) for x in (faithful, faithful.to_numpy()))
    np.testing.assert_array_equal(named, bare)


@pytest.mark.slow
def test_the_predictive_density_integrates_to_one(faithful_tree):
    eruptions, waiting = np.linspace(0, 7, 141), np.linspace(20, 120, 141)
    grid = np.stack(np.meshgrid(eruptions, waiting, indexing="ij"), axis=-1).reshape(-1, 2)
    density = bg.predictive_density(faithful_tree, grid)
    assert list(density.coords["waiting"].values) == list(grid[:, 1])
    total = density.sel(statistic="mean").values.sum() * np.diff(eruptions)[0] * np.diff(waiting)[0]
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_missing_rows_are_dropped(faithful):
    holed = faithful.copy()
    holed.iloc[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"x must be finite, got 1 of 272 observations .*\(at positions 3\)"):
        bg.fit_em(holed, 2)
    tree = quick(holed, missing="drop", chains=2)
    assert 3 not in tree["observed_data"]["obs"].values
    assert tree["observed_data"].sizes["obs"] == 271
    followed = [name for name in bg.diagnose(tree).invariants.index if name.startswith("log p(x[")]
    log_likelihood = bg.add_log_likelihood(tree)["log_likelihood"]["x"]
    for name in followed:
        expected = float(log_likelihood.sel(obs=int(name[8:-2])).mean())
        assert bg.diagnose(tree).invariants.loc[name, "mean"] == pytest.approx(expected, rel=1e-9)
    assert len(followed) > 5


def test_standard_deviations_and_correlations_on_request(faithful_tree):
    tree = bg.add_correlations(faithful_tree)
    posterior = tree["posterior"].to_dataset()
    assert "sigma" not in faithful_tree["posterior"]
    assert posterior["sigma"].dims == ("chain", "draw", "cluster", "feature")
    one = posterior.isel(chain=2, draw=5, cluster=1)
    np.testing.assert_allclose(one["sigma"], np.sqrt(np.diag(one["cov"])))
    np.testing.assert_allclose(one["corr"] * one["sigma"].prod(), one["cov"].values[[0], [1]])
    assert tree["em_baseline"]["corr"].sel(pair="eruptions, waiting").dims == ("cluster",)
    assert not az.summary(tree, round_to="none").isna().any(axis=None)  # no variable is constant
    table = bg.diagnose(tree).parameters
    assert {"sigma[0, eruptions]", "corr[0, eruptions, waiting]"} <= set(table.index)
    assert bg.check_against_em(tree).ok
    xr.testing.assert_equal(bg.relabel(tree)["posterior"].to_dataset(), posterior)
    with pytest.raises(ValueError, match="tree must be of several features to have correlations, got one feature"):
        bg.add_correlations(make_tree(X["waiting"]))


def test_names_come_from_every_kind_of_table(faithful_tree, faithful):
    again = bg.build_model(faithful_tree["observed_data"]["x"], 2)
    assert list(again.coords["feature"]) == ["eruptions", "waiting"]
    assert list(bg.build_model(faithful.to_numpy(), 2).coords["feature"]) == [0, 1]
    assert list(bg.build_model(pd.DataFrame(faithful.to_numpy()), 2).coords["feature"]) == [0, 1]
    years = pd.DataFrame(faithful.to_numpy(), columns=[1999, 2000])
    assert list(bg.build_model(years, 2).coords["feature"]) == [1999, 2000]
    assert list(bg.build_model(years.rename(columns={2000: "x"}), 2).coords["feature"]) == ["1999", "x"]
