"""The Laplace approximation on the unconstrained space: where ADVI starts, and how near to a Gaussian a posterior is."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from bayesgmm.inference.interface import LogDensity
from bayesgmm.validation import FloatArray

_DRAWS = 200  # which tell how near to a Gaussian the posterior is


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


def likeness(log_density: LogDensity, start: FloatArray, seed: int) -> float:
    """Between 0 and 1, how well the Laplace approximation fits: its efficiency as an importance sampling density."""
    mode, factor = laplace(log_density, start)
    noise = np.random.default_rng(seed).standard_normal((_DRAWS, len(mode)))
    values = np.array([log_density(point)[0] for point in mode + noise @ factor.T])
    log_ratios = np.where(np.isfinite(values), values - log_normal(noise, factor), -1e300)
    ratios = np.exp(log_ratios - log_ratios.max())
    return float(ratios.sum() ** 2 / (ratios**2).sum() / _DRAWS)
