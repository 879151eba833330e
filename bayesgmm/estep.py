"""The E-step kernel: one pass over the data gives the log-likelihood and its responsibility-weighted sums.

EM needs them for its M-step, and the gradient of the log-likelihood is made of the same numbers. The same blocks give
the pointwise log density and the responsibilities. Scratch is K x block, never n x K.

Inside, component k is (c_k, mu_k, h_k) with log w_k N(x; mu_k, sigma_k) = c_k - (h_k (x - mu_k))^2.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic

from bayesgmm.compiled import STRICT, SUMS, compiled
from bayesgmm.validation import FloatArray

BLOCK = 128  # observations handled together: K rows of them stay in the first-level cache
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
ROOT_HALF = math.sqrt(0.5)
_FAR = 1e150  # standard deviations; beyond it squares overflow
_NO_WEIGHT = np.empty(0)


class ESums(NamedTuple):
    """The four sums over observations, each weighted by ``c_i`` where observation weights are given.

    Attributes
    ----------
    log_likelihood : float
        sum_i c_i log p(x_i)
    counts : (K,) array
        N_k = sum_i c_i r_ik
    first : (K,) array
        S1_k = sum_i c_i r_ik (x_i - mu_k)
    second : (K,) array
        S2_k = sum_i c_i r_ik (x_i - mu_k)^2
    """

    log_likelihood: float
    counts: FloatArray
    first: FloatArray
    second: FloatArray


def e_step(
    x: FloatArray,
    weights: FloatArray,
    means: FloatArray,
    sigma: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    shift: float = 0.0,
    scale: float = 1.0,
) -> ESums:
    """Sums of the E-step for one feature, over z = (x - shift) / scale, which is the unit of means and sigma.

    Parameters
    ----------
    x : (n,) array
    weights, means, sigma : (K,) arrays
    sample_weight : (n,) array, optional
        Observation weights, not negative.
    shift, scale : float
        The data are standardised in passing, without a copy.

    Returns
    -------
    ESums

    Notes
    -----
    Tested property: within 1e-11 of extended-precision sums, relative to the sums of absolute values.
    """
    sums = np.empty((3, len(weights)))
    weight = _NO_WEIGHT if sample_weight is None else sample_weight
    log_likelihood = accumulate(_given(x), _given(weight), shift, 1 / scale, *_coefficients(weights, means, sigma), sums)
    return ESums(log_likelihood, *sums)


def log_density(x: FloatArray, weights: FloatArray, means: FloatArray, sigma: FloatArray) -> FloatArray:
    """Log sum_k w_k N(x_i; mu_k, sigma_k) for parameters (K,) or many sets of them (S, K): shape (n,) or (S, n)."""
    result = np.empty((*np.shape(means)[:-1], len(x)))
    coefficients = [np.atleast_2d(each) for each in _coefficients(weights, means, sigma)]
    _log_densities(_given(x), *coefficients, result.reshape(-1, len(x)))
    return result


def responsibilities(x: FloatArray, weights: FloatArray, means: FloatArray, sigma: FloatArray) -> FloatArray:
    """Probability of each component given each observation, (n, K)."""
    result = np.empty((len(x), len(weights)))
    _responsibilities(_given(x), *_coefficients(weights, means, sigma), result)
    return result


def _coefficients(weights: FloatArray, means: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    with np.errstate(divide="ignore"):
        offsets = np.log(weights) - np.log(sigma) - HALF_LOG_2PI
    return _given(offsets), _given(means), _given(ROOT_HALF / sigma)


def _given(array: FloatArray) -> FloatArray:
    """A contiguous, read-only view, so that whatever array a user has runs through the same compiled code."""
    view = np.ascontiguousarray(array, dtype=float).view()
    view.flags.writeable = False
    return view


@intrinsic
def _bits(_context: Any, _value: Any) -> Any:  # pragma: no cover - runs in the compiler
    """A float's bits as an integer."""
    from llvmlite import ir

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return numba.int64(numba.float64), generate


@intrinsic
def _from_bits(_context: Any, _value: Any) -> Any:  # pragma: no cover - runs in the compiler
    """The float with these bits."""
    from llvmlite import ir

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return numba.float64(numba.int64), generate


@compiled(fastmath=STRICT)
def _exp(v):  # type: ignore[no-untyped-def]
    """Exp of v <= 0 to the last bits, in operations that exist for vectors; zero below -708.

    v = n log 2 + r with |r| <= log(2) / 2: adding 1.5 * 2^52 rounds v / log 2 to an integer in the low bits of the sum,
    which are shifted into the exponent of exp(r) = 1 + r + r^2 q(r), q near-minimax of degree 9 (error 1.6e-17).
    """
    clipped = max(v, -708.0)
    shifted = clipped * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = clipped - n * 6.93147180369123816490e-01
    r = r - n * 1.90821492927058770002e-10
    q = 2.510038549551032e-08
    q = q * r + 2.7620088445409746e-07
    q = q * r + 2.7557268459997064e-06
    q = q * r + 2.4801521295954376e-05
    q = q * r + 1.9841269863053618e-04
    q = q * r + 1.3888888917213717e-03
    q = q * r + 8.333333333330062e-03
    q = q * r + 4.166666666662413e-02
    q = q * r + 1.6666666666666669e-01
    q = q * r + 5.000000000000001e-01
    power = _from_bits(_bits((q * r) * r + r + 1.0) + (_bits(shifted) << 52))  # type: ignore[call-arg, var-annotated]
    return power if v >= -708.0 else 0.0


@compiled(fastmath=STRICT)
def _has_nan(c, mu, h):  # type: ignore[no-untyped-def]
    """Whether a parameter is not a number, which comparisons would pass over."""
    return np.isnan(c).any() or np.isnan(mu).any() or np.isnan(h).any()


@compiled(fastmath=SUMS)
def _exponentiate(z, c, mu, h, joint, top, total):  # type: ignore[no-untyped-def]
    """For one block: joint_ki = exp(log_joint_ki - top_i), top_i = max_k log_joint_ki, total_i = sum_k joint_ki."""
    k, m = len(c), len(z)
    lowest = 0.0
    for i in range(m):
        top[i] = -np.inf
        total[i] = 0.0
    for j in range(k):
        offset, mean, precision = c[j], mu[j], h[j]
        row = joint[j]
        for i in range(m):
            u = precision * (z[i] - mean)
            value = offset - u * u
            row[i] = value
            top[i] = max(value, top[i])
    for i in range(m):
        lowest += top[i]
    if lowest == -np.inf:  # a point out of reach of every component: the farthest that a float can tell
        for j in range(k):
            for i in range(m):
                u = min(max(h[j] * (z[i] - mu[j]), -_FAR), _FAR)
                joint[j, i] = c[j] - u * u
                top[i] = max(joint[j, i], top[i])
    for j in range(k):
        row = joint[j]
        for i in range(m):
            power = _exp(row[i] - top[i])
            row[i] = power
            total[i] += power


@compiled(fastmath=SUMS)
def _add_pair(x, shift, inverse_scale, c, mu, h, sums):  # type: ignore[no-untyped-def]
    """One block for K = 2, with one exponential for each point and no scratch; NaN, and sums untouched, out of reach."""
    zeroth_0, first_0, second_0 = 0.0, 0.0, 0.0
    zeroth_1, first_1, second_1 = 0.0, 0.0, 0.0
    top, product = 0.0, 1.0
    for i in range(len(x)):
        z = (x[i] - shift) * inverse_scale
        deviation_0, deviation_1 = z - mu[0], z - mu[1]
        u_0, u_1 = h[0] * deviation_0, h[1] * deviation_1
        log_joint_0, log_joint_1 = c[0] - u_0 * u_0, c[1] - u_1 * u_1
        gap = log_joint_1 - log_joint_0
        ratio = _exp(-abs(gap))
        total = 1.0 + ratio
        larger = 1.0 / total
        smaller = ratio * larger
        r_0 = smaller if gap > 0.0 else larger
        r_1 = larger if gap > 0.0 else smaller
        top += max(log_joint_0, log_joint_1)
        product *= total
        zeroth_0 += r_0
        first_0 += r_0 * deviation_0
        second_0 += r_0 * deviation_0 * deviation_0
        zeroth_1 += r_1
        first_1 += r_1 * deviation_1
        second_1 += r_1 * deviation_1 * deviation_1
    if not np.isfinite(top):
        return np.nan
    sums[0, 0] += zeroth_0
    sums[1, 0] += first_0
    sums[2, 0] += second_0
    sums[0, 1] += zeroth_1
    sums[1, 1] += first_1
    sums[2, 1] += second_1
    return top + math.log(product)


@compiled(fastmath=SUMS)
def accumulate(x, weight, shift, inverse_scale, c, mu, h, sums):  # type: ignore[no-untyped-def]
    """Fill sums (3, K) with N, S1, S2 over z = (x - shift) * inverse_scale, and return the log-likelihood of z.

    The sum of log total_i over a block is the log of one product, which stays below K^block.
    """
    if _has_nan(c, mu, h):
        sums[:] = np.nan
        return np.nan
    k, n = len(c), len(x)
    width = min(BLOCK, int(1000 / math.log2(k + 1)))
    joint = np.empty((k, width))
    z, top, total = np.empty(width), np.empty(width), np.empty(width)
    sums[:] = 0.0
    log_likelihood = 0.0
    for begin in range(0, n, width):
        m = min(width, n - begin)
        block = x[begin : begin + m]  # a slice, because an index that may be negative is no vector
        if k == 2 and len(weight) == 0:
            part = _add_pair(block, shift, inverse_scale, c, mu, h, sums)
            if part == part:
                log_likelihood += part
                continue
        for i in range(m):
            z[i] = (block[i] - shift) * inverse_scale
        _exponentiate(z[:m], c, mu, h, joint, top, total)
        if len(weight) == 0:
            product, largest = 1.0, 0.0
            for i in range(m):
                largest += top[i]
                product *= total[i]
                total[i] = 1.0 / total[i]
            log_likelihood += largest + math.log(product)
        else:
            counted = weight[begin : begin + m]
            for i in range(m):
                log_likelihood += counted[i] * (top[i] + math.log(total[i]))
                total[i] = counted[i] / total[i]
        for j in range(k):
            zeroth, first, second = 0.0, 0.0, 0.0
            mean, row = mu[j], joint[j]
            for i in range(m):
                deviation = z[i] - mean
                r = row[i] * total[i]
                zeroth += r
                first += r * deviation
                second += r * deviation * deviation
            sums[0, j] += zeroth
            sums[1, j] += first
            sums[2, j] += second
    return log_likelihood


@compiled(fastmath=SUMS)
def _log_densities(x, c, mu, h, out):  # type: ignore[no-untyped-def]
    """Log density of every x for every row of parameters (S, K), into out (S, n)."""
    k, n = c.shape[1], len(x)
    joint = np.empty((k, BLOCK))
    top, total = np.empty(BLOCK), np.empty(BLOCK)
    for s in range(len(c)):
        if _has_nan(c[s], mu[s], h[s]):
            out[s] = np.nan
            continue
        for begin in range(0, n, BLOCK):
            m = min(BLOCK, n - begin)
            _exponentiate(x[begin : begin + m], c[s], mu[s], h[s], joint, top, total)
            for i in range(m):
                out[s, begin + i] = top[i] + math.log(total[i])


@compiled(fastmath=SUMS)
def _responsibilities(x, c, mu, h, out):  # type: ignore[no-untyped-def]
    """Responsibilities, into out (n, K)."""
    if _has_nan(c, mu, h):
        out[:] = np.nan
        return
    k, n = len(c), len(x)
    joint = np.empty((k, BLOCK))
    top, total = np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        _exponentiate(x[begin : begin + m], c, mu, h, joint, top, total)
        for i in range(m):
            for j in range(k):
                out[begin + i, j] = joint[j, i] / total[i]
