"""Log prior densities of weights, means, covariances and their scale C0, for many mixtures at once.

Arrays have a first axis of S mixtures. The scale C0 is (S, p, V) or (S, p, D, D), with p = 1 if all components share it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, multigammaln

from bayesgmm.arguments import TRAITS, Covariance, FloatArray
from bayesgmm.model.hyperparameters import Hyperparameters


def of_places(
    hyper: Hyperparameters, w: FloatArray, mu: FloatArray, factors: FloatArray, scale: FloatArray, covariance: Covariance
) -> FloatArray:
    """Log prior of component i with the hyperparameters of component j, (S, K, K), up to a constant."""
    of_spread = of_covariances(hyper, factors, scale, covariance)
    of_w = (hyper.alpha - 1) * np.log(w)[:, :, None]
    return of_w + of_means(hyper, mu) + (0.0 if of_spread.ndim == 1 else of_spread)


def of_means(hyper: Hyperparameters, mu: FloatArray) -> FloatArray:
    """Log densities of mean i (S, K, D) with hyperparameters of component j, (S, K, K)."""
    z = (hyper.inverse_root @ (mu[:, :, None] - hyper.b0)[..., None])[..., 0]
    return -0.5 * (z**2).sum(axis=-1) + hyper.log_normaliser_of_means


def of_covariances(hyper: Hyperparameters, factors: FloatArray, scale: FloatArray, covariance: Covariance) -> FloatArray:
    """Log densities given C0 of covariance i, with Cholesky factors (S, K, D, D), with hyperparameters of component j.

    They are (S, K, K), or (S,) for a covariance that all components share.
    """
    shared, d = TRAITS[covariance].shared, factors.shape[-1]
    factors = factors[:, :1] if shared else factors
    if TRAITS[covariance].matrix and d > 1:
        found = _of_matrices(factors, scale, hyper)
    else:
        found = _of_variances(np.diagonal(factors, axis1=2, axis2=3)[..., : hyper.rate.shape[1]] ** 2, scale, hyper)
    return found[:, 0, 0] if shared else found


def of_weights(alpha: FloatArray, shares: FloatArray) -> FloatArray:
    """Log density of free weights as shares of what fixed ones leave, (S,)."""
    if not len(alpha):
        return np.zeros(len(shares))
    return gammaln(alpha.sum()) - gammaln(alpha).sum() + ((alpha - 1) * np.log(shares)).sum(axis=1)


def of_scale(g0: float, rate: FloatArray, scale: FloatArray) -> FloatArray:
    """Log density of C0, (S,), under its Wishart or Gamma distribution; ``rate`` is (V,) or (D, D)."""
    drawn = scale[:, 0]
    if rate.ndim == 1:
        return (g0 * np.log(rate) - gammaln(g0) + (g0 - 1) * np.log(drawn) - rate * drawn).sum(axis=1)
    d = len(rate)
    constant = g0 * np.linalg.slogdet(rate)[1] - multigammaln(g0, d)
    return constant + (g0 - (d + 1) / 2) * np.linalg.slogdet(drawn)[1] - np.einsum("ij,sji->s", rate, drawn)


def _of_variances(variances: FloatArray, scale: FloatArray, hyper: Hyperparameters) -> FloatArray:
    """Log densities (S, m, m) of variances (S, m, V) given C0 (S, p, V)."""
    c0, each, scale = hyper.c0[:, None], variances[:, :, None], scale[:, None]
    return (c0 * np.log(scale) - gammaln(c0) - (c0 + 1) * np.log(each) - scale / each).sum(axis=-1)


def _of_matrices(factors: FloatArray, scale: FloatArray, hyper: Hyperparameters) -> FloatArray:
    """Log densities (S, m, m) of covariances with factors (S, m, D, D) given C0 (S, p, D, D)."""
    c0, d = hyper.c0, factors.shape[-1]
    roots, log_of_scale = np.linalg.cholesky(scale), np.linalg.slogdet(scale)[1][:, None]
    trace = (np.linalg.solve(factors[:, :, None], roots[:, None]) ** 2).sum(axis=(-2, -1))
    log_determinant = 2 * np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)[:, :, None]
    constant = c0 * log_of_scale - np.array([multigammaln(each, d) for each in c0])
    return constant - (c0 + (d + 1) / 2) * log_determinant - trace
