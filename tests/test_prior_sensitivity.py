"""The log prior against PyMC and SciPy, and its power-scaling against fits with other priors."""

import warnings

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import bayesgmm as bg
from bayesgmm.analysis.draws import read_draws
from bayesgmm.model.priors import prior_of
from tests.families import COVARIANCES
from tests.statistics import SEED, Z, rng

FEW = {"draws": 20, "chains": 2, "method": "gibbs", "random_seed": SEED, "progressbar": False}


def fitted(x, k=2, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)  # of 20 draws
        return bg.fit(x, k, **FEW | options)


def three_features():
    x = rng(1).normal(size=(60, 3))
    x[:20] += 4
    return x


def log_prior(tree):
    return bg.add_log_prior(tree)["log_prior"].to_dataset()


@pytest.mark.parametrize("kind", [bg.HierarchicalPrior, bg.ConjugatePrior])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("d", [1, 3])
def test_the_densities_are_scipys(d, covariance, kind):
    x = three_features()[:, 0] if d == 1 else three_features()
    tree = fitted(x, covariance=covariance, prior=kind(alpha=2.0))
    found, prior = log_prior(tree).isel(chain=1, draw=7), prior_of(tree.attrs["prior"])
    point = tree["posterior"].to_dataset().isel(chain=1, draw=7)
    assert found["w"].item() == pytest.approx(stats.dirichlet.logpdf(point["w"].values, [2.0, 2.0]))
    of_means = [stats.multivariate_normal.logpdf(mu, prior.b0, prior.B0) for mu in point["mu"].values]
    np.testing.assert_allclose(found["mu"], of_means)
    C0 = prior.C0 if kind is bg.ConjugatePrior else tree["hyperparameters"]["C0"].values[1, 7]
    blocks = [point["sigma"].values[j, None, None] ** 2 if d == 1 else point["cov"].values[j] for j in (0, 1)]
    if d == 3 and covariance in ("full", "tied"):
        expected = [stats.invwishart.logpdf(each, 2 * prior.c0, 2 * C0) for each in blocks]
        of_scale = kind is bg.HierarchicalPrior and stats.wishart.logpdf(C0, 2 * prior.g0, np.linalg.inv(2 * prior.G0))
    else:
        entries = [each[:1, 0] if covariance.endswith("spherical") or d == 1 else np.diagonal(each) for each in blocks]
        expected = [stats.invgamma.logpdf(each, prior.c0, scale=C0).sum() for each in entries]
        of_scale = kind is bg.HierarchicalPrior and stats.gamma.logpdf(C0, prior.g0, scale=1 / np.asarray(prior.G0)).sum()
    name = "sigma" if d == 1 else "cov"
    np.testing.assert_allclose(found[name], expected[0] if covariance.startswith("tied") else expected)
    if kind is bg.HierarchicalPrior:
        assert found["C0"].item() == pytest.approx(of_scale)
    else:
        assert "C0" not in found


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"noise": True}, {"family": "t"}], ids=["plain", "noise", "t"])
def test_the_densities_are_pymcs(options):
    x = three_features()[:, 0]
    tree = fitted(x, **options)
    own, prior = log_prior(tree), prior_of(tree.attrs["prior"])
    model = bg.build_model(x, 2, prior=prior, **options)
    drawn = bg.for_pymc(tree)
    with model:
        theirs = pm.stats.compute_log_prior(drawn, progressbar=False)["log_prior"].to_dataset()
    same = {"w": "w", "mu": "mu", "sigma": "sigma2", "C0": "C0"} | {name: name for name in ("w_noise", "nu") if name in own}
    assert set(own.data_vars) == set(same)
    for name, called in same.items():
        np.testing.assert_allclose(own[name], theirs[called].values, rtol=1e-8, atol=1e-6, err_msg=name)


def test_weighted_draws_are_those_of_a_scaled_prior():
    """One Gaussian of variance one, nearly: a normal prior of its mean, to the power a, has the precision a / B0."""
    x = rng(2).normal(size=20)
    prior = bg.ConjugatePrior(b0=1.5, B0=0.05, c0=1e5, C0=1e5)
    tree = bg.fit(x, 1, prior=prior, method="gibbs", draws=4_000, random_seed=SEED, progressbar=False)
    mu = tree["posterior"]["mu"].values.ravel()
    weights = np.exp(0.3 * log_prior(tree)["mu"].values.ravel())  # a = 1.3
    found = weights @ mu / weights.sum()
    error = np.sqrt(((weights * (mu - found)) ** 2).sum()) / weights.sum()
    exact = (1.5 * 1.3 / 0.05 + x.sum()) / (1.3 / 0.05 + 20)
    assert abs(found - exact) < Z * error, f"seed {SEED}"
    assert abs(mu.mean() - exact) > 2 * Z * error  # without weights it is another


def test_the_table_is_arvizs(faithful_tree):
    tree = bg.add_log_prior(bg.add_log_likelihood(faithful_tree))
    found = bg.prior_sensitivity(faithful_tree).table
    named = ["w", "mu", "C0"]
    theirs = az.psense_summary(tree, var_names=["w", "mu"], prior_var_names=named, round_to=6)
    for name, row in theirs.iterrows():
        np.testing.assert_allclose(found.loc[name], row[["prior", "likelihood"]].astype(float), atol=2e-6, err_msg=name)


def test_a_strong_prior_is_told():
    x = rng(3).normal(size=40)
    tree = bg.fit(x, 1, prior=bg.ConjugatePrior(b0=10.0, B0=0.1), method="gibbs", random_seed=SEED, progressbar=False)
    found = bg.prior_sensitivity(tree)
    assert not found.ok
    assert "depend on the prior (sensitivity above 0.05): " in found.sentence
    assert "mu[0]" in found.sentence
    assert "fit again with another prior" in found.findings[0].remedy
    assert found.findings[0].numbers["sensitivity"] == found.table["prior"].max()
    assert repr(found).startswith("Prior sensitivity: ")
    plain = bg.prior_sensitivity(bg.fit(rng(4).normal(size=2_000), 1, method="gibbs", random_seed=SEED, progressbar=False))
    assert plain.ok
    assert plain.sentence.startswith("the prior matters little: no sensitivity is above 0.05 (the largest is 0.0")


def test_clusters_that_cannot_be_told_apart_are_not_named(galaxies):
    tree = fitted(galaxies, 6, draws=100)
    assert not bg.label_quality(tree).trusted
    assert not [name for name in bg.prior_sensitivity(tree).table.index if "[" in name]


def test_fit_adds_it_on_request(two_small):
    tree = fitted(two_small, log_prior=True)
    xr.testing.assert_identical(tree["log_prior"].to_dataset(), log_prior(tree))


def test_models_of_ones_own_bring_their_log_prior(two_small):
    with pm.Model(coords={"cluster": range(2)}) as model:
        pm.Normal("mu", 5, 5, dims="cluster")
    with pytest.raises(
        ValueError, match=r"log_prior cannot be used beside model; add the group by pymc\.stats\.compute_log_prior"
    ):
        bg.fit(two_small, 2, model=model, log_prior=True)
    tree = fitted(two_small)
    own = log_prior(tree)
    tree.attrs["prior"] = "custom model"
    with pytest.raises(ValueError, match="tree must come from one of the package's own priors, got a custom model"):
        bg.prior_sensitivity(tree)
    tree["log_prior"] = xr.DataTree(own)
    pd.testing.assert_frame_equal(bg.prior_sensitivity(tree).table, bg.prior_sensitivity(fitted(two_small)).table)


def test_a_log_prior_that_is_none_gets_a_sentence(two_small):
    tree = fitted(two_small, log_prior=True)
    for damage in (-np.inf, np.nan):
        spoiled = tree.copy(deep=True)
        spoiled["log_prior"]["w"].values[0, 0] = damage
        with pytest.raises(ValueError, match=r"group log_prior of tree must hold finite numbers .* got others in w"):
            bg.prior_sensitivity(spoiled)
    for group in (xr.Dataset(), xr.Dataset({"w": ("draw", np.zeros(20))}), log_prior(tree).isel(draw=slice(5))):
        spoiled = tree.copy()
        spoiled["log_prior"] = xr.DataTree(group)
        with pytest.raises(
            ValueError, match="group log_prior of tree must hold finite numbers for each chain and draw, got"
        ):
            bg.prior_sensitivity(spoiled)


def test_sparse_weights_are_not_scaled(galaxies):
    """A power of 1.01 makes alpha = 0.01 a hundredth of it."""
    found = bg.prior_sensitivity(fitted(galaxies, 6, draws=100, prior=bg.HierarchicalPrior(alpha=0.01))).table
    assert found["prior"].max() < 1


def test_relabelling_takes_it_along(galaxies):
    tree = bg.relabel(fitted(galaxies, 3, relabel=False, log_prior=True))
    xr.testing.assert_allclose(tree["log_prior"].to_dataset(), log_prior(tree))


def test_few_draws_get_a_sentence(two_small):
    with pytest.raises(ValueError, match="tree must have at least 4 draws in each chain, got 3; raise draws"):
        bg.prior_sensitivity(fitted(two_small).isel(draw=slice(3)))


def test_draws_are_concatenated_as_they_stand(two_small):
    """Densities belong to the draws at their places."""
    tree = fitted(two_small)
    draws, found = read_draws(tree), log_prior(tree)
    prior = prior_of(tree.attrs["prior"])
    expected = stats.norm.logpdf(draws.by_chain(draws.mu[..., 0]), prior.b0, np.sqrt(prior.B0))
    np.testing.assert_allclose(found["mu"], expected)
