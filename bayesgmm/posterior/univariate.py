"""The compiled log posterior for one feature, with own variances or a common one.

The likelihood's gradient comes from the E-step kernel:

* d/d log w_k = N_k,   d/d mu_k = S1_k / sigma_k^2,   d/d log sigma_k^2 = (S2_k / sigma_k^2 - N_k) / 2
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import carray
from scipy.special import gammaln

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.univariate import accumulate
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import HierarchicalPrior
from bayesgmm.posterior.log_posterior import (
    FARTHEST,
    LARGEST,
    Compiled,
    LogPosterior,
    Point,
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

_HEADER = 10  # n, K, own variances or one, hierarchical or not, alpha, b0, B0, c0, g0, the constant; then G0 or C0


class UnivariatePosterior(LogPosterior):
    """A point holds the K - 1 coordinates of the weights, K means, log C0 if it is learnt, and K log variances, or one."""

    @property
    def n_variances(self) -> int:
        """K, or one if they are tied."""
        return 1 if self.covariance == "tied" else self.k

    @property
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in their order."""
        return {"w": self.k - 1, "mu": self.k, **({"C0": 1} if self.hierarchical else {}), "sigma2": self.n_variances}

    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """w, mu, sigma2 (one number if tied) and C0 of points (..., n_dim)."""
        sigma2 = np.exp(points[..., self.places["sigma2"]])
        values = self.weights_and_means(points) | {"sigma2": sigma2[..., 0] if self.covariance == "tied" else sigma2}
        return values | ({"C0": np.exp(points[..., self.places["C0"]])[..., 0]} if self.hierarchical else {})

    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the variables w, mu, sigma2 and C0 have these values."""
        parts = [weight_coordinates(values["w"]), values["mu"]]
        if self.hierarchical:
            parts.append(np.log(np.atleast_1d(values["C0"])))
        return np.concatenate([*parts, np.log(np.atleast_1d(values["sigma2"]))[: self.n_variances]])

    def values_at(self, mixture: Mixture) -> Point:
        """A mixture as values of w, mu, sigma2 (one number if tied) and C0, at its conditional mean given the variances."""
        sigma2 = mixture.covariances[0] if self.covariance == "tied" else mixture.covariances
        values: dict[str, Any] = {"w": weights_of(mixture), "mu": mixture.means, "sigma2": np.asarray(sigma2)}
        if isinstance(self.prior, HierarchicalPrior):
            prior: Any = self.prior
            shape = prior.g0 + self.n_variances * prior.c0
            values["C0"] = np.asarray(shape / (prior.G0 + np.sum(1 / sigma2)))
        return values

    def with_exact_scale(self, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points with C0 drawn anew from Gamma(g0 + m c0, G0 + sum 1/sigma2), m variances, and log q of log C0."""
        log_variances = points[:, self.places["sigma2"], None]
        return draw_scales(self, points, log_variances, rng)

    @cached_property
    def user_data(self) -> FloatArray:
        """The header, the rate, then the data."""
        prior: Any = self.prior
        m = self.n_variances
        g0, rate, constant = scale_constants(self, m)
        structure = [len(self.x), self.k, m == self.k, self.hierarchical]
        header = [*structure, prior.alpha, prior.b0, prior.B0, prior.c0, g0, constant + self.log_constants()]
        return np.concatenate([np.array(header, dtype=float), rate, self.x])

    @staticmethod
    def compiled() -> Compiled:
        """The compiled functions of the family."""
        return Compiled(_log_posterior, _log_posteriors, _callback)


def scale_constants(own: LogPosterior, m: int) -> tuple[float, FloatArray, float]:
    """g0, the rate (G0, or C0 if that is given) for each kind of variance, and the constants of variances and scales."""
    prior: Any = own.prior
    rate = np.atleast_1d(np.asarray(prior.G0 if own.hierarchical else prior.C0, dtype=float))
    constant = -len(rate) * m * gammaln(prior.c0)
    if own.hierarchical:
        return prior.g0, rate, float(constant + (prior.g0 * np.log(rate) - gammaln(prior.g0)).sum())
    return 0.0, rate, float(constant + m * prior.c0 * np.log(rate).sum())


def draw_scales(
    own: LogPosterior, points: FloatArray, log_variances: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Points with C0 drawn from its conditional given log variances (S, m, V), and the log density of log C0."""
    prior: Any = own.prior
    shape = prior.g0 + log_variances.shape[1] * prior.c0
    rate = prior.G0 + np.exp(-log_variances).sum(axis=1)
    log_scale = np.log(rng.gamma(shape, 1 / rate))
    log_q = shape * (np.log(rate) + log_scale) - rate * np.exp(log_scale) - gammaln(shape)  # with the Jacobian of log
    points = points.copy()
    points[:, own.places["C0"]] = log_scale
    return points, log_q.sum(axis=1)


@compiled(fastmath=SUMS)  # the E-step is compiled into it
def _log_posterior(point, user_data, gradient):  # type: ignore[no-untyped-def]
    """Value at a point; the gradient is filled in."""
    k, own, hierarchical = int(user_data[1]), user_data[2] != 0.0, user_data[3] != 0.0
    alpha, b0, B0, c0, g0 = user_data[4], user_data[5], user_data[6], user_data[7], user_data[8]
    at_C0 = 2 * k - 1
    at_sigma2 = at_C0 + 1 if hierarchical else at_C0
    if is_beyond(point[:at_C0], FARTHEST) or is_beyond(point[at_C0:], LARGEST):
        gradient[:] = np.nan
        return np.nan

    log_w = np.empty(k)
    sum_log_w = log_weights(point, log_w)
    mu = point[k - 1 : at_C0]
    offsets, precisions = np.empty(k), np.empty(k)
    for j in range(k):
        log_sigma2 = point[at_sigma2 + j] if own else point[at_sigma2]
        offsets[j] = log_w[j] - 0.5 * log_sigma2 - HALF_LOG_2PI
        precisions[j] = ROOT_HALF * math.exp(-0.5 * log_sigma2)
    sums = np.empty((3, k))
    value = accumulate(user_data[_HEADER + 1 :], user_data[:0], 0.0, 1.0, offsets, mu, precisions, sums)
    value += user_data[9] + alpha * sum_log_w

    weight_slopes(log_w, sums[0], alpha, user_data[0], gradient)
    gradient[at_C0:] = 0.0
    for j in range(k):
        deviation, inverse = mu[j] - b0, 2.0 * precisions[j] * precisions[j]
        value -= 0.5 * deviation * deviation / B0
        gradient[k - 1 + j] = inverse * sums[1, j] - deviation / B0
        gradient[at_sigma2 + (j if own else 0)] += 0.5 * (sums[2, j] * inverse - sums[0, j])
    n_variances = k if own else 1
    log_variances, slopes = point[at_sigma2:].reshape(n_variances, 1), gradient[at_sigma2:].reshape(n_variances, 1)
    rate = user_data[_HEADER : _HEADER + 1]
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
