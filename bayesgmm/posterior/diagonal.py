"""The compiled log posterior for several features that are independent within a component: diag and spherical covariances.

With V = D variances for each component (diag) or one (spherical), the likelihood's gradient is that of one feature,
d/d log sigma_kv^2 = (S2_kv / sigma_kv^2 - N_k) / 2, summed over the features that share a variance.
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import carray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.multivariate import accumulate
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import HierarchicalPrior
from bayesgmm.posterior.log_posterior import (
    FARTHEST,
    LARGEST,
    Compiled,
    LogPosterior,
    Point,
    add_means,
    add_variances,
    code,
    density_callback,
    from_whitened,
    is_beyond,
    log_weights,
    split,
    to_whitened,
    weight_coordinates,
    weight_slopes,
    weights_of,
)
from bayesgmm.posterior.univariate import draw_scales, scale_constants

_HEADER = 9  # n, D, K, V, hierarchical or not, alpha, c0, g0, the constant; then b0, B0^-1, G0 or C0, x


class DiagonalPosterior(LogPosterior):
    """A point holds the coordinates of w and mu (K, D), log C0 (V) if it is learnt, and log variances (K, V)."""

    @property
    def n_scales(self) -> int:
        """V, variances of each component."""
        return self.n_features if self.covariance == "diag" else 1

    @property
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in their order."""
        scales = {"C0": self.n_scales} if self.hierarchical else {}
        return {"w": self.k - 1, "mu": self.k * self.n_features, **scales, "sigma2": self.k * self.n_scales}

    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """w, mu (..., K, D), sigma2 (..., K[, D]), cov (..., K, D, D) and C0 (...[, D])."""
        values = self.weights_and_means(points)
        shape = (self.n_features,) if self.covariance == "diag" else ()
        sigma2 = np.exp(points[..., self.places["sigma2"]])
        values["sigma2"] = sigma2.reshape(*sigma2.shape[:-1], self.k, *shape)
        variances = np.broadcast_to(sigma2.reshape(*sigma2.shape[:-1], self.k, self.n_scales), values["mu"].shape)
        values["cov"] = variances[..., None] * np.eye(self.n_features)
        if self.hierarchical:
            C0 = np.exp(points[..., self.places["C0"]])
            values["C0"] = C0.reshape((*C0.shape[:-1], *shape))
        return values

    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the variables w, mu, sigma2 and C0 have these values."""
        parts = [weight_coordinates(values["w"]), np.ravel(values["mu"])]
        if self.hierarchical:
            parts.append(np.log(np.ravel(values["C0"])))
        return np.concatenate([*parts, np.log(np.ravel(values["sigma2"]))])

    def values_at(self, mixture: Mixture) -> Point:
        """A mixture as values of w, mu, sigma2 and C0, at its conditional mean given the variances."""
        variances = self.structure.of_mixture(mixture.weights, mixture.covariances)
        sigma2 = variances if self.covariance == "diag" else variances[:, 0]
        values: dict[str, Any] = {"w": weights_of(mixture), "mu": mixture.means, "sigma2": np.asarray(sigma2)}
        if isinstance(self.prior, HierarchicalPrior):
            prior: Any = self.prior
            values["C0"] = np.asarray((prior.g0 + self.k * prior.c0) / (prior.G0 + (1 / sigma2).sum(axis=0)))
        return values

    def with_exact_scale(self, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points with each C0 drawn anew from Gamma(g0 + K c0, G0 + sum 1/sigma2), and log q of log C0."""
        log_variances = points[:, self.places["sigma2"]].reshape(-1, self.k, self.n_scales)
        return draw_scales(self, points, log_variances, rng)

    @cached_property
    def user_data(self) -> FloatArray:
        """The header, the matrices of the prior, then the data."""
        prior: Any = self.prior
        g0, rate, constant = scale_constants(self, self.k)
        matrices = np.concatenate([prior.b0, np.ravel(np.linalg.inv(prior.B0)), rate, np.ravel(self.x)])
        structure = [*self.x.shape, self.k, self.n_scales, self.hierarchical]
        header = [*structure, prior.alpha, prior.c0, g0, constant + self.log_constants()]
        return np.concatenate([np.array(header, dtype=float), matrices])

    @staticmethod
    def compiled() -> Compiled:
        """The compiled functions of the family."""
        return Compiled(_log_posterior, _log_posteriors, _callback)


@compiled(fastmath=SUMS)  # the E-step is compiled into it
def _log_posterior(point, user_data, gradient):  # type: ignore[no-untyped-def]
    """Value at a point; the gradient is filled in."""
    n, n_features, k, n_scales = int(user_data[0]), int(user_data[1]), int(user_data[2]), int(user_data[3])
    hierarchical, alpha, c0, g0 = user_data[4] != 0.0, user_data[5], user_data[6], user_data[7]
    at_B0 = _HEADER + n_features
    at_rate = at_B0 + n_features * n_features
    b0, inverse_B0 = user_data[_HEADER:at_B0], user_data[at_B0:at_rate].reshape(n_features, n_features)
    rate, x = user_data[at_rate : at_rate + n_scales], user_data[at_rate + n_scales :].reshape(n, n_features)
    at_C0 = k - 1 + k * n_features
    at_sigma2 = at_C0 + n_scales if hierarchical else at_C0
    if is_beyond(point[:at_C0], FARTHEST) or is_beyond(point[at_C0:], LARGEST):
        gradient[:] = np.nan
        return np.nan

    log_w = np.empty(k)
    sum_log_w = log_weights(point, log_w)
    mu, log_variances = point[k - 1 : at_C0].reshape(k, n_features), point[at_sigma2:].reshape(k, n_scales)
    offsets, precisions = np.empty(k), np.empty((k, n_features, 1))
    for j in range(k):
        offsets[j] = log_w[j]
        for d in range(n_features):
            log_sigma2 = log_variances[j, d if n_scales > 1 else 0]
            offsets[j] -= 0.5 * log_sigma2 + HALF_LOG_2PI
            precisions[j, d, 0] = ROOT_HALF * math.exp(-0.5 * log_sigma2)
    counts, first, second = np.empty(k), np.empty((k, n_features)), np.empty((k, n_features, 1))
    shift, scale = np.zeros(n_features), np.ones(n_features)
    value = accumulate(x, user_data[:0], shift, scale, offsets, mu, precisions, counts, first, second)
    value += user_data[8] + alpha * sum_log_w

    weight_slopes(log_w, counts, alpha, n, gradient)
    gradient[at_C0:] = 0.0
    mu_slopes, slopes = gradient[k - 1 : at_C0].reshape(k, n_features), gradient[at_sigma2:].reshape(k, n_scales)
    for j in range(k):
        for d in range(n_features):
            inverse = 2.0 * precisions[j, d, 0] * precisions[j, d, 0]
            mu_slopes[j, d] = inverse * first[j, d]
            slopes[j, d if n_scales > 1 else 0] += 0.5 * (second[j, d, 0] * inverse - counts[j])
    value += add_means(mu, b0, inverse_B0, mu_slopes)
    value += add_variances(log_variances, point[at_C0:at_sigma2], c0, g0, rate, slopes, gradient[at_C0:at_sigma2])
    return value


@compiled(fastmath=STRICT)
def _log_posteriors(points, user_data, places, values):  # type: ignore[no-untyped-def]
    """Values at points (S, n_dim), written to their places among all values."""
    gradient = np.empty(points.shape[1])
    for s in range(len(points)):
        values[places[s]] = _log_posterior(points[s], user_data, gradient)


def _sampler_density(dim, noise, gradient, value, sampler_data):  # type: ignore[no-untyped-def]
    """The density as nutpie calls it, in whitened coordinates."""
    user_data, whitener = split(sampler_data)
    point, slopes, slope = np.empty(dim), np.empty(dim), carray(gradient, (dim,))
    from_whitened(carray(noise, (dim,)), whitener, point)
    result = _log_posterior(point, user_data, slopes)
    to_whitened(slopes, whitener, slope)
    carray(value, (1,))[0] = result
    return code(result, slope)


@cache
def _callback() -> Any:
    return density_callback(_sampler_density)
