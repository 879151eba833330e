"""Covariances and C0 of a posterior: conversion between coordinates of a point, model variables and mixtures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.arguments import FloatArray
from bayesgmm.data.reading import as_shown
from bayesgmm.kernels import spread as kernels
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.model import wishart
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.structures import Structure


@dataclass(frozen=True)
class Spread(ABC):
    """The m covariances of K components, and their scale C0, in coordinates of one kind.

    Attributes
    ----------
    k : int
    structure : Structure
    hyper : Hyperparameters
    """

    k: int
    structure: Structure
    hyper: Hyperparameters

    name = ""  # the model's variable for the covariances
    scale_name = ""  # the model's variable from which C0 is computed
    kind: ClassVar[type[kernels.Variances | kernels.Factors]]

    @property
    def n_features(self) -> int:
        """Number of features, D."""
        return self.structure.n_features

    @property
    def n_blocks(self) -> int:
        """Number of covariances, m: K, or one if all components share a covariance."""
        return self.structure.n_blocks(self.k)

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of coordinates of one covariance."""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in the order of a point."""
        return ({self.scale_name: self.size} if self.hyper.learnt else {}) | {self.name: self.n_blocks * self.size}

    @property
    def compiled(self) -> kernels.Variances | kernels.Factors:
        """The sizes, in the type that selects the compiled code."""
        return self.kind(self.k, self.n_features, self.n_blocks, self.size)

    def blocks(self, coordinates: FloatArray) -> FloatArray:
        """Reshape coordinates (..., m size) to (..., m, size)."""
        return coordinates.reshape(*coordinates.shape[:-1], self.n_blocks, self.size)

    @property
    def _with_prior(self) -> NDArray[np.bool_]:
        """Which covariances have a prior, (m,), because they are not fixed."""
        return np.broadcast_to(self.hyper.c0 > 0, self.n_blocks)

    @property
    @abstractmethod
    def log_constant(self) -> float:
        """Log normalising constants of the priors of the covariances and of C0."""

    @abstractmethod
    def values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """The model's variable for the covariances, and ``cov`` (..., K, D, D), at coordinates (..., m size)."""

    @abstractmethod
    def scale_values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """C0, and the model's variable from which it is computed, at coordinates (..., size)."""

    @abstractmethod
    def of_mixture(self, mixture: Mixture) -> dict[str, Any]:
        """The model's variables for a mixture, with C0 at its conditional mean given the covariances."""

    @abstractmethod
    def coordinates(self, values: FloatArray) -> FloatArray:
        """Flat coordinates of the model's variable for the covariances, or of that for C0."""

    @abstractmethod
    def precision_factors(self, coordinates: FloatArray) -> FloatArray:
        """Lower triangular F (..., m, D, D), with precisions F'F, at coordinates (..., m, size)."""

    @abstractmethod
    def draw_scale(self, coordinates: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draw coordinates (S, size) of C0 given covariances (S, m, size); return them and their log density."""


class VarianceSpread(Spread):
    """Log variances (m, V): one feature, diagonal and spherical covariances."""

    name, scale_name, kind = "sigma2", "C0", kernels.Variances

    @property
    def size(self) -> int:
        """Number of variances in a covariance, V: D, or one if all features share a variance."""
        return self.structure.n_variances

    @property
    def log_constant(self) -> float:
        """Log normalising constants of InvGamma(c0, C0) for each variance, and of Gamma(g0, G0)."""
        own = self.hyper.of_each(self.k, self.n_blocks)
        free = own.c0 > 0
        constant = -self.size * gammaln(own.c0[free]).sum()
        if own.learnt:
            return float(constant + (own.g0 * np.log(own.rate) - gammaln(own.g0)).sum())
        return float(constant + (own.c0[free] * np.log(own.rate[free]).sum(axis=1)).sum())

    def values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """``sigma2`` (..., K) or (..., K, D), without K if all components share it; ``cov`` (..., K, D, D)."""
        sigma2 = self.blocks(np.exp(coordinates))
        own = sigma2[..., 0, :] if self.structure.shared else sigma2
        variances = np.broadcast_to(sigma2, (*sigma2.shape[:-2], self.k, self.n_features))
        return {"sigma2": as_shown(own), "cov": variances[..., None] * np.eye(self.n_features)}

    def scale_values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """C0 (...) or (..., D)."""
        return {"C0": as_shown(np.exp(coordinates))}

    def of_mixture(self, mixture: Mixture) -> dict[str, Any]:
        """``sigma2``, and C0 = (g0 + m c0) / (G0 + sum 1 / sigma2)."""
        sigma2 = self.structure.of_mixture(mixture.weights, mixture.cov)[: self.n_blocks, : self.size]
        values = {"sigma2": as_shown(sigma2[0] if self.structure.shared else sigma2)}
        if self.hyper.learnt:
            shape, rate = self.hyper.scale_given(self.n_blocks, (1 / sigma2[self._with_prior]).sum(axis=0))
            values["C0"] = as_shown(shape / rate)
        return values

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Logarithms of ``sigma2``, or of C0, as a flat array."""
        return np.log(np.ravel(values))

    def precision_factors(self, coordinates: FloatArray) -> FloatArray:
        """Diagonal F (..., m, D, D), with precisions F'F, at coordinates (..., m, size)."""
        inverse = np.exp(-0.5 * coordinates)
        return np.broadcast_to(inverse, (*inverse.shape[:-1], self.n_features))[..., None] * np.eye(self.n_features)

    def draw_scale(self, coordinates: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draw the coordinates of each C0 ~ Gamma(g0 + m c0, G0 + sum 1 / sigma2); return them and their log density."""
        shape, rate = self.hyper.scale_given(self.n_blocks, np.exp(-coordinates[:, self._with_prior]).sum(axis=1))
        log_scale = np.log(rng.gamma(shape, 1 / rate))
        log_q = shape * (np.log(rate) + log_scale) - rate * np.exp(log_scale) - gammaln(shape)  # with the Jacobian of log
        return log_scale, log_q.sum(axis=1)


class FactorSpread(Spread):
    """Triangular factors of precisions (m, T), in the coordinates of ``wishart``: full and tied covariances."""

    name, scale_name, kind = "precision_factor", "C0_factor", kernels.Factors

    @property
    def size(self) -> int:
        """Number of entries of a triangular factor, T = D (D + 1) / 2."""
        return wishart.n_entries(self.n_features)

    @property
    def log_constant(self) -> float:
        """Log normalising constants of Wishart(c0, C0) for each precision, and of Wishart(g0, G0)."""
        own, d = self.hyper.of_each(self.k, self.n_blocks), self.n_features
        free, rates = own.c0 > 0, own.rate.reshape(-1, d, d)
        constant = sum(wishart.log_constant(c0, d) for c0 in own.c0[free])
        if own.learnt:
            return float(constant + wishart.log_constant(own.g0, d) + own.g0 * np.linalg.slogdet(rates[0])[1])
        return float(constant + (own.c0[free] * np.linalg.slogdet(rates[free])[1]).sum())

    def values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """Packed factors (..., K, T), or (..., T) if tied, and ``cov`` (..., K, D, D)."""
        factors = wishart.from_coordinates(self.blocks(coordinates), self.n_features)
        packed, roots = wishart.pack(factors), inverse_factors(factors)
        cov = roots @ roots.swapaxes(-1, -2)
        return {
            "precision_factor": packed[..., 0, :] if self.structure.shared else packed,
            "cov": np.broadcast_to(cov, (*cov.shape[:-3], self.k, *cov.shape[-2:])),
        }

    def scale_values(self, coordinates: FloatArray) -> dict[str, FloatArray]:
        """C0 (..., D, D) and its packed factor."""
        factors = wishart.from_coordinates(coordinates, self.n_features)
        return {"C0_factor": wishart.pack(factors), "C0": factors.swapaxes(-1, -2) @ factors}

    def of_mixture(self, mixture: Mixture) -> dict[str, Any]:
        """Packed factors of the precisions, and of C0 = (g0 + m c0) (G0 + sum of precisions)^-1."""
        covariances = self.structure.of_mixture(mixture.weights, mixture.cov)[: self.n_blocks]
        factors = wishart.factors_of_inverse(covariances)
        packed = wishart.pack(factors)
        values = {"precision_factor": packed[0] if self.structure.shared else packed}
        if self.hyper.learnt:
            shape, rate = self._scale_given(factors)
            values["C0_factor"] = wishart.pack(wishart.factors_of_inverse(rate / shape))
        return values

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Flat coordinates of packed factors (..., T)."""
        return np.ravel(wishart.to_coordinates(wishart.unpack(np.asarray(values), self.n_features)))

    def precision_factors(self, coordinates: FloatArray) -> FloatArray:
        """Lower triangular F (..., m, D, D), with precisions F'F, at coordinates (..., m, size)."""
        return wishart.from_coordinates(coordinates, self.n_features)

    def draw_scale(self, coordinates: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draw coordinates of C0 ~ Wishart(g0 + m c0, G0 + sum of precisions); return them and their log density."""
        shape, rates = self._scale_given(wishart.from_coordinates(coordinates, self.n_features))
        drawn = wishart.to_coordinates(wishart.draw_factors(shape, rates, rng))
        return drawn, wishart.log_density(drawn, shape, rates)

    def _scale_given(self, factors: FloatArray) -> tuple[float, FloatArray]:
        """Shape and rate of C0's conditional given the precisions' factors (..., m, D, D)."""
        some = factors[..., self._with_prior, :, :]
        return self.hyper.scale_given(self.n_blocks, (some.swapaxes(-1, -2) @ some).sum(axis=-3))


def spread_of(k: int, structure: Structure, hyper: Hyperparameters) -> Spread:
    """The covariances in the coordinates for the structure: factors if features are correlated, otherwise variances."""
    return (FactorSpread if structure.correlated else VarianceSpread)(k, structure, hyper)
