"""A user's program. tests/test_ecosystem.py checks it with mypy --strict."""

import numpy as np
import xarray as xr

import bayesgmm as bg
from bayesgmm import Comparison, Diagnosis, EMResult, Evidence, HierarchicalPrior, Mixture


def analyse(velocity: list[float]) -> tuple[int, float]:
    em: EMResult = bg.fit_em(velocity, 3, random_seed=1)
    mixture: Mixture = em.mixture
    test: bg.BootstrapLRT = bg.bootstrap_lrt(velocity, 2, n_bootstrap=99, cores=1, random_seed=1)
    x, z = mixture.sample(100, random_seed=1)
    prior = HierarchicalPrior(alpha=2.0)
    tree: xr.DataTree = bg.fit(x, 3, method="gibbs", prior=prior, covariance="tied", random_seed=1, progressbar=False)
    diagnosis: Diagnosis = bg.diagnose(tree)
    if not diagnosis.converged:
        raise RuntimeError(str(diagnosis))
    measured = bg.Observations(velocity, error=np.full(len(velocity), 0.1))
    r: xr.Dataset = bg.responsibilities(tree, measured)
    tree = bg.fit(bg.rounded(velocity, 0.1), 3, rounding=None)
    behind: xr.Dataset = bg.impute(bg.fit(measured, 3, random_seed=1))
    strays: xr.DataArray = bg.responsibilities(bg.fit(velocity, 3, noise=True, random_seed=1))["noise"]
    density: xr.DataArray = bg.predictive_density(tree, np.linspace(0.0, 40.0, 100))
    screened: bg.ManyFits = bg.fit_many({"a": velocity, "b": velocity}, "auto", random_seed=1)
    merged: bg.MergedClusters = bg.merge_components(tree, "entropy", n_clusters=2)
    sensitivity: bg.PriorSensitivity = bg.prior_sensitivity(bg.add_log_prior(tree))
    given: xr.DataArray = bg.conditional(tree, {"eruptions": 3.0}, of="waiting")
    predicted: xr.Dataset = bg.predict(tree, {"eruptions": [2.0, 4.0]}, of="waiting", probabilities=[0.1, 0.9])
    rest: Mixture = mixture.marginal([0, 1]).conditional({0: 2.0})
    curve: np.ndarray = bg.BayesianGMMRegressor(2, family="t").fit(x[:, None], x).predict(x[:, None])
    labels: xr.DataArray = bg.partition(tree, loss="binder")
    tree = bg.rename_clusters(tree, {0: "near", 2: "far"})
    ball: bg.CredibleBall = bg.credible_ball(tree, labels, loss="binder", probability=0.9)
    evidence: Evidence = bg.log_evidence(tree, random_seed=1)
    comparison: Comparison = bg.compare(x, range(1, 4), random_seed=1)
    best: int = comparison.best["elpd_loo"]
    shapes: bg.StructureComparison = bg.compare(x, [1, 2], covariance=["full", "tied"], random_seed=1)
    gmm = bg.BayesianGMM(3, covariance_type="diag", noise=True, family="t", random_state=1).fit(x[:, None])
    share: float = float(gmm.weights_.max())
    scan: bg.Scan = bg.scan_parquet("rows/*.parquet", columns=["velocity"], missing="drop")
    bg.write_responsibilities(bg.fit(scan, 3, method="laplace"), scan, "clusters.parquet")
    print(
        z.dtype,
        behind.sizes,
        strays.sizes,
        r["mean"].sizes,
        density.sizes,
        given.sizes,
        sensitivity.table.shape,
        merged.density([1.0, 2.0]).sizes,
        screened.table,
        screened.failed,
        predicted.sizes,
        rest.nu,
        test.p_value,
        shapes.recommended,
        curve.shape,
        labels.attrs["n_clusters"],
        ball.contingency("upper").shape,
        gmm.n_components_,
        share,
    )
    return best, evidence.value + gmm.bic(x[:, None])
