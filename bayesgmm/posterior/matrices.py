"""The compiled log posterior for several features with correlations: full and tied covariances.

The coordinates are those of :mod:`bayesgmm.model.wishart` for the precision Sigma^-1 = F'F and for C0. With the sums of
the E-step

* d/d log w_k = N_k,   d/d mu_k = F'F S1_k,   d/d F = N_k diag(1 / F_ii) - F S2_k   (lower part)
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import carray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI, ROOT_HALF, inverse_factors
from bayesgmm.kernels.multivariate import accumulate
from bayesgmm.model import wishart
from bayesgmm.model.mixture import Mixture
from bayesgmm.posterior.log_posterior import (
    FARTHEST,
    LARGEST,
    Compiled,
    LogPosterior,
    Point,
    add_means,
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

_HEADER = 9  # n, D, K, M, hierarchical or not, alpha, c0, g0, the constant; then b0, B0^-1, G0 or C0, x


class MatrixPosterior(LogPosterior):
    """A point holds the coordinates of w, mu (K, D), C0 (T) if it is learnt, and M = K precisions, or one, (M, T)."""

    @property
    def n_matrices(self) -> int:
        """M: K, or one if they are tied."""
        return 1 if self.covariance == "tied" else self.k

    @property
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in their order."""
        entries = wishart.n_entries(self.n_features)
        scale = {"C0_factor": entries} if self.hierarchical else {}
        return {"w": self.k - 1, "mu": self.k * self.n_features, **scale, "precision_factor": self.n_matrices * entries}

    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """w, mu, the packed factors of C0 and of the precisions, cov (..., K, D, D) and C0 (..., D, D)."""
        values = self.weights_and_means(points)
        if self.hierarchical:
            factors = wishart.from_coordinates(points[..., self.places["C0_factor"]], self.n_features)
            values |= {"C0_factor": wishart.pack(factors), "C0": factors.swapaxes(-1, -2) @ factors}
        factors = wishart.from_coordinates(self._precision_coordinates(points), self.n_features)
        packed = wishart.pack(factors)
        roots = inverse_factors(factors)
        cov = roots @ roots.swapaxes(-1, -2)
        values["precision_factor"] = packed[..., 0, :] if self.covariance == "tied" else packed
        values["cov"] = np.broadcast_to(cov, (*cov.shape[:-3], self.k, *cov.shape[-2:]))
        return values

    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the variables w, mu, C0_factor and precision_factor have these values."""
        parts = [weight_coordinates(values["w"]), np.ravel(values["mu"])]
        for name in ("C0_factor", "precision_factor") if self.hierarchical else ("precision_factor",):
            parts.append(np.ravel(wishart.to_coordinates(wishart.unpack(np.asarray(values[name]), self.n_features))))
        return np.concatenate(parts)

    def values_at(self, mixture: Mixture) -> Point:
        """A mixture as values of w, mu and the packed factors, C0 at its conditional mean given the precisions."""
        covariances = self.structure.of_mixture(mixture.weights, mixture.covariances)[: self.n_matrices]
        factors = wishart.factors_of_inverse(covariances)
        packed = wishart.pack(factors)
        values: dict[str, Any] = {"w": weights_of(mixture), "mu": mixture.means}
        if self.hierarchical:
            shape, rate = self._scale_given(factors)
            values["C0_factor"] = wishart.pack(wishart.factors_of_inverse(rate / shape))
        return values | {"precision_factor": packed[0] if self.covariance == "tied" else packed}

    def with_exact_scale(self, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points with C0 drawn anew from Wishart(g0 + M c0, G0 + sum of precisions), and log q of its coordinates."""
        factors = wishart.from_coordinates(self._precision_coordinates(points), self.n_features)
        shape, rates = self._scale_given(factors)
        coordinates = wishart.to_coordinates(wishart.draw_factors(shape, rates, rng))
        points = points.copy()
        points[:, self.places["C0_factor"]] = coordinates
        return points, wishart.log_density(coordinates, shape, rates)

    def _precision_coordinates(self, points: FloatArray) -> FloatArray:
        """(..., M, T)."""
        return points[..., self.places["precision_factor"]].reshape(*points.shape[:-1], self.n_matrices, -1)

    def _scale_given(self, factors: FloatArray) -> tuple[float, FloatArray]:
        """Shape and rate of C0's conditional given the precisions' factors (..., M, D, D)."""
        prior: Any = self.prior
        return prior.g0 + self.n_matrices * prior.c0, prior.G0 + (factors.swapaxes(-1, -2) @ factors).sum(axis=-3)

    @cached_property
    def user_data(self) -> FloatArray:
        """The header, the matrices of the prior, then the data."""
        prior: Any = self.prior
        m, n_features = self.n_matrices, self.n_features
        constant = self.log_constants() + m * wishart.log_constant(prior.c0, n_features)
        if self.hierarchical:
            rate = prior.G0
            constant += wishart.log_constant(prior.g0, n_features) + prior.g0 * np.linalg.slogdet(rate)[1]
        else:
            rate = prior.C0
            constant += m * prior.c0 * np.linalg.slogdet(rate)[1]
        matrices = np.concatenate([prior.b0, np.ravel(np.linalg.inv(prior.B0)), np.ravel(rate), np.ravel(self.x)])
        structure = [*self.x.shape, self.k, m, self.hierarchical]
        header = [*structure, prior.alpha, prior.c0, prior.g0 if self.hierarchical else 0.0, constant]
        return np.concatenate([np.array(header, dtype=float), matrices])

    @staticmethod
    def compiled() -> Compiled:
        """The compiled functions of the family."""
        return Compiled(_log_posterior, _log_posteriors, _callback)


@compiled(fastmath=STRICT)
def _is_beyond(coordinates, size):  # type: ignore[no-untyped-def]
    """Whether a factor is out of a float's reach: its diagonal holds half the logarithm of a precision."""
    at = 0
    for i in range(size):
        if is_beyond(coordinates[at : at + i], FARTHEST) or is_beyond(coordinates[at + i : at + i + 1], 0.5 * LARGEST):
            return True
        at += i + 1
    return False


@compiled(fastmath=STRICT)
def fill_factor(coordinates, factor):  # type: ignore[no-untyped-def]
    """F (D, D) from coordinates; returns sum_i l_i."""
    log_determinant, at = 0.0, 0
    for i in range(len(factor)):
        diagonal = math.exp(coordinates[at + i])
        log_determinant += coordinates[at + i]
        for j in range(i):
            factor[i, j] = coordinates[at + j] * diagonal
        factor[i, i] = diagonal
        for j in range(i + 1, len(factor)):
            factor[i, j] = 0.0
        at += i + 1
    return log_determinant


@compiled(fastmath=STRICT)
def add_gram(factor, gram):  # type: ignore[no-untyped-def]
    """Gram += F'F."""
    size = len(factor)
    for i in range(size):
        for a in range(i + 1):
            for b in range(i + 1):
                gram[a, b] += factor[i, a] * factor[i, b]


@compiled(fastmath=STRICT)
def _add_slopes(factor, product, times, coordinates_slopes):  # type: ignore[no-untyped-def]
    """Slopes of times * tr(S F'F) / 2 for symmetric S: d/dF = times * F S (lower part), carried to the coordinates."""
    size, at = len(factor), 0
    for i in range(size):
        for j in range(i + 1):
            slope = 0.0
            for e in range(i + 1):
                slope += factor[i, e] * product[e, j]
            slope *= times
            coordinates_slopes[at + i] += factor[i, j] * slope
            if j < i:
                coordinates_slopes[at + j] += factor[i, i] * slope
        at += i + 1


@compiled(fastmath=STRICT)
def _trace(one, other):  # type: ignore[no-untyped-def]
    """tr(A B) of symmetric matrices."""
    result = 0.0
    for i in range(len(one)):
        for j in range(len(one)):
            result += one[i, j] * other[i, j]
    return result


@compiled(fastmath=STRICT)
def _add_powers(coordinates, slopes, size, power):  # type: ignore[no-untyped-def]
    """sum_i (power - D - 1 + 2i) l_i, i = 1..D; its slopes are added."""
    value, at = 0.0, 0
    for i in range(size):
        exponent = power - size - 1 + 2 * (i + 1)
        value += exponent * coordinates[at + i]
        slopes[at + i] += exponent
        at += i + 1
    return value


@compiled(fastmath=SUMS)  # the E-step is compiled into it
def _log_posterior(point, user_data, gradient):  # type: ignore[no-untyped-def]
    """Value at a point; the gradient is filled in."""
    n, size, k, m = int(user_data[0]), int(user_data[1]), int(user_data[2]), int(user_data[3])
    hierarchical, alpha, c0, g0 = user_data[4] != 0.0, user_data[5], user_data[6], user_data[7]
    entries = size * (size + 1) // 2
    at_B0 = _HEADER + size
    at_rate, at_x = at_B0 + size * size, at_B0 + 2 * size * size
    b0, inverse_B0 = user_data[_HEADER:at_B0], user_data[at_B0:at_rate].reshape(size, size)
    rate, x = user_data[at_rate:at_x].reshape(size, size), user_data[at_x:].reshape(n, size)
    at_C0 = k - 1 + k * size
    at_factors = at_C0 + entries if hierarchical else at_C0
    beyond = is_beyond(point[:at_C0], FARTHEST)
    for begin in range(at_C0, len(point), entries):
        beyond = beyond or _is_beyond(point[begin : begin + entries], size)
    if beyond:
        gradient[:] = np.nan
        return np.nan

    log_w = np.empty(k)
    sum_log_w = log_weights(point, log_w)
    mu = point[k - 1 : at_C0].reshape(k, size)
    coordinates = point[at_factors:].reshape(m, entries)
    factors, whiteners, offsets = np.empty((m, size, size)), np.empty((k, size, size)), np.empty(k)
    precisions, precision_sum = np.zeros((m, size, size)), np.zeros((size, size))
    for j in range(m):
        log_determinant = fill_factor(coordinates[j], factors[j])
        add_gram(factors[j], precisions[j])
        precision_sum += precisions[j]
        for c in range(j, k if m == 1 else j + 1):
            offsets[c] = log_w[c] + log_determinant - size * HALF_LOG_2PI
            whiteners[c] = ROOT_HALF * factors[j]
    counts, first, second = np.empty(k), np.empty((k, size)), np.empty((k, size, size))
    shift, scale = np.zeros(size), np.ones(size)
    value = accumulate(x, user_data[:0], shift, scale, offsets, mu, whiteners, counts, first, second)
    value += user_data[8] + alpha * sum_log_w

    weight_slopes(log_w, counts, alpha, n, gradient)
    gradient[at_C0:] = 0.0
    mu_slopes, slopes = gradient[k - 1 : at_C0].reshape(k, size), gradient[at_factors:].reshape(m, entries)
    for c in range(k):
        j = c if m > 1 else 0
        for a in range(size):
            mu_slopes[c, a] = 0.0
            for b in range(size):
                mu_slopes[c, a] += precisions[j, a, b] * first[c, b]
        diagonal = 0
        for i in range(size):
            slopes[j, diagonal + i] += counts[c]
            diagonal += i + 1
        _add_slopes(factors[j], second[c], -1.0, slopes[j])
    value += add_means(mu, b0, inverse_B0, mu_slopes)

    C0 = np.zeros((size, size))
    if hierarchical:
        C0_factor = np.empty((size, size))
        log_determinant = fill_factor(point[at_C0:at_factors], C0_factor)
        add_gram(C0_factor, C0)
        C0_slopes = gradient[at_C0:at_factors]
        value += _add_powers(point[at_C0:at_factors], C0_slopes, size, 2.0 * (g0 + m * c0)) - _trace(rate, C0)
        _add_slopes(C0_factor, rate + precision_sum, -2.0, C0_slopes)
    else:
        C0[:] = rate
    value -= _trace(C0, precision_sum)
    for j in range(m):
        value += _add_powers(coordinates[j], slopes[j], size, 2.0 * c0)
        _add_slopes(factors[j], C0, -2.0, slopes[j])
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
