"""Stacking: the mixture of several posteriors that predicts best."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from bayesgmm.arguments import FloatArray


@np.errstate(under="ignore")
def stacking(elpd: FloatArray, counts: FloatArray) -> FloatArray:
    """Weights (M,) that maximise sum_i c_i log sum_m w_m exp(elpd_im), of pointwise log densities (n, M) and counts (n,).

    References
    ----------
    Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13, 917-1007. doi:10.1214/17-BA1091
    """
    density, size = np.exp(elpd - elpd.max(axis=1, keepdims=True)), elpd.shape[1]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = np.maximum(density @ weights, np.finfo(float).tiny)
        return -float(counts @ np.log(mixed)), -(density.T @ (counts / mixed))

    adds_to_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda weights: np.ones(size)}
    found = minimize(
        loss,
        np.full(size, 1 / size),
        jac=True,
        bounds=[(0.0, 1.0)] * size,
        constraints=adds_to_one,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1_000},
    )
    weights = np.maximum(found.x, 0.0)
    return np.asarray(weights / weights.sum())
