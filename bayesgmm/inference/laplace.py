"""The Laplace approximation on the unconstrained space: where ADVI starts, and how near to a Gaussian a posterior is."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from bayesgmm.density import LogPosterior
from bayesgmm.inference.interface import LogDensity
from bayesgmm.validation import FloatArray

_DRAWS = 500  # which tell how near to a Gaussian the posterior is


def laplace(log_density: LogDensity, start: FloatArray, *, mean_field: bool = False) -> tuple[FloatArray, FloatArray]:
    """Mode near the start, and the triangular factor of the inverse negative Hessian there.

    For the mean-field family the factor is diagonal with the conditional standard deviations, which is what the
    optimum of a mean-field approximation to a Gaussian is.
    """

    def negative(point: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_density(point)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(point)
        return -float(value), -np.asarray(gradient)

    mode = minimize(negative, start, jac=True, method="BFGS", options={"gtol": 1e-4}).x
    step = 1e-5
    columns = [(negative(mode + step * e)[1] - negative(mode - step * e)[1]) / (2 * step) for e in np.eye(len(mode))]
    hessian = np.nan_to_num(np.array(columns), posinf=0.0, neginf=0.0)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    values = np.maximum(values, 1e-2)  # flat or saddle directions: at most 10 units wide
    if mean_field:
        return mode, np.diag(1 / np.sqrt((vectors**2) @ values))
    # the triangular factor of V diag(1/values) V', without forming that matrix, which may be singular to working precision
    upper = np.linalg.qr((vectors / np.sqrt(values)).T, mode="r")
    return mode, (upper * np.sign(np.diagonal(upper))[:, None]).T


def log_normal(noise: FloatArray, factor: FloatArray) -> FloatArray:
    """Log density of mean + factor noise, for standard normal noise (S, d) and a triangular factor."""
    log_determinant = np.log(np.abs(np.diagonal(factor))).sum()
    return -0.5 * (noise**2 + np.log(2 * np.pi)).sum(axis=1) - log_determinant


def departure(log_posterior: LogPosterior, start: FloatArray) -> float:
    """How far the posterior is from its Laplace approximation q, in nats: the spread of log p - log q over draws from q.

    The spread is the interquartile range over that of a unit normal, which a few far draws do not move.
    """
    mode, factor = laplace(log_posterior, start)
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(mode)))
    values = log_posterior.values(mode + noise @ factor.T)
    log_ratios = np.where(np.isfinite(values), values - log_normal(noise, factor), -np.inf)
    lower, upper = np.sort(log_ratios)[[_DRAWS // 4, 3 * _DRAWS // 4]]
    return float((upper - lower) / 1.349) if np.isfinite(lower) else np.inf
