"""The covariance structures: EM's estimates, and the number of parameters, under each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import TRAITS, Covariance, FloatArray
from bayesgmm.kernels.estep import ESums

_ROUNDED = 1e-13  # times the largest variance of a component: smaller variances are lost in rounding


@dataclass(frozen=True)
class Structure:
    """One of the six covariance structures for D features.

    Its *factors*, which the E-step takes, are standard deviations (K, D) for diagonal covariances, else lower Cholesky
    factors (K, D, D).
    """

    covariance: Covariance
    n_features: int

    @property
    def shared(self) -> bool:
        """Whether all components share one covariance."""
        return TRAITS[self.covariance].shared

    @property
    def correlated(self) -> bool:
        """Whether covariances have correlations."""
        return self.n_features > 1 and TRAITS[self.covariance].matrix

    @property
    def one_unit(self) -> bool:
        """Whether all features must have the same unit, so that spherical covariances stay spherical."""
        return self.n_features > 1 and not TRAITS[self.covariance].per_feature

    @property
    def n_variances(self) -> int:
        """V, the number of variances of a component without correlations."""
        return self.n_features if TRAITS[self.covariance].per_feature and not TRAITS[self.covariance].matrix else 1

    def n_blocks(self, k: int) -> int:
        """m, the number of covariances of K components."""
        return 1 if self.shared else k

    def n_parameters(self, k: int) -> int:
        """Number of free parameters in the covariances of K components."""
        entries = self.n_features * (self.n_features + 1) // 2
        return self.n_blocks(k) * (entries if self.correlated else self.n_variances)

    @property
    def determined_by(self) -> int:
        """Number of observations that determine the covariance of one component; 0 if all components share one."""
        return 0 if self.shared else self.n_features + 1 if self.correlated else 2

    def second_moments(self, factors: FloatArray) -> FloatArray:
        """Covariances from Cholesky factors, or variances from standard deviations."""
        return factors @ factors.swapaxes(-1, -2) if factors.ndim == 3 else factors**2

    def estimate(self, sums: ESums, steps: FloatArray, old: FloatArray, alive: NDArray[np.bool_]) -> FloatArray:
        """The M-step's second moments, S2/N - steps steps' with steps = S1/N, pooled. Empty components keep ``old``."""
        moments = per_component(sums.second, np.where(alive, sums.counts, 1.0)) - squares(steps, sums.second)
        moments = np.where(for_each(alive, moments), moments, old)
        return self.pooled(moments, sums.counts / sums.counts.sum())

    def pooled(self, moments: FloatArray, shares: FloatArray) -> FloatArray:
        """Moments averaged over components with these shares if tied; variances (K, D) over features if spherical."""
        if self.shared:
            moments = np.broadcast_to(np.tensordot(shares, moments, axes=1), moments.shape)
        if self.one_unit:
            return np.broadcast_to(moments.mean(axis=1, keepdims=True), moments.shape)
        return moments

    def factors(self, moments: FloatArray, floor: float) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Factors of second moments, with a floor on the variance in any direction, and the components that needed it."""
        if moments.ndim < 3:
            below = moments <= floor
            return np.sqrt(np.maximum(moments, floor)), below.any(axis=1)
        values, vectors = np.linalg.eigh(moments)
        floors = np.maximum(floor, _ROUNDED * values[:, -1])
        below = values[:, 0] <= floors
        factors = np.empty_like(moments)
        factors[~below] = np.linalg.cholesky(moments[~below])
        if below.any():  # by QR of the roots, because a sum of squares would round the floor away
            roots = np.sqrt(np.maximum(values, floors[:, None]))[below, :, None] * vectors[below].swapaxes(-1, -2)
            upper = np.linalg.qr(roots, mode="r")
            signs = np.sign(np.diagonal(upper, axis1=1, axis2=2))
            factors[below] = (upper * signs[:, :, None]).swapaxes(-1, -2)
        return factors, below

    def of_mixture(self, weights: FloatArray, covariances: FloatArray) -> FloatArray:
        """Second moments nearest to the covariances of a mixture that may have another structure."""
        moments = covariances if self.correlated else np.diagonal(covariances, axis1=1, axis2=2)
        return self.pooled(moments, weights)

    def matrices(self, factors: FloatArray) -> FloatArray:
        """Covariances (K, D, D) from factors."""
        moments = self.second_moments(factors)
        return moments if moments.ndim == 3 else moments[:, :, None] * np.eye(self.n_features)


def per_component(values: FloatArray, counts: FloatArray) -> FloatArray:
    """Values (K, ...) divided by one number for each component."""
    return values / for_each(counts, values)


def for_each(numbers: NDArray[Any], like: FloatArray) -> NDArray[Any]:
    """Numbers (K,) with further axes, so that they multiply all entries of a component of ``like``."""
    return numbers.reshape((-1,) + (1,) * (like.ndim - 1))


def squares(vectors: FloatArray, like: FloatArray) -> FloatArray:
    """Squares of vectors (K, D): matrices (K, D, D) if ``like`` holds matrices, else the squares of their entries."""
    return vectors[:, :, None] * vectors[:, None, :] if like.ndim == 3 else vectors**2
