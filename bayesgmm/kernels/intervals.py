"""E-step for values known only to lie in intervals (bins, rounding, censoring); diagonal covariances.

Let t = (x - mu) / sigma, and a < t < b the interval in standard deviations. Its probability and moments are

    P = Phi(b) - Phi(a),    E[t | a < t < b] = (phi(a) - phi(b)) / P,    E[t^2 | a < t < b] = 1 + (a phi(a) - b phi(b)) / P.

Equal ends mean an exact value, which contributes its density. Lower tails are mirrored into upper tails. In a tail
everything is divided by phi(a), which leaves Mills' ratios. Over a short interval of width w about m, the Taylor series of
phi is integrated. It consists of the Hermite polynomials He_n,

    P = w phi(m) sum_k w^2k He_2k(m) / (4^k (2k + 1)!),

and derivatives with respect to m give the moments.

References
----------
McLachlan & Jones (1988), Fitting mixture models to grouped and truncated data via the EM algorithm, Biometrics 44, 571-578.
doi:10.2307/2531869

Robert (1995), Simulation of truncated normal variables, Statistics and Computing 5, 121-125. doi:10.1007/BF00143942
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.blocks import FAR, HALF_LOG_2PI, ROOT_HALF, begin_sums, has_nan
from bayesgmm.kernels.compiled import STRICT, compiled, given
from bayesgmm.kernels.pointers import copy

_ROOT_HALF_PI = math.sqrt(0.5 * math.pi)
_ROOT_2PI = math.sqrt(2.0 * math.pi)
_ASYMPTOTIC = 36.0  # standard deviations from which the asymptotic series of Mills' ratio is exact to rounding
_SHORT = 1.0  # the series serves up to this width, and up to this change of log phi over the interval
_LAST = 9.0  # integration stops 9 standard deviations from 0, or, in a tail, where the density has fallen as much
_PANELS = 128  # of Simpson's rule
_TAIL = 0.5  # standard deviations from which exponential proposals are accepted more often than normal ones


def _reach(k: int) -> float:
    """The largest width, and change of log phi, at which the k-th term of the series is below the rounding error of P.

    w^n He_n(m) / n! is the sum over j of (m w)^(n - 2j) / (n - 2j)! (-w^2 / 2)^j / j!. With m w and w at most r, it is at
    most r^n times a number.
    """
    each = ((2 * k - 2 * j, j) for j in range(k + 1))
    largest = sum(0.5**i / math.factorial(i) * 0.125**j / math.factorial(j) for i, j in each)
    return float((2.0**-54 * (2 * k + 1) / largest) ** (0.5 / k))


_REACHES = (0.0, *map(_reach, range(1, 16)))  # the last ones exceed _SHORT


class Intervals(NamedTuple):
    """Intervals of observations (n, D), sorted by their ends, so that equal intervals are adjacent and computed once.

    Attributes
    ----------
    ends : (2, n, D) array
        Lower and upper ends; equal for an exact value, infinite where there is no bound.
    order : (n,) array of int
        Index of the observation at each position.
    """

    ends: FloatArray
    order: NDArray[np.int64]

    @property
    def address(self) -> int:
        """Address of the ends."""
        return int(self.ends.ctypes.data)


def intervals_of(lower: FloatArray, upper: FloatArray) -> Intervals:
    """Sort intervals with these ends (n, D)."""
    order = np.lexsort((*upper.T, *lower.T))
    return Intervals(given(np.stack([lower[order], upper[order]])), order)


@compiled(fastmath=STRICT)
def are_alike(ends, i, j):
    """Whether two rows have the same intervals."""
    for d in range(ends.shape[2]):  # noqa: SIM110
        if ends[0, i, d] != ends[0, j, d] or ends[1, i, d] != ends[1, j, d]:
            return False
    return True


@compiled(fastmath=STRICT)
def mills(a):
    """Mills' ratio Q(a) / phi(a) for a >= 0, with Q the upper tail probability."""
    if a < _ASYMPTOTIC:
        return _ROOT_HALF_PI * math.exp(0.5 * a * a) * math.erfc(ROOT_HALF * a)
    v = 1.0 / a / a
    return (1.0 - v * (1.0 - v * (3.0 - v * (15.0 - v * (105.0 - 945.0 * v))))) / a


@compiled(fastmath=STRICT)
def log_probability(a, b, width):
    """Log P(a < t < b) for t standard normal; ``width`` is b - a to full precision."""
    lower, upper, width = _as_upper(a, b, width)
    if lower == -np.inf:
        return 0.0
    middle = lower + 0.5 * width
    if width <= _SHORT and middle * width <= _SHORT:
        return math.log(width * _of_short(middle, width)[0]) - 0.5 * middle * middle - HALF_LOG_2PI
    if lower > 0.0:
        return math.log(_of_tail(lower, upper, width * middle)[0]) - 0.5 * lower * lower - HALF_LOG_2PI
    return math.log1p(-_outside(lower, upper))


@compiled(fastmath=STRICT)
def moments(a, b, width):
    """Log P(a < t < b), and E[t], E[t^2] given a < t < b, for t standard normal; see :func:`log_probability`."""
    lower, upper, width = _as_upper(a, b, width)
    if lower == -np.inf:
        return 0.0, 0.0, 1.0
    middle = lower + 0.5 * width
    if width <= _SHORT and middle * width <= _SHORT:
        p, first, second = _of_short(middle, width)
        log_p = math.log(width * p) - 0.5 * middle * middle - HALF_LOG_2PI
        first, second = first / p, second / p  # about the middle
        first, second = middle + first, middle * middle + 2.0 * middle * first + second
    elif lower > 0.0:
        scaled, decay = _of_tail(lower, upper, width * middle)
        log_p = math.log(scaled) - 0.5 * lower * lower - HALF_LOG_2PI
        first = (1.0 - decay) / scaled
        second = 1.0 + (lower - (upper * decay if decay > 0.0 else 0.0)) / scaled
    else:
        at_lower, at_upper = math.exp(-0.5 * lower * lower) / _ROOT_2PI, math.exp(-0.5 * upper * upper) / _ROOT_2PI
        outside = _outside(lower, upper)
        log_p, p = math.log1p(-outside), 1.0 - outside
        first = (at_lower - at_upper) / p
        second = 1.0 + (lower * at_lower - (upper * at_upper if at_upper > 0.0 else 0.0)) / p
    return log_p, -first if a + b < 0.0 else first, second


@compiled(fastmath=STRICT)
def _as_upper(a, b, width):
    """The ends and the width, mirrored if most of the interval is below zero; (FAR, inf, inf) if it lies beyond FAR."""
    lower, upper = (-b, -a) if a + b < 0.0 else (a, b)
    return (FAR, np.inf, np.inf) if lower > FAR else (lower, upper, width)


@compiled(fastmath=STRICT)
def _of_tail(lower, upper, change):
    """P / phi(lower), of an interval above zero, and phi(upper) / phi(lower), given the change of log phi."""
    decay = math.exp(-change)
    of_upper = mills(upper) if decay > 0.0 else 0.0
    return mills(lower) - decay * of_upper, decay


@compiled(fastmath=STRICT)
def _outside(lower, upper):
    """1 - P."""
    return 0.5 * (math.erfc(-ROOT_HALF * lower) + math.erfc(ROOT_HALF * upper))


@compiled(fastmath=STRICT)
def _of_short(middle, width):
    """The integrals of phi, of phi s and of phi s^2, divided by width phi(middle), with s the distance from the middle."""
    change, square, terms = middle * width, width * width, 1
    while max(change, width) > _REACHES[terms]:
        terms += 1
    even, odd, share = 1.0, change, 1.0  # width^n He_n(middle) for n = 2k, 2k + 1, and 1 / (4^k (2k + 1)!)
    p, first, second = 1.0, 0.0, 0.0
    for k in range(1, terms + 1):
        share /= 8.0 * k * (2.0 * k + 1.0)
        first -= share * 2.0 * k * odd
        second += share * 2.0 * k * (2.0 * k - 1.0) * even
        even = change * odd - (2.0 * k - 1.0) * square * even
        odd = change * even - 2.0 * k * square * odd
        p += share * even
    return p, width * first, square * second


@compiled(fastmath=STRICT)
def draw_between(rng, a, b):
    """Draw a standard normal t with a < t < b, by rejection."""
    if not a < b:  # a collapsed component, or ends equal to rounding
        return a
    mirrored = a + b < 0.0
    lower, upper = (-b, -a) if mirrored else (a, b)
    if lower > FAR:
        return -lower if mirrored else lower
    nearest = max(lower, 0.0)
    if 0.5 * (upper - nearest) * (upper + nearest) <= _SHORT:
        t = lower + (upper - lower) * rng.random()
        while 2.0 * rng.standard_exponential() < (t - nearest) * (t + nearest):
            t = lower + (upper - lower) * rng.random()
    elif lower > _TAIL:
        share = -math.expm1(-lower * (upper - lower))
        beyond = -math.log1p(-share * rng.random()) / lower
        while 2.0 * rng.standard_exponential() < beyond * beyond:
            beyond = -math.log1p(-share * rng.random()) / lower
        t = lower + beyond
    else:
        t = rng.standard_normal()
        while not lower < t < upper:
            t = rng.standard_normal()
    return -t if mirrored else t


@compiled(fastmath=STRICT)
def draw_sums(rng, a, b, many):
    """Draw the sums of t and t^2 over many independent standard normals t with a < t < b.

    The sums come from their normal limit. Its means and covariance are computed for t less its lower bound.
    """
    mirrored = a + b < 0.0
    lower, upper = (-b, -a) if mirrored else (a, b)
    if not a < b or lower > FAR:
        at = min(lower, FAR)
        return -many * at if mirrored else many * at, many * at * at
    begin = lower if lower > -_LAST else -_LAST
    end = min(upper, math.sqrt(max(lower, 0.0) ** 2 + _LAST * _LAST))
    step, total, first, second, third, fourth = (end - begin) / _PANELS, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(_PANELS + 1):
        s = i * step
        of_simpson = 1.0 if i == 0 or i == _PANELS else 2.0 + 2.0 * (i % 2)
        share = of_simpson * math.exp(-s * (begin + 0.5 * s) if begin > 0.0 else -0.5 * (begin + s) ** 2)
        total += share
        first += share * s
        second += share * s * s
        third += share * s**3
        fourth += share * s**4
    first, second, third, fourth = first / total, second / total, third / total, fourth / total
    variance = second - first * first
    slope = (third - first * second) / variance if variance > 0.0 else 0.0
    rest = max(fourth - second * second - slope * slope * variance, 0.0)
    off = math.sqrt(many * max(variance, 0.0)) * rng.standard_normal()
    sum_s = many * first + off
    sum_squares = many * second + slope * off + math.sqrt(many * rest) * rng.standard_normal()
    sum_t = many * begin + sum_s
    return -sum_t if mirrored else sum_t, begin * (2.0 * sum_s + many * begin) + sum_squares


@compiled(fastmath=STRICT)
def fill_scales(h, log_scale):
    """Fill log sigma + log(2 pi) / 2, (K, D), to add to c_k where a probability replaces a density."""
    for j in range(len(h)):
        for d in range(h.shape[1]):
            log_scale[j, d] = HALF_LOG_2PI + math.log(ROOT_HALF / h[j, d])


@compiled(fastmath=STRICT)
def fill_row(lower, upper, shift, inverse_scale, c, mu, h, log_scale, joint, first, second):
    """Fill log joint densities of one row, and mean and mean square (K, D) of the true row's deviation from mu.

    ``h`` is (K, D), and ``log_scale`` comes from :func:`fill_scales`. Moments are left out where their arrays are (0, D).
    """
    for j in range(len(c)):
        joint[j] = c[j]
    for j in range(len(h)):
        for d in range(len(lower)):
            centre, sd = mu[j, d], ROOT_HALF / h[j, d]
            low = (lower[d] - shift[d]) * inverse_scale[d] - centre
            if lower[d] == upper[d]:
                u = min(max(h[j, d] * low, -FAR), FAR)
                joint[j] -= u * u
                if len(first) > 0:
                    first[j, d], second[j, d] = low, low * low
                continue
            high = (upper[d] - shift[d]) * inverse_scale[d] - centre
            width = (upper[d] - lower[d]) * inverse_scale[d] / sd
            if len(first) > 0:
                log_p, mean, square = moments(low / sd, high / sd, width)
                first[j, d], second[j, d] = sd * mean, sd * sd * square
            else:
                log_p = log_probability(low / sd, high / sd, width)
            joint[j] += log_p + log_scale[j, d]


@compiled(fastmath=STRICT)
def _log_total(joint, log_labels, i):
    """Return the log density of row i; replace its log joint densities by responsibilities."""
    top, total, first = -np.inf, 0.0, len(joint) - len(log_labels)
    for j in range(len(joint)):
        if j >= first:
            joint[j] += log_labels[j - first, i]
        top = max(top, joint[j])
    for j in range(len(joint)):
        joint[j] = math.exp(joint[j] - top)
        total += joint[j]
    for j in range(len(joint)):
        joint[j] /= total
    return top + math.log(total)


@compiled(fastmath=STRICT)
def accumulate(ends, weight, log_labels, shift, inverse_scale, c, mu, h, counts, first, second):
    """Fill N (K), S1 and S2, both (K, D), of the true rows; return the log-likelihood: see :mod:`.multivariate`."""
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    k, n_features = mu.shape
    joint, mean, square, log_scale = np.empty(len(c)), np.empty(mu.shape), np.empty(mu.shape), np.empty(mu.shape)
    fill_scales(h, log_scale)
    log_likelihood, i, n = 0.0, 0, ends.shape[1]
    while i < n:
        fill_row(ends[0, i], ends[1, i], shift, inverse_scale, c, mu, h, log_scale, joint, mean, square)
        count = weight[i] if len(weight) > 0 else 1.0
        log_total = _log_total(joint, log_labels, i)
        i += 1
        while i < n and len(log_labels) == 0 and are_alike(ends, i - 1, i):
            count += weight[i] if len(weight) > 0 else 1.0
            i += 1
        log_likelihood += count * log_total
        for j in range(k, len(c)):
            counts[j] += count * joint[j]
        for j in range(k):
            r = count * joint[j]
            if r > 0.0:
                counts[j] += r
                for d in range(n_features):
                    first[j, d] += r * mean[j, d]
                    second[j, d] += r * square[j, d]
    return log_likelihood


@compiled(fastmath=STRICT)
def log_densities(ends, order, log_labels, c, mu, h, out, shares):
    """Log density of every row for every set of parameters: see :func:`bayesgmm.kernels.multivariate.log_densities`.

    Labels are in the order of the ends, results in the order of the rows.
    """
    n_sets, k, n_features = len(c), c.shape[1], mu.shape[2]
    joint, log_scale, no_moments = np.empty(k), np.empty(mu[0].shape), np.empty((0, n_features))
    shift, inverse_scale = np.zeros(n_features), np.ones(n_features)
    for s in range(n_sets):
        if has_nan(c[s], mu[s], h[s]):
            out[s] = np.nan
            shares[s : s + 1] = np.nan
            continue
        fill_scales(h[s], log_scale)
        log_total = 0.0
        for i in range(ends.shape[1]):
            if i == 0 or len(log_labels) > 0 or not are_alike(ends, i - 1, i):
                row = ends[0, i], ends[1, i]
                fill_row(*row, shift, inverse_scale, c[s], mu[s], h[s], log_scale, joint, no_moments, no_moments)
                log_total = _log_total(joint, log_labels, i)
            out[s, order[i]] = log_total
            if len(shares) > 0:
                copy(joint, shares[s, order[i]])
