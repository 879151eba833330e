"""Wishart matrices by their triangular factors, in smooth unconstrained coordinates.

A precision (or C0) is M = F'F with F lower triangular and positive on its diagonal. Row i of F is the regression of feature
i on those before it: F_ii = exp(l_i) is one over the residual standard deviation, and b_ij = F_ij / F_ii = -(regression
coefficient on feature j). The coordinates are l and b, packed row by row like the lower triangle.

M ~ Wishart(a, B) has density |B|^a / Gamma_D(a) |M|^(a - (D+1)/2) exp(-tr B M), that is 2a degrees of freedom and scale
(2B)^-1. With the Jacobians of F'F (2^D prod F_ii^i) and of the coordinates (prod F_ii^i), i = 1..D, the log density of the
coordinates is a log|B| - log Gamma_D(a) + D log 2 + sum_i (2a - D - 1 + 2i) l_i - tr B F'F.

References
----------
Pourahmadi (1999), Joint mean-covariance models with applications to longitudinal data: unconstrained parameterisation,
Biometrika 86, 677-690. doi:10.1093/biomet/86.3.677

Bartlett (1933), On the theory of statistical regression, Proceedings of the Royal Society of Edinburgh 53, 260-283.
doi:10.1017/S0370164600015637
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import multigammaln

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.words import Argument, Words


def n_entries(n_features: int) -> int:
    """Entries of a lower triangle."""
    return n_features * (n_features + 1) // 2


def diagonal_entries(n_features: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the diagonal in a packed triangle, (D,), and for every entry the place of the diagonal of its row, (T,)."""
    rows, columns = np.tril_indices(n_features)
    on_diagonal = np.flatnonzero(rows == columns)
    return on_diagonal, on_diagonal[rows]


def unpack(packed: FloatArray, n_features: int) -> FloatArray:
    """Lower triangles (..., D, D) from their entries (..., T)."""
    result = np.zeros((*packed.shape[:-1], n_features, n_features))
    result[(..., *np.tril_indices(n_features))] = packed
    return result


def pack(factors: FloatArray) -> FloatArray:
    """Entries (..., T) of lower triangles (..., D, D)."""
    return factors[(..., *np.tril_indices(factors.shape[-1]))]


def from_coordinates(coordinates: FloatArray, n_features: int) -> FloatArray:
    """Factors (..., D, D) of coordinates (..., T)."""
    diagonal, own_diagonal = diagonal_entries(n_features)
    values = coordinates * np.exp(coordinates[..., own_diagonal])
    values[..., diagonal] = np.exp(coordinates[..., diagonal])
    return unpack(values, n_features)


def to_coordinates(factors: FloatArray) -> FloatArray:
    """Coordinates (..., T) of factors (..., D, D)."""
    diagonal, own_diagonal = diagonal_entries(factors.shape[-1])
    packed = pack(factors)
    result = packed / packed[..., own_diagonal]
    result[..., diagonal] = np.log(packed[..., diagonal])
    return result


def factors_of_inverse(matrices: FloatArray) -> FloatArray:
    """F with F'F = matrices^-1, for symmetric positive definite matrices (..., D, D)."""
    try:
        return inverse_factors(np.linalg.cholesky(matrices))
    except np.linalg.LinAlgError:
        text = (
            "the posterior has collapsed: in some draws a covariance matrix, or the prior's scale of these matrices, is "
            "numerically singular, probably because a component has shrunk onto equal or collinear observations; use "
        )
        raise ValueError(Words(text, Argument("covariance", "tied", "diag"), ", or a smaller k")) from None


def draw_factors(shape: ArrayLike, rates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Factors (..., D, D) of Wishart(shape, rate) matrices, one for each of the rates (..., D, D).

    F = V C^-1 with 2B = C C', V_ii^2 ~ chi^2(2a - D + i), i = 1..D, and standard normal V_ij (Bartlett 1933).
    """
    n_features = rates.shape[-1]
    lower = np.tril(rng.standard_normal(rates.shape), -1)
    freedom = 2 * np.asarray(shape)[..., None] - n_features + np.arange(1, n_features + 1)
    diagonal = np.arange(n_features)
    lower[..., diagonal, diagonal] = np.sqrt(rng.chisquare(freedom, size=rates.shape[:-1]))
    return lower @ factors_of_inverse(2 * rates)


def log_density(coordinates: FloatArray, shape: float, rates: FloatArray) -> FloatArray:
    """Log density of coordinates (..., T) under Wishart(shape, rate), with rates (..., D, D)."""
    n_features = rates.shape[-1]
    factors = from_coordinates(coordinates, n_features)
    diagonal, _ = diagonal_entries(n_features)
    powers = 2 * shape - n_features - 1 + 2 * np.arange(1, n_features + 1)
    trace = np.einsum("...ij,...ik,...kj->...", factors, factors, rates)
    return (
        log_constant(shape, n_features)
        + shape * np.linalg.slogdet(rates)[1]
        + (powers * coordinates[..., diagonal]).sum(axis=-1)
        - trace
    )


def log_constant(shape: float, n_features: int) -> float:
    """The part of the log density that depends on neither coordinates nor rate."""
    return float(n_features * np.log(2) - multigammaln(shape, n_features))
