"""The Laplace approximation on the unconstrained space: ADVI's start, NUTS's coordinates, and how good it is."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.interface import Gaussian, LogDensity
from bayesgmm.posterior import LogPosterior

_DRAWS = 500  # draws that measure how near the posterior is to a Gaussian
_ROUNDS = 4  # rounds of the search for the mode, at most
_NEAR_IDENTITY = 2.0  # rounds end if all eigenvalues of the whitened Hessian are within this factor of 1
_FLATTEST = 1e-2  # least curvature of a direction: a round makes it at most 10 times wider
_WIDEST = 10.0  # largest standard deviation of a coordinate


def laplace(log_density: LogDensity, start: FloatArray, *, mean_field: bool = False) -> Gaussian:
    """Mode near the start, and the triangular factor of the inverse negative Hessian there.

    The mode is sought in the coordinates that the Hessian whitens, in rounds, until the Hessian there is near the identity.
    For the mean-field family the factor is diagonal and holds the conditional standard deviations, as the best mean-field
    approximation to a Gaussian does. Standard deviations are at most 10.
    """
    found = _settled(log_density, start)
    if mean_field:
        inverse = solve_triangular(found.factor, np.eye(len(start)), lower=True)
        return found._replace(factor=np.diag(1 / np.sqrt((inverse**2).sum(axis=0))))
    return found


def _settled(log_density: LogDensity, start: FloatArray) -> Gaussian:
    """Mode and factor once the rounds have converged; those of the first round if they do not converge."""
    mode, factor = start, np.eye(len(start))
    rounds: list[Gaussian] = []
    for _ in range(_ROUNDS):
        values, vectors = _curvature(log_density, mode, factor)
        # the triangular factor of V diag(1/values) V', without forming that matrix, which may be nearly singular
        upper = np.linalg.qr((vectors / np.sqrt(values)).T, mode="r")
        factor = factor @ (upper * np.sign(np.diagonal(upper))[:, None]).T
        factor /= np.maximum(np.linalg.norm(factor, axis=1, keepdims=True) / _WIDEST, 1)
        if rounds and values.min() > 1 / _NEAR_IDENTITY and values.max() < _NEAR_IDENTITY:
            return Gaussian(mode, factor)
        mode = _mode(log_density, mode, factor)
        rounds.append(Gaussian(mode, factor))
    return rounds[0]


def _curvature(log_density: LogDensity, point: FloatArray, factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, at least ``_FLATTEST``, and eigenvectors of the negative Hessian by z, with point + factor z."""
    step = 1e-5
    below, above = np.split(_gradients(log_density, point + step * np.concatenate([-factor.T, factor.T])), 2)
    hessian = np.nan_to_num((below - above) @ factor / (2 * step), posinf=0.0, neginf=0.0)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return np.maximum(values, _FLATTEST), vectors


def _gradients(log_density: LogDensity, points: FloatArray) -> FloatArray:
    """Gradients at many points. The package's posterior computes them in one call."""
    if isinstance(log_density, LogPosterior):
        return log_density.gradients(points)
    return np.array([log_density(point)[1] for point in points])


def _mode(log_density: LogDensity, start: FloatArray, factor: FloatArray) -> FloatArray:
    """The mode near a start, found by optimising over z, with start + factor z."""

    def negative(noise: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_density(start + factor @ noise)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(noise)
        return -float(value), -(factor.T @ gradient)

    found = minimize(negative, np.zeros_like(start), jac=True, method="L-BFGS-B", options={"gtol": 1e-4, "ftol": 1e-14})
    return start + factor @ found.x


def log_mass(log_density: LogDensity, approximation: Gaussian) -> float:
    """Log of the integral of the density, by its Laplace approximation."""
    nowhere = np.zeros((1, len(approximation.mean)))
    return log_density(approximation.mean)[0] - float(log_normal(nowhere, approximation.factor)[0])


def log_normal(noise: FloatArray, factor: FloatArray) -> FloatArray:
    """Log density of mean + factor noise, for standard normal noise (S, d) and a triangular factor."""
    log_determinant = np.log(np.abs(np.diagonal(factor))).sum()
    return -0.5 * (noise**2 + np.log(2 * np.pi)).sum(axis=1) - log_determinant


def departure(log_posterior: LogPosterior, approximation: Gaussian) -> float:
    """Distance of the posterior from its Laplace approximation q, in nats: the spread of log p - log q over draws from q.

    The spread is the interquartile range divided by that of a standard normal. A few far draws do not change it.
    """
    mode, factor = approximation
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(mode)))
    values = log_posterior.values(mode + noise @ factor.T)
    log_ratios = np.where(np.isfinite(values), values - log_normal(noise, factor), -np.inf)
    lower, upper = np.sort(log_ratios)[[_DRAWS // 4, 3 * _DRAWS // 4]]
    return float((upper - lower) / 1.349) if np.isfinite(lower) else np.inf
