"""Every public function runs under np.seterr(all="raise"): an underflow to zero is never an error."""

import warnings
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from tests.statistics import SEED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ApproximationWarning"),
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),
]
SETTINGS = {"draws": 100, "chains": 2, "random_seed": SEED, "progressbar": False}


@cache
def data(d):
    """Clusters so far apart that small probabilities, or their squares, underflow."""
    x = np.random.default_rng(SEED).normal(size=(40, d))
    x[20:30] += 30
    x[30:] += 4_000
    return x[:, 0] if d == 1 else x


@cache
def tree(d):
    with np.errstate(all="warn", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bg.fit(data(d), 3, method="gibbs", **SETTINGS)


@cache
def noisy(d):
    with np.errstate(all="warn", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bg.fit(data(d), 2, noise=True, method="gibbs", **SETTINGS)


@cache
def of_k(d):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bg.posterior_k(data(d), **SETTINGS)


def feature(d):
    return None if d == 1 else 0


def measured(d):
    """The data with errors from zero to so large that a value carries no information."""
    x = data(d)
    return bg.Observations(x, error=np.resize([0.0, 1e-200, 1e-3, 1.0, 1e40], np.shape(x)))


def on_disk(d):
    path = Path(mkdtemp()) / "x.parquet"
    pd.DataFrame(np.reshape(data(d), (40, -1))).rename(columns=str).to_parquet(path)
    return bg.scan_parquet(path)


CALLS = {
    "scan_parquet": lambda d: bg.fit_em(on_disk(d), 2).icl(),
    "write_responsibilities": lambda d: repr(
        bg.write_responsibilities(tree(d), on_disk(d), Path(mkdtemp()) / "out.parquet")
    ),
    "BayesianGMM": lambda d: (
        bg.BayesianGMM(2, draws=50, chains=1, random_state=1)
        .fit(data(d).reshape(40, -1))
        .predict_proba(data(d).reshape(40, -1))
    ),
    "BayesianGMMRegressor": lambda d: (
        d == 1 or bg.BayesianGMMRegressor(2, draws=50, chains=1, random_state=1).fit(*np.hsplit(data(2), 2)).predict([[1e3]])
    ),
    "Mixture": lambda d: [
        getattr(bg.fit_em(data(d), 2).mixture, name)(data(d)) for name in ("log_density", "responsibilities")
    ],
    "EMResult": lambda d: [(each.bic(), each.icl(), each.responsibilities, repr(each)) for each in [bg.fit_em(data(d), 3)]],
    "Observations": lambda d: [bg.fit_em(measured(d), 2), bg.fit(measured(d), 2, **SETTINGS), repr(measured(d))],
    "add_correlations": lambda d: d == 1 or bg.add_correlations(tree(d)),
    "add_log_likelihood": lambda d: bg.add_log_likelihood(tree(d)),
    "add_log_prior": lambda d: bg.add_log_prior(tree(d)),
    "add_posterior_predictive": lambda d: bg.add_posterior_predictive(tree(d), 1),
    "adjusted_rand": lambda d: bg.adjusted_rand([0, 0, 1], [1, 1, 0]),
    "bootstrap_lrt": lambda d: repr(bg.bootstrap_lrt(data(d), 2, n_bootstrap=3, n_init=2, random_seed=1, progressbar=False)),
    "build_model": lambda d: bg.build_model(data(d), 2),
    "by_feature": lambda d: bg.by_feature(tree(d)),
    "check_against_em": lambda d: repr(bg.check_against_em(tree(d))),
    "coclustering": lambda d: bg.coclustering(tree(d)),
    "compare beside noise": lambda d: repr(bg.compare(data(d), [1, 2], noise=True, **SETTINGS)),
    "compare": lambda d: repr(bg.compare(data(d), [1, 2], **SETTINGS)),
    "compare structures": lambda d: repr(bg.compare(data(d), [1, 2], covariance=["full", "tied_diag"], **SETTINGS)),
    "conditional": lambda d: d == 1 or bg.conditional(tree(2), {0: 100.0}),
    "credible_ball": lambda d: [repr(bg.credible_ball(tree(d), loss=loss)) for loss in ("vi", "binder")],
    "diagnose": lambda d: repr(bg.diagnose(tree(d))),
    "fit by advi": lambda d: bg.fit(data(d), 2, method="advi", **SETTINGS),
    "fit by gibbs": lambda d: bg.fit(data(d), 3, method="gibbs", **SETTINGS),
    "fit beside noise": lambda d: bg.fit(data(d), 2, noise=True, **SETTINGS),
    "fit by nuts": lambda d: bg.fit(data(d), 2, **SETTINGS),
    "fit_many": lambda d: bg.fit_many({1: data(d)}, 3, draws=250, workers=1, random_seed=SEED, progressbar=False),
    "for_pymc": lambda d: bg.for_pymc(tree(d)),
    "impute": lambda d: bg.impute(tree(d), measured(d), draws=5, random_seed=1),
    "jitter": lambda d: bg.jitter(bg.datasets.old_faithful(), random_seed=1),
    "rounded": lambda d: bg.fit_em(bg.rounded(bg.datasets.old_faithful()), 2, random_seed=1),
    "label_quality": lambda d: bg.label_quality(tree(d)),
    "log_evidence": lambda d: bg.log_evidence(tree(d), random_seed=1),
    "loo": lambda d: bg.loo(tree(d)),
    "merge_components": lambda d: [repr(bg.merge_components(tree(d), by)) for by in ("overlap", "entropy")],
    "occupied_clusters": lambda d: bg.occupied_clusters(tree(d), 1),
    "partition": lambda d: bg.partition(tree(d)),
    "posterior_k": lambda d: bg.posterior_k(data(d), **SETTINGS),
    "posterior_k beside noise": lambda d: bg.posterior_k(data(d), noise=True, **SETTINGS),
    "prior_sensitivity": lambda d: repr(bg.prior_sensitivity(tree(d))),
    "prior_predictive": lambda d: bg.prior_predictive(data(d), 2, random_seed=1),
    "predict": lambda d: d == 1 or bg.predict(tree(2), {0: [0.0, 1e3, np.nan]}),
    "predictive_cdf": lambda d: bg.predictive_cdf(tree(d), [0.0, 1e5], feature(d)),
    "predictive_density": lambda d: bg.predictive_density(tree(d), data(d)[:5] + 100),
    "predictive_quantiles": lambda d: bg.predictive_quantiles(tree(d), [0.1, 0.9], feature(d)),
    "raw_order": lambda d: bg.raw_order(tree(d)),
    "relabel": lambda d: [bg.relabel(tree(d), method) for method in ("stephens", "ecr", "pivot")],
    "rename_clusters": lambda d: bg.rename_clusters(tree(d), ["a", "b", "c"]),
    "responsibilities": lambda d: [bg.responsibilities(tree(d)), bg.responsibilities(tree(d), data(d)[:5] + 100)],
    "sample_assignments": lambda d: bg.sample_assignments(tree(d), 1),
    "solutions": lambda d: repr(bg.solutions(tree(d), weigh="stacking")),
    "report": lambda d: bg.report(tree(d), Path(mkdtemp()) / "report.html"),
    "report beside noise": lambda d: bg.report(noisy(d), Path(mkdtemp()) / "report.html"),
    "report of k": lambda d: bg.report(of_k(d), Path(mkdtemp()) / "report.html"),
    "plot_conditional": lambda d: d == 1 or bg.plots.plot_conditional(tree(2), {0: 100.0}),
    "plot_regression": lambda d: d == 1 or bg.plots.plot_regression(tree(2)),
    "plot_coclustering": lambda d: bg.plots.plot_coclustering(tree(d)),
    "plot_em_history": lambda d: bg.plots.plot_em_history(bg.fit_em(data(d), 2)),
    "plot_fit": lambda d: bg.plots.plot_fit(tree(d), feature(d)),
    "plot_k": lambda d: bg.plots.plot_k(of_k(d)),
    "plot_relabelling": lambda d: bg.plots.plot_relabelling(tree(d), feature(d)),
    "plot_responsibilities": lambda d: bg.plots.plot_responsibilities(tree(d)),
    "plot_responsibilities beside noise": lambda d: bg.plots.plot_responsibilities(noisy(d)),
    "plot_solutions": lambda d: bg.plots.plot_solutions(tree(d)),
}


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_an_underflow_is_a_zero(name, d):
    tree(d)
    if name in ("report of k", "plot_k"):
        of_k(d)
    if "beside noise" in name:
        noisy(d)
    with np.errstate(all="raise"):
        assert CALLS[name](d) is not None
    plt.close("all")


def test_all_public_functions_are_here():
    called = {name.split()[0] for name in CALLS}
    data_and_results = {
        "Scan",
        "BootstrapLRT",
        "Comparison",
        "ConjugatePrior",
        "CredibleBall",
        "Diagnosis",
        "EMCheck",
        "Evidence",
        "HierarchicalPrior",
        "LabelQuality",
        "ManyFits",
        "MergedClusters",
        "PriorSensitivity",
        "Solutions",
        "StructureComparison",
    }
    other = {"fit_em"}  # which is part of other calls
    modules = {"datasets", "exceptions", "plots", "priors"}
    assert set(bg.__all__) - modules - data_and_results - other <= called
