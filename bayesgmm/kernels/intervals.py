"""Values of which only an interval is known: bins, rounding, censoring; independent features, diagonal covariances.

With the E-step's coefficients of component k (:mod:`.multivariate`) and the ends l, u of an interval in standard deviations
from mu, a = (l - mu) / sigma and b = (u - mu) / sigma, an interval's factor is

    P = Phi(b) - Phi(a),    E[t | a < t < b] = (phi(a) - phi(b)) / P,    E[t^2 | a < t < b] = 1 + (a phi(a) - b phi(b)) / P,

for t = (x - mu) / sigma. Ends that are equal are a value known as it is, with its density. Both tails are looked at as upper
ones; there all is divided by phi(a), which leaves Mills' ratios. Over a short interval phi is integrated by quadrature.

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
_ASYMPTOTIC = 36.0  # standard deviations, from which on five terms of Mills' ratio have all digits
_SHORT = 1.0  # the change of log phi, and the standard deviations, up to which the quadrature has all digits
_LAST = 9.0  # standard deviations, or what tails fall by in as many, beyond which there is nothing to sum
_PANELS = 128
_TAIL = 0.5  # standard deviations from which on exponential proposals are accepted more often than normal ones
_NODES = tuple(np.polynomial.legendre.leggauss(8)[0])
_NODE_WEIGHTS = tuple(np.polynomial.legendre.leggauss(8)[1])


class Intervals(NamedTuple):
    """Observations (n, D) of which intervals are known, in the order of their ends: the same are computed once.

    Attributes
    ----------
    ends : (2, n, D) array
        Lower and upper; the same where a value is known as it is, infinite where nothing bounds it.
    order : (n,) array of int
        Which observation stands where.
    """

    ends: FloatArray
    order: NDArray[np.int64]

    @property
    def address(self) -> int:
        """Where they begin."""
        return int(self.ends.ctypes.data)


def intervals_of(lower: FloatArray, upper: FloatArray) -> Intervals:
    """Of ends (n, D)."""
    order = np.lexsort((*upper.T, *lower.T))
    return Intervals(given(np.stack([lower[order], upper[order]])), order)


@compiled(fastmath=STRICT)
def are_alike(ends, i, j):
    """Whether of two rows the same is known."""
    for d in range(ends.shape[2]):  # noqa: SIM110
        if ends[0, i, d] != ends[0, j, d] or ends[1, i, d] != ends[1, j, d]:
            return False
    return True


@compiled(fastmath=STRICT)
def mills(a):
    """Q(a) / phi(a) of a >= 0, with Q the upper tail's probability."""
    if a < _ASYMPTOTIC:
        return _ROOT_HALF_PI * math.exp(0.5 * a * a) * math.erfc(ROOT_HALF * a)
    v = 1.0 / a / a
    return (1.0 - v * (1.0 - v * (3.0 - v * (15.0 - v * (105.0 - 945.0 * v))))) / a


@compiled(fastmath=STRICT)
def moments(a, b, width):
    """Log P(a < t < b), E[t] and E[t^2] of a standard normal t in there; the width is given for its digits."""
    mirrored = a + b < 0.0
    lower, upper = (-b, -a) if mirrored else (a, b)
    if lower == -np.inf:
        return 0.0, 0.0, 1.0
    if lower > FAR:
        lower, upper, width = FAR, np.inf, np.inf
    middle = lower + 0.5 * width
    if width <= _SHORT and middle * width <= _SHORT:
        log_p, first, second = _of_short(middle, width)
    elif lower > 0.0:
        decay = math.exp(-width * middle)  # phi(upper) / phi(lower)
        of_upper = mills(upper) if decay > 0.0 else 0.0
        scaled = mills(lower) - decay * of_upper
        log_p = math.log(scaled) - 0.5 * lower * lower - HALF_LOG_2PI
        first = (1.0 - decay) / scaled
        second = 1.0 + (lower - (upper * decay if decay > 0.0 else 0.0)) / scaled
    else:
        at_lower, at_upper = math.exp(-0.5 * lower * lower) / _ROOT_2PI, math.exp(-0.5 * upper * upper) / _ROOT_2PI
        outside = 0.5 * (math.erfc(-ROOT_HALF * lower) + math.erfc(ROOT_HALF * upper))
        log_p, p = math.log1p(-outside), 1.0 - outside
        first = (at_lower - at_upper) / p
        second = 1.0 + (lower * at_lower - (upper * at_upper if at_upper > 0.0 else 0.0)) / p
    return log_p, -first if mirrored else first, second


@compiled(fastmath=STRICT)
def _of_short(middle, width):
    half, p, first, second = 0.5 * width, 0.0, 0.0, 0.0
    for i in range(len(_NODES)):
        from_middle = half * _NODES[i]
        density = _NODE_WEIGHTS[i] * math.exp(-from_middle * (middle + 0.5 * from_middle))
        p += density
        first += density * from_middle
        second += density * from_middle * from_middle
    first, second = first / p, second / p
    log_p = math.log(half * p) - 0.5 * middle * middle - HALF_LOG_2PI
    return log_p, middle + first, middle * middle + 2.0 * middle * first + second


@compiled(fastmath=STRICT)
def draw_between(rng, a, b):
    """A standard normal t with a < t < b, by rejection."""
    if not a < b:  # of a component that has collapsed, or ends that a float cannot tell apart
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
    """Sums of t and t^2 over many independent standard normals t with a < t < b.

    They are drawn from the normal distribution that they tend to, with their means and covariance: of s = t - a.
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
    """What log densities (K, D) are less, log sigma + log(2 pi) / 2, if a probability stands in place of a density."""
    for j in range(len(h)):
        for d in range(h.shape[1]):
            log_scale[j, d] = HALF_LOG_2PI + math.log(ROOT_HALF / h[j, d])


@compiled(fastmath=STRICT)
def fill_row(lower, upper, shift, inverse_scale, c, mu, h, log_scale, joint, first, second):
    """Log joint densities of one row, and mean and mean square (K, D) of the distance of what is behind from mu.

    ``h`` is (K, D), and ``log_scale`` of :func:`fill_scales`.
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
                first[j, d], second[j, d] = low, low * low
            else:
                high = (upper[d] - shift[d]) * inverse_scale[d] - centre
                width = (upper[d] - lower[d]) * inverse_scale[d] / sd
                log_p, mean, square = moments(low / sd, high / sd, width)
                joint[j] += log_p + log_scale[j, d]
                first[j, d], second[j, d] = sd * mean, sd * sd * square


@compiled(fastmath=STRICT)
def _log_total(joint, log_labels, i):
    """The log density of the i-th row; its joint ones become responsibilities."""
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
    """Fill N (K), S1 and S2, both (K, D), of the rows behind; return the log-likelihood: see :mod:`.multivariate`."""
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

    Labels are in the order of the ends, results in that of the rows.
    """
    n_sets, k, n_features = len(c), c.shape[1], mu.shape[2]
    joint, mean, square, log_scale = np.empty(k), np.empty(mu[0].shape), np.empty(mu[0].shape), np.empty(mu[0].shape)
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
                fill_row(ends[0, i], ends[1, i], shift, inverse_scale, c[s], mu[s], h[s], log_scale, joint, mean, square)
                log_total = _log_total(joint, log_labels, i)
            out[s, order[i]] = log_total
            if len(shares) > 0:
                copy(joint, shares[s, order[i]])
