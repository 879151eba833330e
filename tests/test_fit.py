"""``fit``: the tree it returns, ArviZ's use of it, repetition, units, custom models, interrupts."""

import os
import signal
import subprocess
import sys
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import nutpie
import pymc as pm
import pytest
import xarray as xr
from arviz_stats.base import array_stats

import bayesgmm as bg
from bayesgmm.analysis.tree import read_permutation
from bayesgmm.engines import nutpie_interface, nuts
from bayesgmm.engines.phases import Phases
from bayesgmm.engines.pymc_target import unconstrained
from bayesgmm.engines.starts import Optimum, deal, weigh
from bayesgmm.exceptions import ApproximationWarning, ConvergenceWarning, EngineWarning, InterruptedWarning
from bayesgmm.fitting import finishing
from bayesgmm.posterior import log_posterior
from tests.statistics import SEED, assert_same_means


def quick(x, k=2, **options):
    """A run too short to have converged, for tests that do not ask whether it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", ApproximationWarning)
        return bg.fit(x, k, **{"random_seed": SEED, "progressbar": False} | options)


def compile_first(x, method, **options):
    """Fill the compiler's cache: freshly compiled code may round otherwise than the same code from the cache."""
    quick(x, method=method, **options | {"draws": 1, "chains": 1} | {"nuts": {"tune": 1}, "advi": {"max_iter": 1}}[method])


def test_the_tree_keeps_its_contract(nuts_tree, galaxies):
    assert set(nuts_tree.children) == {
        "posterior", "hyperparameters", "sample_stats", "observed_data", "em_baseline", "log_likelihood", "posterior_predictive",
    }  # fmt: skip
    posterior = nuts_tree["posterior"].to_dataset()
    for name in ("w", "mu", "sigma"):
        assert posterior[name].dims == ("chain", "draw", "cluster")
        assert posterior[name].shape == (4, 1000, 3)
    assert nuts_tree["hyperparameters"]["C0"].dims == ("chain", "draw")
    assert "C0" in bg.diagnose(nuts_tree).parameters.index
    assert set(posterior.data_vars) == {"w", "mu", "sigma"}
    np.testing.assert_allclose(posterior["w"].sum("cluster"), 1)
    np.testing.assert_array_equal(nuts_tree["observed_data"]["x"], galaxies)
    baseline, em = nuts_tree["em_baseline"], bg.fit_em(galaxies, 3, random_seed=SEED)
    np.testing.assert_allclose(baseline["mu"], em.mixture.means, rtol=1e-4)
    assert baseline.attrs["bic"] == pytest.approx(em.bic(), rel=1e-6)
    attrs = nuts_tree.attrs
    assert (attrs["method"], attrs["k"], attrs["covariance"], attrs["seed"]) == ("nuts", 3, "full", SEED)
    assert '"name": "HierarchicalPrior"' in attrs["prior"]
    assert all(attrs[f"seconds_{phase}"] > 0 for phase in ("em", "compile", "sampling"))
    assert nuts_tree["log_likelihood"]["x"].shape == nuts_tree["posterior_predictive"]["x"].shape == (4, 1000, 82)


def test_nuts_converges_on_the_galaxies_and_agrees_with_em(nuts_tree):
    diagnosis, check = bg.diagnose(nuts_tree), bg.check_against_em(nuts_tree)
    assert diagnosis.converged, diagnosis
    assert check.ok, check
    assert diagnosis.sampler["divergences"] == 0


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")  # two galaxies of 82
def test_arviz_reads_the_tree(nuts_tree):
    summary = az.summary(nuts_tree, round_to="none")
    assert set(summary.index) == {f"{name}[{j}]" for name in ("w", "mu", "sigma") for j in range(3)}
    assert az.summary(nuts_tree, group="hyperparameters").index.tolist() == ["C0"]
    assert summary.loc["mu[1]", "mean"] == pytest.approx(21.4, abs=0.3)
    loo = az.loo(nuts_tree)
    assert loo.elpd == pytest.approx(-213, abs=2)
    for plot in (az.plot_trace, az.plot_trace_dist, az.plot_energy):
        plot(nuts_tree, backend="matplotlib")
    az.plot_ppc_dist(nuts_tree, backend="matplotlib")
    plt.close("all")


def test_draws_are_relabelled_and_the_raw_order_kept(nuts_tree, galaxies):
    assert bg.check_against_em(nuts_tree).table.loc["mu[0]", "mean"] == pytest.approx(9.7, abs=0.2)
    raw = quick(galaxies, 3, draws=60, tune=60, relabel=False)
    relabelled = quick(galaxies, 3, draws=60, tune=60)
    assert (read_permutation(raw) == np.arange(3)).all()
    np.testing.assert_array_equal(bg.raw_order(relabelled)["posterior"]["mu"], raw["posterior"]["mu"])
    np.testing.assert_array_equal(bg.relabel(raw)["posterior"]["mu"], relabelled["posterior"]["mu"])


@pytest.mark.parametrize("method", ["nuts", pytest.param("advi", marks=pytest.mark.slow)])
def test_a_seed_repeats_the_run_and_its_record_repeats_it_too(galaxies, method):
    options = {"nuts": {"tune": 60}, "advi": {"max_iter": 600}}[method]
    compile_first(galaxies, method)
    first = quick(galaxies, method=method, draws=60, chains=2, **options)
    again = quick(galaxies, method=method, draws=60, chains=2, **options)
    other = quick(galaxies, method=method, draws=60, chains=2, random_seed=SEED + 1, **options)
    unseeded = quick(galaxies, method=method, draws=60, chains=2, random_seed=None, **options)
    repeated = quick(galaxies, method=method, draws=60, chains=2, random_seed=unseeded.attrs["seed"], **options)
    for one, two in ((first, again), (unseeded, repeated)):
        np.testing.assert_array_equal(one["posterior"]["mu"], two["posterior"]["mu"])
    assert not np.array_equal(first["posterior"]["mu"], other["posterior"]["mu"])


@pytest.mark.parametrize(
    ("method", "covariance", "prior"),
    [
        ("nuts", "full", bg.HierarchicalPrior()),
        pytest.param("nuts", "tied", bg.ConjugatePrior(), marks=pytest.mark.slow),
        pytest.param("advi", "full", bg.ConjugatePrior(), marks=pytest.mark.slow),
        ("advi", "tied", bg.HierarchicalPrior()),
    ],
    ids=["nuts-full-hierarchical", "nuts-tied-conjugate", "advi-full-conjugate", "advi-tied-hierarchical"],
)
def test_another_unit_gives_the_same_posterior_in_that_unit(two_small, method, covariance, prior):
    compile_first(two_small, method, covariance=covariance, prior=prior)
    options = {"method": method, "covariance": covariance, "prior": prior, "draws": 60, "chains": 2}
    options |= {"nuts": {"tune": 60}, "advi": {"max_iter": 600}}[method]
    scale = 2.0**40  # a power of two, so that standardising gives the same numbers to the last bit
    plain, moved = quick(two_small, **options), quick(two_small * scale, **options)
    np.testing.assert_array_equal(moved["posterior"]["w"], plain["posterior"]["w"])
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(moved["posterior"][name], scale * plain["posterior"][name], rtol=1e-12)
    assert ("hyperparameters" in plain.children) == isinstance(prior, bg.HierarchicalPrior)
    if "hyperparameters" in plain.children:
        one, other = (each["hyperparameters"]["C0"] for each in (plain, moved))
        np.testing.assert_allclose(other, scale**2 * one, rtol=1e-12)
    if covariance == "tied":
        np.testing.assert_array_equal(plain["posterior"]["sigma"][..., 0], plain["posterior"]["sigma"][..., 1])
    assert (plain["posterior"]["sigma"] > 0).all()
    if method == "advi":
        jacobian = len(two_small) * np.log(scale)
        np.testing.assert_allclose(moved["approximation"]["elbo"], plain["approximation"]["elbo"] - jacobian, rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e9])
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_units_are_legal(two_small, scale, shift):
    tree = quick(scale * (two_small + shift), draws=60, tune=100, chains=2)
    for name in ("w", "mu", "sigma"):
        assert np.isfinite(tree["posterior"][name]).all()
    centred = tree["posterior"]["mu"].mean(("chain", "draw")) / scale - shift
    np.testing.assert_allclose(centred, tree["em_baseline"]["mu"] / scale - shift, atol=1.5)


@pytest.mark.parametrize("method", ["nuts", "advi"])
def test_one_component_is_dull(galaxies, method):
    tree = quick(galaxies, 1, method=method, draws=500, chains=2)
    assert (tree["posterior"]["w"] == 1).all()
    assert tree["posterior"]["mu"].mean() == pytest.approx(galaxies.mean(), abs=0.2)
    assert tree["posterior"]["sigma"].mean() == pytest.approx(galaxies.std(), abs=0.2)


def test_missing_observations_are_dropped_and_the_others_keep_their_places(two_small):
    x = np.insert(two_small, [3, 100], [np.nan, -np.inf])
    tree = quick(x, draws=30, tune=30, chains=2, missing="drop")
    np.testing.assert_array_equal(tree["observed_data"]["x"], two_small)
    assert tree["observed_data"]["obs"].values[[2, 3, -1]].tolist() == [2, 4, 401]


def test_advi_records_its_approximation(advi_tree):
    approximation = advi_tree["approximation"]
    assert approximation.attrs["family"] == "fullrank"
    assert approximation.attrs["converged"] == 1
    elbo = approximation["elbo"].values
    assert len(elbo) >= 3500
    assert elbo[-500:].mean() >= elbo[:50].mean() - 0.5
    log_ratios = (advi_tree["sample_stats"]["lp"] - advi_tree["sample_stats"]["log_q"]).values.ravel()
    weights = np.exp(log_ratios - log_ratios.max())
    efficiency = weights.sum() ** 2 / (weights**2).sum() / len(weights)
    assert approximation.attrs["importance_efficiency"] == pytest.approx(efficiency, rel=0.2)  # there it is smoothed by PSIS
    # the ELBO is the mean log ratio, in the data's units; drawing C0 from its exact conditional can only raise it
    scale = np.log(bg.datasets.galaxies().std(ddof=0))
    noise = elbo[-2000:].std() / np.sqrt(2000) + log_ratios.std() / np.sqrt(len(log_ratios))
    gain = log_ratios.mean() - 82 * scale - elbo[-2000:].mean()
    assert -5 * noise < gain < 0.5


@pytest.mark.slow
def test_mean_field_on_correlated_parameters_is_warned_of_by_name(two_small):
    with pytest.warns(ApproximationWarning, match=r"PSIS k-hat \d\.\d\d \(> 0.7\), importance sampling efficiency"):
        tree = bg.fit(two_small, 2, method="advi", approximation="meanfield", random_seed=SEED, progressbar=False)
    assert tree["approximation"].attrs["family"] == "meanfield"
    assert tree["approximation"].attrs["pareto_k"] > 0.7
    full = quick(two_small, method="advi")
    narrow, wide = (each["posterior"]["mu"].std(("chain", "draw")).values for each in (tree, full))
    assert (narrow < 0.9 * wide).all()


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ApproximationWarning")
def test_advi_that_stops_early_says_so(galaxies):
    with pytest.warns(ConvergenceWarning, match="ADVI did not converge"):
        tree = bg.fit(galaxies, 2, method="advi", max_iter=300, random_seed=SEED, progressbar=False)
    assert not bg.diagnose(tree).converged


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # there is one for each trouble
def test_nuts_that_has_not_converged_says_so(galaxies):
    with pytest.warns(ConvergenceWarning, match="not converged|too few effective draws"):
        bg.fit(galaxies, 6, draws=30, tune=30, random_seed=SEED, progressbar=False)


def test_phases_are_announced_on_standard_error(two_small, capfd):
    quick(two_small, draws=20, tune=20, chains=2, progressbar=True)
    out, err = capfd.readouterr()
    assert "EM: k = 2, n = 400" in err
    assert "compiling the posterior" not in err
    assert "sampling 2 chains x (20 + 20 to 120) draws" in err  # clusters overlap, so thinning grows as needed
    assert out == ""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "advi"])
def test_both_engines_give_the_same_tree(two_small, method):
    compiled, pymc = (quick(two_small, method=method, engine=engine, draws=50) for engine in ("compiled", "pymc"))
    assert compiled.attrs["engine"] == "compiled"
    assert pymc.attrs["engine"] == "pymc"
    assert list(compiled.children) == list(pymc.children)
    assert set(compiled.attrs) == set(pymc.attrs)
    for group in compiled.children:
        one, two = (tree[group].to_dataset() for tree in (compiled, pymc))
        assert list(one.data_vars) == list(two.data_vars)
        for name in one.data_vars:
            assert (one[name].dims, one[name].dtype) == (two[name].dims, two[name].dtype)


@pytest.mark.slow
def test_another_nutpie_is_noticed_and_pymc_takes_over(two_small, monkeypatch):
    for name, changed, message in (
        ("_FIELDS", nutpie_interface._FIELDS | {"another_field"}, r"its compiled model has other fields \(another_field\)"),
        ("_OPTIONS", {"chain_count"}, "it lacks chain_count"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(nutpie_interface, name, changed)
            with pytest.warns(EngineWarning, match=f"{message}; PyMC's engine is used"):
                tree = quick(two_small, draws=20, tune=50, chains=2)
        assert tree.attrs["engine"] == "pymc"
    monkeypatch.setitem(sys.modules, "nutpie", None)  # not installed at all
    with pytest.warns(EngineWarning, match="import of nutpie halted"):
        tree = quick(two_small, draws=20, tune=50, chains=2, target_ess=1e6, max_draws=25)
    assert tree.attrs["engine"] == "pymc"
    assert tree.attrs["stopped_by"] == "max_draws"
    assert quick(two_small, method="advi", draws=20).attrs["engine"] == "compiled"  # which has no need of nutpie


def test_sampling_goes_on_until_the_target_is_reached(galaxies):
    tree = bg.fit(galaxies, 3, draws=100, target_ess=600, random_seed=SEED, progressbar=False)
    table = bg.diagnose(tree).invariants
    assert tree.attrs["stopped_by"] == "target_ess"
    assert table["ess_bulk"].min() >= 600
    assert table["r_hat"].max() <= 1.01
    length = tree["posterior"].sizes["draw"]
    assert 100 < length < tree.attrs["max_draws"] == 2_000
    again = bg.fit(galaxies, 3, draws=100, target_ess=600, random_seed=SEED, progressbar=False)
    np.testing.assert_array_equal(tree["posterior"]["mu"], again["posterior"]["mu"])
    shorter = tree.isel(draw=slice(0, int(length / 1.5) - 1))  # at the previous check it was too short
    assert bg.diagnose(shorter).invariants["ess_bulk"].min() < 600


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # there is one for each trouble
def test_a_target_out_of_reach_ends_with_the_budget_and_says_so(galaxies):
    with pytest.warns(
        ConvergenceWarning, match=r"target_ess = 1e\+06 was not reached in max_draws = 300 draws of each chain"
    ):
        tree = bg.fit(galaxies, 3, draws=100, target_ess=1e6, max_draws=300, random_seed=SEED, progressbar=False)
    assert tree.attrs["stopped_by"] == "max_draws"
    assert tree["posterior"].sizes == {"chain": 4, "draw": 300, "cluster": 3}


def test_one_chain_is_judged_by_its_halves(galaxies):
    tree = quick(galaxies, 3, chains=1, draws=8, tune=100, target_ess=300)
    assert tree.attrs["stopped_by"] in ("target_ess", "max_draws")
    assert tree["posterior"].sizes["draw"] > 8


@pytest.mark.slow
def test_low_rank_adaptation_is_for_posteriors_near_a_gaussian(two_small):
    for x, k, expected in ((two_small, 2, "low_rank"), (two_small, 4, "diag")):
        own = own_posterior((x - x.mean()) / x.std(), k)
        em = bg.fit_em(x, k, random_seed=SEED).mixture.rescaled(-x.mean() / x.std(), 1 / x.std())
        optima = [Optimum(0, own.at(em), None, 1.0)]
        assert nuts.choose_geometry(own, optima, 2, 1, Phases(announce=False)).adaptation == expected
    tree = quick(two_small, draws=20, tune=20)
    assert tree.attrs["adaptation"] == "low_rank"
    assert tree.attrs["tune"] == 20
    assert quick(two_small, draws=20).attrs["tune"] == 200
    assert quick(two_small, draws=20, target_accept=0.99).attrs["target_accept"] == 0.99


def test_the_lengths_at_which_an_adaptive_run_is_judged_are_fixed_beforehand():
    settings = nuts.NutsSettings(10, 1, 4, 1, 0.9, False, enough=lambda *_: True, max_draws=50)
    assert [stop.steps for stop in settings.stops] == [10, 15, 23, 35, 50]
    assert nuts.NutsSettings(10, 1, 4, 1, 0.9, False, thin=3).stops == [(30, 3)]
    growing = nuts.NutsSettings(10, 1, 4, 1, 0.9, False, enough=lambda *_: True, most_thin=5)
    assert growing.stops == [(10, 1), (20, 2), (40, 4), (50, 5)]
    assert [growing.stop_at(steps) for steps in (3, 10, 49, 50)] == [(3, 1), (10, 1), (49, 4), (50, 5)]


def own_model(x, names=("w", "mu", "sigma"), observed=None, turned=False, precision=False):
    """What a user might write: other priors, dims of his own."""
    x = np.asarray(x)
    with pm.Model(coords={"group": range(2)}) as model:
        w = pm.Dirichlet(names[0], a=np.array([2.0, 2.0]), dims="group")
        mu = pm.Normal(names[1], x.mean(), 10, shape=2)
        sigma = pm.HalfNormal(names[2], 5)
        pm.Deterministic("variance", pm.math.stack([sigma, sigma]) ** 2)
        spread = {"tau": sigma} if precision else {"sigma": sigma}
        data = x if observed is None else observed
        pm.NormalMixture("velocity", w=w[::-1] if turned else w, mu=mu, observed=data, **spread)
    return model


@pytest.mark.slow
def test_a_custom_model_gives_the_same_tree(two_small):
    options = {"draws": 100, "tune": 500, "target_ess": 500, "max_draws": 3_000, "log_likelihood": True}
    tree = quick(two_small, model=own_model(two_small), **options)
    assert tree.attrs["stopped_by"] == "target_ess"
    assert 100 < tree["posterior"].sizes["draw"] < 3_000
    assert bg.diagnose(tree).invariants["ess_bulk"].min() >= 500
    for name in ("w", "mu", "sigma"):
        assert tree["posterior"][name].dims == ("chain", "draw", "cluster")
    assert tree.attrs["prior"] == "custom model"
    np.testing.assert_array_equal(tree["posterior"]["sigma"][..., 0], tree["posterior"]["sigma"][..., 1])
    np.testing.assert_allclose(tree["posterior"]["variance"], tree["posterior"]["sigma"] ** 2)
    assert tree["posterior"]["variance"].dims == ("chain", "draw", "cluster")
    assert bg.diagnose(tree).converged
    assert tree.attrs["covariance"] == "tied"
    tied = bg.fit_em(two_small, 2, covariance="tied", random_seed=SEED)
    assert tree["em_baseline"].attrs["log_likelihood"] == pytest.approx(tied.log_likelihood, rel=1e-6)
    assert az.loo(tree).elpd < 0
    advi = quick(two_small, method="advi", model=own_model(two_small))
    for name in ("w", "mu"):
        for cluster in range(2):
            one, two = (each["posterior"][name].values[..., cluster] for each in (tree, advi))
            assert abs(one.mean() - two.mean()) < 0.3 * one.std()


@pytest.mark.slow
def test_the_packages_own_model_handed_in_as_custom_gives_the_same_posterior(two_small):
    """One fit samples standardised data by Gibbs; the other samples the model in the data's units by ``pm.sample``."""
    own = bg.fit(two_small, 2, method="gibbs", random_seed=SEED, progressbar=False)
    handed = bg.fit(two_small, 2, model=bg.build_model(two_small, 2), random_seed=SEED + 1, progressbar=False)
    one, two = bg.check_against_em(own).table, bg.check_against_em(handed).table
    for name in one.index:
        a, b = one.loc[name], two.loc[name]
        assert_same_means(a["mean"], a["mcse_mean"], b["mean"], b["mcse_mean"], name)


@pytest.mark.slow
def test_a_custom_model_whose_priors_exclude_the_em_estimate_starts_elsewhere(galaxies):
    x = galaxies.to_numpy()
    with pm.Model() as model:
        w, sigma = pm.Dirichlet("w", np.ones(3)), pm.HalfNormal("sigma", 5, shape=3)
        mu = pm.Uniform("mu", 0, 30, shape=3)  # the third group lies at 33
        pm.NormalMixture("x", w=w, mu=mu, sigma=sigma, observed=x)
    tree = quick(x, 3, model=model, draws=50, tune=200, chains=2)
    assert (tree["posterior"]["mu"] < 30).all()


@pytest.mark.slow
def test_chains_start_at_different_optima_and_show_that_they_disagree(two_small):
    """Symmetric data have two mirrored solutions of equal mass."""
    with pytest.warns(ConvergenceWarning, match="the chains sit in different solutions"):
        tree = bg.fit(np.concatenate([two_small, -two_small]), 3, method="nuts", random_seed=SEED, progressbar=False)
    sides = np.sign(tree["posterior"]["mu"].median("cluster").mean("draw").values)
    assert set(sides) == {-1, 1}
    assert bg.check_against_em(tree).unjudged


def own_posterior(x, k):
    return log_posterior(x[:, None], k, bg.HierarchicalPrior().scaled_to(x), "full")


def test_optima_are_weighed_by_their_share_of_the_posterior(two_small):
    """Two mirror images weigh the same, and a mode that is met again counts once."""
    mirrored = np.concatenate([two_small, -two_small])
    own = own_posterior(mirrored, 3)
    left, right = ([-10.0, -5.0, 7.0], [-7.0, 5.0, 10.0])
    points = [own.at(bg.Mixture([0.375, 0.125, 0.5], left, sigma=[2, 1.5, 3]))]
    points += [own.at(bg.Mixture([0.5, 0.125, 0.375], right, sigma=[3, 1.5, 2])), points[0] + 0.01]
    optima = weigh(own, points)
    assert [each.which for each in sorted(optima, key=lambda each: each.which)] == [0, 1]
    np.testing.assert_allclose([each.mass for each in optima], 0.5, atol=0.02)
    assert sorted(deal(optima, 4)) == [0, 0, 1, 1]
    optima = [Optimum(i, points[0], None, mass) for i, mass in enumerate((0.6, 0.3, 0.1))]
    assert [deal(optima, chains) for chains in (1, 3, 10)] == [[0], [0, 0, 1], [0] * 6 + [1] * 3 + [2]]


def test_the_tree_says_which_optima_em_found(galaxies):
    tree = quick(galaxies, 2, draws=10)
    optima = tree["optima"].to_dataset()
    assert dict(optima.sizes) == {"optimum": 2, "cluster": 2}
    assert optima["mass"].sum() == pytest.approx(1)
    assert optima["chains"].values.tolist() == [4, 0]
    assert optima["log_likelihood"][1] > optima["log_likelihood"][0]  # the higher one has less mass, because it is narrower
    assert optima["log_likelihood"].max() == pytest.approx(tree["em_baseline"].attrs["log_likelihood"])
    assert "optima" not in quick(two_lumps(), draws=10).children


def two_lumps():
    return np.random.default_rng(SEED).normal(np.repeat([0.0, 20.0], 30))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["compiled", "pymc"])
def test_thinned_chains_are_the_whole_ones_thinned(two_small, engine):
    whole = quick(two_small, draws=40, tune=100, chains=2, relabel=False, thin=1, engine=engine)
    thinned = quick(two_small, draws=10, tune=100, chains=2, relabel=False, thin=4, engine=engine)
    last = {"draw": slice(3, None, 4)}
    xr.testing.assert_equal(
        thinned["posterior"].to_dataset(), whole["posterior"].to_dataset().isel(last).assign_coords(draw=range(10))
    )
    stats, all_stats = thinned["sample_stats"].to_dataset(), whole["sample_stats"].to_dataset()
    np.testing.assert_array_equal(stats["lp"], all_stats["lp"].isel(last))
    np.testing.assert_array_equal(stats["n_steps"].sum("draw"), all_stats["n_steps"].sum("draw"))
    np.testing.assert_array_equal(stats["diverging"], all_stats["diverging"].coarsen(draw=4).max())
    assert thinned.attrs["thin"] == 4


def test_thinning_does_not_hide_slow_energies(two_small):
    whole, thinned = (quick(two_small, draws=draws, tune=100, thin=thin) for draws, thin in ((80, 1), (20, 4)))
    bfmi = array_stats.bfmi(whole["sample_stats"]["energy"].values)
    np.testing.assert_allclose(thinned["sample_stats"]["bfmi"], bfmi)
    assert bg.diagnose(thinned).sampler["smallest BFMI"] == pytest.approx(bfmi.min())


@pytest.mark.slow
def test_a_sparse_prior_leaves_components_empty_and_starts_all_the_same(galaxies):
    for seed in (0, 1):
        tree = quick(galaxies, 6, prior=bg.HierarchicalPrior(alpha=0.01), random_seed=seed, draws=20)
        assert np.isfinite(tree["posterior"]["mu"]).all()


@pytest.mark.slow
def test_the_tree_says_where_chains_began(galaxies, monkeypatch):
    assert quick(galaxies, 4, method="advi", draws=10)["optima"]["chains"].values.tolist()[1:] == [0, 0]
    monkeypatch.setattr("bayesgmm.fitting.asked._lacks_nutpie", lambda: True)
    tree = quick(galaxies, 2, draws=200, tune=300, chains=1)
    assert tree["optima"]["chains"].values.tolist() == [1, 0]
    assert (tree["posterior"]["w"].min("cluster").mean() > 0.15).all()  # the solution of most mass has weights .26 and .74


@pytest.mark.slow
def test_draws_take_as_many_steps_as_it_takes_unless_the_posterior_is_all_but_a_gaussian(two_small, galaxies):
    few, some, many = (quick(galaxies, 3, method="nuts", draws=draws, thin=None).attrs["thin"] for draws in (5, 500, 8000))
    assert few == 8  # the most: five draws are never enough
    assert 1 < some <= 8
    assert many <= min(2, some)
    nearer = quick(two_small, 2, draws=5)
    assert nearer.attrs["adaptation"] == "low_rank"
    assert nearer.attrs["target_accept"] == 0.95
    assert nearer.attrs["thin"] == 6
    apart, _ = bg.Mixture([0.5, 0.5], [0.0, 10.0], sigma=[1.0, 1.0]).sample(1_000, random_seed=1)
    nearest = quick(apart, 2, draws=5)
    assert nearest.attrs["target_accept"] == 0.8
    assert nearest.attrs["thin"] == 1


@pytest.mark.slow
def test_starts_are_points_of_the_models_that_nutpie_samples(two_small):
    start = {"w": np.array([0.3, 0.7]), "mu": np.array([4.0, 9.0]), "sigma2": np.array([1.0, 3.0]), "C0": np.array(2.0)}
    model = bg.build_model(two_small, 2)
    compiled = nutpie.compile_pymc_model(model, initial_points=start, jitter_rvs=set())
    own = own_posterior(two_small, 2)
    for point in (unconstrained(model, start).data, own.unconstrained(start)):
        np.testing.assert_allclose(point, compiled.initial_point_func(0))


@pytest.mark.slow
@pytest.mark.parametrize(("x", "k"), [([1.0, 2.0], 2), ([1.0, 2.0, 4.0], 3)])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.CollapsedComponentWarning")
def test_as_many_components_as_observations(x, k):
    for method in ("nuts", "advi"):
        tree = quick(x, k, method=method, draws=1, chains=1)
        assert np.isfinite(tree["posterior"]["mu"]).all()
        assert not bg.check_against_em(tree).ok


def student(x):
    with pm.Model() as model:
        w, mu, sigma = pm.Dirichlet("w", np.ones(2)), pm.Normal("mu", 8, 5, shape=2), pm.HalfNormal("sigma", 5, shape=2)
        pm.Mixture("x", w=w, comp_dists=pm.StudentT.dist(nu=4, mu=mu, sigma=sigma), observed=x)
    return model


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda x: "model", {}, TypeError, "model must be a pm.Model, got str"),
        (
            lambda x: own_model(x, names=("p", "mu", "sigma")),
            {},
            ValueError,
            "model must have variables w, mu and sigma, got .*'p'",
        ),
        (lambda x: own_model(x, observed=x + 1), {}, ValueError, "model must observe the same data as x"),
        (lambda x: own_model(x, observed=x[:-1]), {}, ValueError, "model must observe the same data as x"),
        (own_model, {"k": 3}, ValueError, r"model must have k = 3 components, got shapes w \(2,\)"),
        (own_model, {"prior": bg.ConjugatePrior()}, ValueError, "give either prior or model"),
        (lambda x: own_model(x, turned=True), {}, ValueError, "but its log density of the data is another one"),
        (lambda x: own_model(x, precision=True), {}, ValueError, "but its log density of the data is another one"),
        (student, {}, ValueError, "model must be a Gaussian mixture with weights w, means mu and standard deviations sigma"),
    ],
)
def test_a_custom_model_of_something_else_is_refused(two_small, make, options, error, message):
    with pytest.raises(error, match=message):
        bg.fit(two_small, **{"k": 2, "model": make(two_small)} | options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"method": "gibbs-sampler"},
            ValueError,
            "method must be one of 'nuts', 'gibbs', 'advi', 'laplace', got 'gibbs-sampler'",
        ),
        (
            {"covariance": "iso"},
            ValueError,
            "covariance must be one of 'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', got 'iso'",
        ),
        ({"draws": 0}, ValueError, "draws must be an integer of at least 1, got 0"),
        ({"chains": -1}, ValueError, "chains must be an integer of at least 1, got -1"),
        ({"draws": 10.5}, TypeError, "draws must be an integer"),
        ({"tune": 0}, ValueError, "tune must be an integer of at least 1, got 0"),
        ({"target_accept": 1.5}, ValueError, "target_accept must lie between 0 and 1"),
        (
            {"method": "advi", "tune": 100},
            TypeError,
            "tune is an option of method='nuts' and method='gibbs', got method='advi'; leave it out",
        ),
        ({"approximation": "fullrank"}, TypeError, "approximation is an option of method='advi'"),
        ({"method": "advi", "approximation": "flow"}, ValueError, "approximation must be one of 'fullrank', 'meanfield'"),
        ({"engine": "stan"}, ValueError, "engine must be one of 'compiled', 'pymc', got 'stan'"),
        ({"target_ess": 0}, ValueError, "target_ess must be a positive finite number, got 0"),
        ({"max_draws": 5_000}, TypeError, "max_draws limits a run with target_ess, got it alone"),
        ({"target_ess": 400, "max_draws": 10}, ValueError, "max_draws must be at least draws, got 10 with draws = 1000"),
        ({"target_ess": True}, TypeError, "target_ess must be a positive number, got True"),
        ({"method": "advi", "target_ess": 400}, TypeError, "target_ess is an option of method='nuts'"),
        ({"prior": "flat"}, TypeError, "prior must be a HierarchicalPrior or a ConjugatePrior, got str"),
        ({"prior": bg.ConjugatePrior(C0=np.eye(2))}, ValueError, "C0 must have shape"),
    ],
)
def test_bad_options_get_a_sentence(two_small, options, error, message):
    with pytest.raises(error, match=message):
        bg.fit(two_small, 2, **options)


def piece(chains, lengths):
    """What nutpie hands over: chains of unequal lengths, filled up with NaN."""
    shape = (chains, max(lengths))
    done = np.arange(shape[1]) < np.array(lengths)[:, None]
    values = np.where(done, np.arange(chains)[:, None] + 1.0, np.nan)
    coords = {"chain": np.arange(chains), "draw": np.arange(shape[1])}
    posterior = xr.Dataset({"mu": (("chain", "draw"), values)}, coords=coords)
    stats = {"logp": values, "diverging": np.zeros(shape, dtype=bool), "depth": np.ones(shape, dtype=np.uint64)}
    stats = xr.Dataset({name: (("chain", "draw"), value) for name, value in stats.items()}, coords=coords)
    stats["divergence_message"] = (("chain", "draw"), np.full(shape, None))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


@pytest.mark.parametrize(
    ("parts", "shape", "interrupted"),
    [
        ([piece(4, [10, 10, 10, 10])], (4, 10), False),
        ([piece(2, [10, 10]), piece(2, [10, 10])], (4, 10), False),
        ([piece(4, [10, 10, 3, 0])], (2, 10), True),
        ([piece(4, [7, 9, 8, 0])], (3, 7), True),
        ([piece(2, [10, 10]), piece(2, [4, 4])], (2, 10), True),
        ([piece(2, [10, 10]), piece(2, [7, 8])], (4, 7), True),
        ([piece(2, [10, 10]), piece(2, [0, 0])], (2, 10), True),
        ([piece(2, [10, 10])], (2, 10), True),
    ],
)
def test_interrupted_chains_are_cut_to_the_largest_rectangle(parts, shape, interrupted):
    settings = nuts.NutsSettings(draws=10, tune=1, chains=4, seed=1, target_accept=0.9, progressbar=False)
    sampled = nuts._as_sampled(parts, settings)
    assert sampled.posterior["mu"].shape == shape
    assert np.isfinite(sampled.posterior["mu"]).all()
    assert set(sampled.sample_stats.data_vars) == {"lp", "diverging", "tree_depth"}
    assert sampled.sample_stats["diverging"].dtype == bool
    assert sampled.sample_stats["tree_depth"].dtype == np.uint64
    assert sampled.posterior["chain"].values.tolist() == list(range(shape[0]))
    assert sampled.interrupted is interrupted


@pytest.mark.slow
@pytest.mark.parametrize(("module", "function"), [("labelling", "relabelled"), ("predictive", "add_log_likelihood")])
def test_an_interrupt_after_sampling_keeps_the_draws(galaxies, monkeypatch, module, function):
    def interrupted(*_):
        raise KeyboardInterrupt

    options = {"method": "gibbs", "draws": 500, "log_likelihood": True, "random_seed": SEED, "progressbar": False}
    whole = bg.fit(galaxies, 3, **options)
    with monkeypatch.context() as patched:
        patched.setattr(getattr(finishing, module), function, interrupted)
        with pytest.warns(
            InterruptedWarning,
            match="interrupted after sampling: the tree keeps all draws; finish it with bayesgmm.relabel, ",
        ):
            kept = bg.fit(galaxies, 3, **options)
    assert kept.attrs["interrupted"] == 1
    assert "log_likelihood" not in kept
    xr.testing.assert_equal(bg.relabel(kept)["posterior"].to_dataset(), whole["posterior"].to_dataset())


def test_an_interrupt_before_the_first_draw_is_an_interrupt():
    settings = nuts.NutsSettings(draws=10, tune=1, chains=2, seed=1, target_accept=0.9, progressbar=False)
    with pytest.raises(KeyboardInterrupt):
        nuts._as_sampled([piece(2, [0, 0])], settings)


INTERRUPTED = """
import warnings
import bayesgmm as bg

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tree = bg.fit(bg.datasets.two_gaussians(n={n}).x, 2, {options}, random_seed=1, n_init=2)
print([w.category.__name__ for w in caught], dict(tree["posterior"].sizes), tree.attrs["interrupted"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "n", "phase", "seconds", "draws"),
    [
        ("draws=1_000_000", 1_000, "sampling", 2, None),
        ("target_ess=1e7, max_draws=1_000_000", 1_000, "sampling", 2, None),
        ("method='advi', family='t'", 200_000, "maximising", 1, 1000),
    ],
)
def test_an_interrupt_keeps_what_there_is(options, n, phase, seconds, draws):
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(options=options, n=n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in program.stderr:
        if line.startswith(phase):
            break
    try:
        program.wait(seconds)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert "InterruptedWarning" in out, out + err
    sizes = eval(out[out.index("{") : out.index("}") + 1])
    assert 1 <= sizes["chain"] <= 4  # those that had begun
    assert sizes["draw"] == draws if draws else 10 < sizes["draw"] < 1_000_000
    assert out.rstrip().endswith(" 1")


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning")  # of 50 draws
def test_an_error_after_sampling_loses_no_draws(galaxies, monkeypatch):
    expected = bg.fit(galaxies, 2, method="gibbs", draws=50, relabel=False, random_seed=1, progressbar=False)
    monkeypatch.setattr("bayesgmm.analysis.labels.relabelled", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.warns(
        bg.exceptions.InterruptedWarning, match=r"an error after sampling \(no room\): the tree keeps all draws"
    ):
        tree = bg.fit(galaxies, 2, method="gibbs", draws=50, random_seed=1, progressbar=False)
    assert tree["posterior"].equals(expected["posterior"])
    assert not tree.attrs["interrupted"]
