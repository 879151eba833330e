"""All of ArviZ's plots and summaries that apply, on trees of one, two and four features."""

import subprocess
import sys
import warnings
from functools import cache

import arviz as az
import numpy as np
import pymc as pm
import pytest

import bayesgmm as bg
from tests.statistics import SEED

pytestmark = [
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),
    pytest.mark.filterwarnings("ignore:No 'constant_data' group found"),  # plot_ppc_censored asks for censoring
]
SLOW = pytest.mark.slow
N_FEATURES = [pytest.param(1, marks=SLOW), 2, pytest.param(4, marks=SLOW)]
OTHER = {
    "plot_bf": "a point hypothesis", "plot_collection": "a module", "plot_compare": "a comparison", "plot_matrix": "a module",
    "plot_ecdf_pit": "simulation-based calibration", "plot_lm": "a regression", "plot_ppc_pava_residuals": "a regression",
    "plot_ppc_rootogram": "counts", "plot_prior_posterior": "draws from the prior", "plot_psense_dist": "a log prior",
    "plot_psense_quantities": "a log prior", "plot_khat": "what az.loo found",
}  # fmt: skip
PLOTS = [name for name in dir(az) if name.startswith("plot_") and name not in OTHER]
PREDICTIVE = [name for name in PLOTS if "ppc" in name or "loo" in name]
OF_DRAWS = [name for name in PLOTS if name not in PREDICTIVE]


def with_features(names):
    """Each plot with one feature and with two, and some with four, which only adds panels."""
    pairs = [*((name, d) for name in names for d in (1, 2)), *((name, 4) for name in names[::4])]
    return [pytest.param(name, d, marks=[] if d == 2 else SLOW) for name, d in pairs]


@cache
def tree(d):
    """A fit of two separate clusters, with few draws."""
    mixture = bg.Mixture([0.4, 0.6], np.outer([-3.0, 3.0], np.ones(d)), np.eye(d) if d > 1 else 1.0)
    x = mixture.sample(30, random_seed=1)[0].reshape(30, d) * 10.0 ** np.arange(d)  # features of different units
    options = {
        "method": "nuts",
        "draws": 50,
        "random_seed": SEED,
        "progressbar": False,
        "log_likelihood": True,
        "posterior_predictive": True,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.exceptions.ConvergenceWarning)
        return bg.fit(x, 2, **options)


@pytest.mark.parametrize(("name", "d"), with_features(OF_DRAWS))
def test_plots_of_the_draws(name, d):
    options = {} if d < 4 or name == "plot_energy" else {"var_names": ["mu"]}  # ArviZ draws 40 panels at most
    if name == "plot_pair":
        options = {"var_names": ["mu"], "coords": {"cluster": [0]}}
    elif name == "plot_pair_focus":
        options["focus_var"], options["focus_var_coords"] = "mu", {"cluster": 0} | ({"feature": 0} if d > 1 else {})
    assert getattr(az, name)(tree(d), backend="none", **options) is not None


@pytest.mark.parametrize(("name", "d"), with_features(PREDICTIVE))
def test_predictive_checks_of_each_feature(name, d):
    assert getattr(az, name)(bg.by_feature(tree(d)), backend="none") is not None


@pytest.mark.parametrize("d", N_FEATURES)
def test_summaries(d):
    table = az.summary(tree(d), round_to="none")
    assert len(table) == 2 * (1 + d + d**2)  # weights, means, covariances: nothing else
    assert not table.isna().any(axis=None)
    if d > 1:
        table = az.summary(bg.add_correlations(tree(d)), round_to="none")
        assert len(table) == 2 * (1 + d + d**2 + d + d * (d - 1) // 2)
        assert not table.isna().any(axis=None)
    for each in (az.ess, az.rhat, az.mcse, az.hdi, az.eti):
        assert np.isfinite(each(tree(d))["mu"]).all()
    assert np.isfinite(az.loo(tree(d)).elpd)
    az.plot_khat(az.loo(tree(d), pointwise=True), backend="none")
    assert az.diagnose(tree(d), return_diagnostics=True)[0] is not None


def test_each_feature_has_its_own_variable():
    one, four = tree(1), tree(4)
    assert bg.by_feature(one) is not one
    assert set(bg.by_feature(one)["observed_data"].data_vars) == {"x"}
    by = bg.by_feature(four)
    for group in ("observed_data", "posterior_predictive"):
        for i in range(4):
            np.testing.assert_array_equal(by[group][f"x[{i}]"], four[group]["x"].sel(feature=i))
    for i in range(4):  # LOO leaves out whole observations
        np.testing.assert_array_equal(by["log_likelihood"][f"x[{i}]"], four["log_likelihood"]["x"])
    with pytest.raises(ValueError, match="tree must have a group observed_data with x"):
        bg.by_feature({})


def test_loo_pit_of_each_feature_is_that_of_its_margin():
    """LOO-PIT is the share of replicates below the observation, with draws weighted by PSIS for leaving it out."""
    two = tree(2)
    found = az.loo_pit(bg.by_feature(two))
    log_weights, _ = two["log_likelihood"]["x"].azstats.psislw()
    below = (two["posterior_predictive"]["x"] <= two["observed_data"]["x"]).sel(feature=1)
    weights = np.exp(log_weights)
    expected = (weights * below).sum(("chain", "draw")) / weights.sum(("chain", "draw"))
    np.testing.assert_allclose(found["x[1]"], expected, rtol=1e-9)


@pytest.mark.slow
def test_prior_sensitivity():
    """PyMC computes the log prior, with all variables of the model from ``for_pymc``."""
    two = tree(2)
    with bg.build_model(two["observed_data"]["x"], 2):
        full = pm.stats.compute_log_prior(bg.for_pymc(two), progressbar=False)
    assert set(bg.for_pymc(two)["posterior"].data_vars) == {"w", "mu", "cov", "C0", "C0_factor", "precision_factor"}
    table = az.psense_summary(full, var_names=["mu"])
    assert len(table) == 4
    az.plot_psense_dist(full, var_names=["w"], backend="none")


def test_a_fit_loads_no_plots_and_who_asks_for_them_gets_them():
    """Nutpie imports ArviZ, which imports its plots and Matplotlib; a fit does not wait for these."""
    code = (
        "import sys, bayesgmm as bg\n"
        "asked = {'method': 'nuts', 'draws': 20, 'tune': 20, 'chains': 2, 'random_seed': 1, 'progressbar': False}\n"
        "tree = bg.fit(bg.datasets.galaxies(), 2, **asked)\n"
        "assert 'nutpie' in sys.modules\n"
        "assert not {'arviz_plots', 'matplotlib'} & set(sys.modules), 'loaded'\n"
        "import arviz as az\n"
        "assert 'plot_trace' in dir(az)\n"
        "assert callable(az.plot_trace) and az.__version__\n"
        "assert 'arviz_plots' in sys.modules\n"
        "print(len(az.summary(tree)))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
