"""Stacking: the mixture of several posteriors that predicts best."""

from __future__ import annotations

import numpy as np

from bayesgmm.arguments import FloatArray

_STEPS = 20_000
_SETTLED = 1e-12  # change of a weight


@np.errstate(under="ignore")
def stacking(elpd: FloatArray, counts: FloatArray) -> FloatArray:
    """Weights (M,) that maximise sum_i c_i log sum_m w_m exp(elpd_im), of pointwise log densities (n, M) and counts (n,).

    A step multiplies each weight by the mean of its share, which never lowers the sum, which has one maximum: it is EM for
    the weights of a mixture of known densities.

    References
    ----------
    Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, Bayesian
    Analysis 13, 917-1007. doi:10.1214/17-BA1091
    """
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))
    weights, shares = np.full(elpd.shape[1], 1 / elpd.shape[1]), counts / counts.sum()
    for _ in range(_STEPS):
        before = weights
        weights = weights * (density.T @ (shares / (density @ weights)))
        if abs(weights - before).max() < _SETTLED:
            break
    return weights / weights.sum()
