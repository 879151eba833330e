"""The log posterior on the unconstrained space and its gradient, compiled once for each kind of spread.

A point holds, in this order: K - 1 coordinates of the weights, the means (K, D), the coordinates of C0 if it is learnt, and
those of the covariances. If observations may be noise, the logit of the share of noise follows. For t distributions,
log(nu - 1) (K) comes last. :func:`bayesgmm.kernels.spread.prepare` turns a point into the coefficients of the E-step. The
E-step sums over the observations. :func:`~bayesgmm.kernels.spread.assemble` computes the gradient from the sums and prior.

The compiled function is the C callback that a sampler calls, in whitened coordinates, without those of fixed parameters
(:class:`Held`). :func:`value` and :func:`values` call it by its address. It finds the observations by an address in the
header, so that all chains share them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels import student
from bayesgmm.kernels.blocks import is_finite
from bayesgmm.kernels.compiled import STRICT, SUMS, c_callback, compiled
from bayesgmm.kernels.pointers import FLOATS, at, copy
from bayesgmm.kernels.points import (
    FARTHEST,
    add_means,
    is_beyond,
    log_prior_of_noise,
    log_prior_of_weights,
    log_weights,
    noise_slope,
    share_out,
    weight_slopes,
)
from bayesgmm.kernels.rows import Rows
from bayesgmm.kernels.spread import LARGEST, Factors, Variances, assemble, is_out_of_range, prepare, whiteners
from bayesgmm.kernels.sums import fill_sums

# the header: lengths of header and whitener; n, D, K, m, coordinates in a covariance block; whether C0 is learnt; g0; the
# constant; the total weight; five addresses, 0 for none: the summing function, x, weights, labels, known values; the number
# of label rows; whether observations may be noise; the number of nu, K or 0; the place of what is held fixed, 0 if nothing
# is; the length of a point; the place of the weights' coordinate that depends on the others, -1 if there is none; the
# number of free ones. These are _FIXED numbers. Then: shift and inverse scale that standardise the observations; alpha (K,),
# c0 (m,), b0 (K, D), B0^-1 (K, D, D); and G0, or the C0 of each covariance block if it is given. Last the fields of Held:
# weights (K + 1,), a point with the fixed values, and the places of the free coordinates
_FIXED = 23
_OF_SUMS, _OF_X, _OF_HELD = 11, 12, 19


class Held(NamedTuple):
    """Which coordinates of a point are fixed.

    ``log_w`` (K + 1,) are the weights as :func:`bayesgmm.kernels.points.log_weights` takes them, ``base`` is a point that
    holds the fixed values. ``free`` are the places of the free coordinates, the first ``n_weights`` of them of weights. The
    weights' coordinate at ``dependent``, unless that is -1, is minus the sum of the free ones.
    """

    log_w: FloatArray
    base: FloatArray
    free: NDArray[np.int64]
    n_weights: int
    dependent: int

    def expanded(self, points: FloatArray) -> FloatArray:
        """Points with all coordinates, from points (..., n) with the free ones."""
        result = np.empty((*points.shape[:-1], len(self.base)))
        result[:] = self.base
        result[..., self.free] = points
        if self.dependent >= 0:
            result[..., self.dependent] = -points[..., : self.n_weights].sum(axis=-1)
        return result


def header(
    rows: Rows, units: Any, spread: Variances | Factors, hyper: Any, constant: float, n_nu: int, held: Held | None, size: int
) -> FloatArray:
    """All that a density needs in one array. It holds only addresses of the observations, so these must be kept alive.

    ``units`` (:class:`bayesgmm.data.units.Units`) standardise the rows to the units of the density. ``hyper`` are
    :class:`bayesgmm.model.hyperparameters.Hyperparameters`. ``size`` is the length of a point.
    """
    x, total = rows.x, rows.weight.sum() if len(rows.weight) else len(rows.x)
    scalars = hyper.learnt, hyper.g0, constant, total
    of_held = (0, size, -1, 0) if held is None else (0, size, held.dependent, held.n_weights)
    of_rows = 0, 0, 0, 0, 0, len(rows.log_labels), rows.noise, n_nu
    numbers = np.array([0, 0, len(x), *_sizes(spread), *scalars, *of_rows, *of_held], dtype=float)
    own = hyper.of_each(spread.k, spread.n_blocks)
    rate = hyper.rate if hyper.learnt else own.rate
    arrays: tuple[NDArray[Any], ...] = units.shift, 1 / units.scale, own.alpha, own.c0, own.b0, own.precision_of_means, rate
    if held is not None:
        numbers[_OF_HELD] = _FIXED + sum(each.size for each in arrays)
        arrays += held.log_w, held.base, held.free
    result = np.concatenate([numbers, *map(np.ravel, arrays)])
    result[0] = len(result)
    addresses = result.view(np.int64)
    addresses[_OF_SUMS] = rows.sums
    addresses[_OF_X : _OF_X + 3] = [each.ctypes.data if each.size else 0 for each in (x, rows.weight, rows.log_labels)]
    addresses[_OF_X + 3] = rows.at_known
    return result


def _sizes(spread: Variances | Factors) -> tuple[int, int, int, int]:
    return spread.n_features, spread.k, spread.n_blocks, spread.size


def with_whitener(header: FloatArray, *whitener: FloatArray) -> FloatArray:
    """Append a whitener, centre and packed triangular factor, to a header: point = centre + factor noise."""
    result = np.concatenate([header, *whitener])
    result[1] = len(result) - len(header)
    return result


@cache
def density(*, correlated: bool) -> Any:
    """The compiled density for variances or factors; its machine code is at ``.address``."""
    function = _of_factors if correlated else _of_variances
    return c_callback(types.int64(types.uint64, FLOATS, FLOATS, FLOATS, FLOATS), function, fastmath=STRICT)


@cache
def draw_callback() -> Any:
    """The C callback that stores a draw as its unconstrained point."""
    return c_callback(types.int64(types.uint64, types.uint64, FLOATS, FLOATS, FLOATS), _keep, fastmath=STRICT)


@compiled(fastmath=STRICT)
def value(function, point, data, gradient):
    """Return the log posterior at a point; fill the gradient."""
    result = np.empty(1)
    function(np.uint64(len(point)), at(point), at(gradient), at(result), at(data))
    return result[0]


@compiled(fastmath=STRICT)
def values(function, points, data, places, out):
    """Log posterior at points (S, n_dim), written to ``out[places]``."""
    gradient, result = np.empty(points.shape[1]), np.empty(1)
    for s in range(len(points)):
        function(np.uint64(points.shape[1]), at(points[s]), at(gradient), at(result), at(data))
        out[places[s]] = result[0]


def _of_variances(dim, noise, gradient, value, data):
    own, whitener = _split(data)
    spread = Variances(int(own[4]), int(own[3]), int(own[5]), int(own[6]))
    return _evaluate(carray(noise, (dim,)), carray(gradient, (dim,)), carray(value, (1,)), own, whitener, spread)


def _of_factors(dim, noise, gradient, value, data):
    own, whitener = _split(data)
    spread = Factors(int(own[4]), int(own[3]), int(own[5]), int(own[6]))
    return _evaluate(carray(noise, (dim,)), carray(gradient, (dim,)), carray(value, (1,)), own, whitener, spread)


@compiled(fastmath=STRICT, inline=True)
def _split(data):
    """Split data into the header and the whitener that follows it."""
    lengths = carray(data, (2,))
    whole = carray(data, (int(lengths[0]) + int(lengths[1]),))
    return whole[: int(lengths[0])], whole[int(lengths[0]) :]


@compiled(fastmath=STRICT, inline=True)
def _evaluate(noise, gradient, value, own, whitener, spread):
    """Fill value and gradient; return nutpie's code: 0, or 3 if the gradient, 4 if the value is not finite."""
    free, free_slopes = np.empty(len(noise)), np.empty(len(noise))
    point, slopes = np.empty(int(own[20])), np.empty(int(own[20]))
    _from_whitened(noise, whitener, free)
    _expand(free, own, point)
    value[0] = _log_posterior(point, own, spread, slopes)
    _reduce(slopes, own, free_slopes)
    _to_whitened(free_slopes, whitener, gradient)
    if is_beyond(gradient, np.inf):
        return 3
    return 0 if is_finite(value[0]) else 4


@compiled(fastmath=STRICT)
def _expand(free, own, point):
    """Fill a point from its free coordinates."""
    at, dependent, n_weights = int(own[_OF_HELD]), int(own[21]), int(own[22])
    if at == 0:
        copy(free, point)
        return
    at += int(own[4]) + 1
    copy(own[at : at + len(point)], point)
    at += len(point)
    for i in range(len(free)):
        point[int(own[at + i])] = free[i]
    if dependent >= 0:
        point[dependent] = 0.0
        for i in range(n_weights):
            point[dependent] -= free[i]


@compiled(fastmath=STRICT)
def _reduce(slopes, own, free):
    """Fill the gradient by the free coordinates of a point from that by all: the chain rule for :func:`_expand`."""
    at, dependent, n_weights = int(own[_OF_HELD]), int(own[21]), int(own[22])
    if at == 0:
        copy(slopes, free)
        return
    at += int(own[4]) + 1 + len(slopes)
    for i in range(len(free)):
        free[i] = slopes[int(own[at + i])]
    if dependent >= 0:
        for i in range(n_weights):
            free[i] -= slopes[dependent]


@compiled(fastmath=STRICT, inline=True)
def _log_posterior(point, own, spread, gradient):
    """Return the log posterior at a point; fill the gradient."""
    k, n_features = spread.k, spread.n_features
    total = own[10]
    at_alpha = _FIXED + 2 * n_features
    at_b0 = at_alpha + k + spread.n_blocks
    at_B0 = at_b0 + k * n_features
    at_rate = at_B0 + k * n_features * n_features
    unit = own[_FIXED : _FIXED + n_features], own[_FIXED + n_features : at_alpha]
    alpha, c0 = own[at_alpha : at_alpha + k], own[at_alpha + k : at_b0]
    b0, inverse_B0 = own[at_b0:at_B0].reshape(k, n_features), own[at_B0:at_rate].reshape(k, n_features, n_features)
    at_held = int(own[_OF_HELD]) if own[_OF_HELD] > 0.0 else len(own)
    held = own[at_held : at_held + k + 1]
    at_C0 = k - 1 + k * n_features
    at_spread = at_C0 + spread.size if own[7] != 0.0 else at_C0
    at_noise, noise = at_spread + spread.n_blocks * spread.size, int(own[17])
    at_nu, n_nu = at_noise + noise, int(own[18])
    is_far = is_beyond(point[:at_C0], FARTHEST) or is_beyond(point[at_noise:at_nu], FARTHEST)
    is_far = is_far or is_beyond(point[at_nu:], LARGEST)
    if is_far or is_out_of_range(spread, point[at_C0:at_noise]):
        gradient[:] = np.nan
        return np.nan

    log_w, offsets, h = np.empty(k), np.empty(k + noise), whiteners(spread)
    log_weights(point, log_w, held)
    mu = point[k - 1 : at_C0].reshape(k, n_features)
    coordinates = point[at_spread:at_noise].reshape(spread.n_blocks, spread.size)
    prepare(spread, coordinates, log_w, offsets, h)
    if noise:
        share_out(point[at_noise], k, offsets)
    nu, tails = np.empty(n_nu), np.empty((2, n_nu))
    for j in range(n_nu):
        nu[j] = student.nu_at(point[at_nu + j])
        offsets[j] += student.log_constant(nu[j], n_features)

    addresses = own.view(np.int64)
    rows = addresses[_OF_X], addresses[_OF_X + 1], addresses[_OF_X + 2], addresses[_OF_X + 3]
    sums = np.empty(k + noise), np.empty((k, n_features)), np.empty(h.shape)
    value = fill_sums(addresses[_OF_SUMS], int(own[2]), int(own[16]), rows, *unit, offsets, mu, h, nu, *sums, tails)

    gradient[at_C0:] = 0.0
    of_noise = 0.0
    if noise:
        of_noise = sums[0][k]
        gradient[at_noise] = noise_slope(point[at_noise], of_noise, total)
        value += log_prior_of_noise(point[at_noise])
    for j in range(n_nu):
        gradient[at_nu + j] = student.slope(nu[j], n_features, sums[0][j], tails[0, j], tails[1, j])
        value += student.log_prior(point[at_nu + j])
    weight_slopes(log_w, sums[0], alpha, total - of_noise, held, gradient)
    mu_slopes = gradient[k - 1 : at_C0].reshape(k, n_features)
    slopes = gradient[at_spread:at_noise].reshape(spread.n_blocks, spread.size)
    prior = c0, own[8], own[at_rate:at_held]
    value += own[9] + log_prior_of_weights(log_w, alpha)
    value += assemble(
        spread, coordinates, point[at_C0:at_spread], prior, h, sums, slopes, gradient[at_C0:at_spread], mu_slopes
    )
    return value + add_means(mu, b0, inverse_B0, mu_slopes)


@compiled(fastmath=SUMS)
def _from_whitened(noise, whitener, point):
    """Fill point = centre + factor noise. An empty whitener is the identity."""
    dim = len(noise)
    if len(whitener) == 0:
        copy(noise, point)
        return
    at = dim
    for i in range(dim):
        total = whitener[i]
        for j in range(i + 1):
            total += whitener[at + j] * noise[j]
        point[i] = total
        at += i + 1


@compiled(fastmath=STRICT)
def _to_whitened(slopes, whitener, gradient):
    """Fill gradient = factor' slopes: the chain rule for point = centre + factor noise."""
    dim = len(slopes)
    if len(whitener) == 0:
        copy(slopes, gradient)
        return
    gradient[:] = 0.0
    at = dim
    for i in range(dim):
        for j in range(i + 1):
            gradient[j] += whitener[at + j] * slopes[i]
        at += i + 1


def _keep(dim, n_expanded, noise, out, data):
    _from_whitened(carray(noise, (dim,)), _split(data)[1], carray(out, (n_expanded,)))
    return 0
