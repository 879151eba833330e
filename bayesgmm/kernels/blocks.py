"""Steps that all E-step kernels share: from a block of log joint densities to responsibilities."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import carray
from numba.extending import intrinsic

from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.pointers import at

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
ROOT_HALF = math.sqrt(0.5)
FAR = 1e150  # standard deviations; beyond it squares overflow
_LARGEST = float(np.finfo(float).max)


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
def exp(v):
    """Exp(v) for v <= 0, accurate to the last bits and vectorisable; zero below -708.

    v = n log 2 + r with |r| <= log(2) / 2. Adding 1.5 * 2^52 rounds v / log 2 to the integer n in the low bits of the sum.
    These bits are shifted into the exponent of exp(r) = 1 + r + r^2 q(r), q near-minimax of degree 9 (error 1.6e-17).
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
    power = _from_bits(_bits((q * r) * r + r + 1.0) + (_bits(shifted) << 52))
    return power if v >= -708.0 else 0.0


@compiled(fastmath=STRICT)
def log1p(v):
    """Log(1 + v) for v >= 0, accurate to the last bits and vectorisable.

    1 + v = 2^n m with m between the square roots of 1/2 and 2. log m = 2 artanh(f), f = (m - 1) / (m + 1), is a series in
    f^2. The exponent's bits, put into the low bits of 2^52, give n as a float. The rounding error of 1 + v is added.
    """
    y = 1.0 + v
    bits = _bits(y)
    n = _from_bits((bits >> 52) | 0x4330000000000000) - (4503599627370496.0 + 1023.0)
    m = _from_bits((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    is_large = m > 1.4142135623730951
    m = 0.5 * m if is_large else m
    n = n + 1.0 if is_large else n
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    q = 1.0 / 21
    q = q * s + 1.0 / 19
    q = q * s + 1.0 / 17
    q = q * s + 1.0 / 15
    q = q * s + 1.0 / 13
    q = q * s + 1.0 / 11
    q = q * s + 1.0 / 9
    q = q * s + 1.0 / 7
    q = q * s + 1.0 / 5
    q = q * s + 1.0 / 3
    log_m = 2.0 * f + (2.0 * f) * s * q
    rounded = (v - (y - 1.0)) / y
    return n * 6.93147180369123816490e-01 + (log_m + (n * 1.90821492927058770002e-10 + rounded))


@compiled(fastmath=STRICT, inline=True)
def is_finite(value):
    """Whether a number is finite. numba's test, value - value, is optimised to zero if sums may be reordered."""
    return abs(value) <= _LARGEST


@compiled(fastmath=SUMS)
def exponentiate(joint, top, total, m):
    """Turn rows log_joint_k into joint_ki = exp(log_joint_ki - top_i), with total_i = sum_k joint_ki."""
    for i in range(m):
        total[i] = 0.0
    for j in range(len(joint)):
        row = joint[j]
        for i in range(m):
            power = exp(row[i] - top[i])
            row[i] = power
            total[i] += power


@compiled(fastmath=SUMS, inline=True)
def add_log_totals(top, total, weight, m):
    """Return the log-likelihood of a block; replace total_i by the factor that turns joint_ki into c_i r_ik.

    Without observation weights, sum_i log total_i is the log of one product (:func:`block_width`).
    """
    log_likelihood = 0.0
    if len(weight) == 0:
        product = 1.0
        for i in range(m):
            log_likelihood += top[i]
            product *= total[i]
            total[i] = 1.0 / total[i]
        return log_likelihood + math.log(product)
    for i in range(m):
        log_likelihood += weight[i] * (top[i] + math.log(total[i]))
        total[i] = weight[i] / total[i]
    return log_likelihood


@compiled(fastmath=SUMS, inline=True)
def fill_shares(joint, total, m, shares):
    """Fill the responsibilities (m, K) of a block after :func:`exponentiate`."""
    for i in range(m):
        total[i] = 1.0 / total[i]
    for i in range(m):
        for j in range(len(joint)):
            shares[i, j] = joint[j, i] * total[i]


@compiled(fastmath=SUMS)
def add_labels(log_labels, joint, top, m):
    """Add log label probabilities to a block's log joint densities (K, m), and recompute top_i.

    If there are fewer rows of labels than components, they belong to the last components.
    """
    first = len(joint) - len(log_labels)
    for i in range(m):
        top[i] = -np.inf
    for j in range(len(joint)):
        row = joint[j]
        if j >= first:
            known = log_labels[j - first]
            for i in range(m):
                row[i] += known[i]
        for i in range(m):
            top[i] = max(row[i], top[i])


@compiled(fastmath=SUMS)
def fill_noise(c, k, joint, m):
    """Fill noise's row, after the K components, with its log weight; its log densities are added with the labels."""
    for j in range(k, len(c)):
        row, offset = joint[j], c[j]
        for i in range(m):
            row[i] = offset


@compiled(fastmath=SUMS)
def add_noise(joint, total, k, m, counts):
    """Add the responsibilities of noise to its count; its row follows the K components."""
    for j in range(k, len(joint)):
        row, zeroth = joint[j], 0.0
        for i in range(m):
            zeroth += row[i] * total[i]
        counts[j] += zeroth


@compiled(fastmath=STRICT)
def no_unit(n_features):
    """Shift and inverse scale that change nothing, for observations that are already standardised."""
    unit = np.empty((2, n_features))
    unit[0], unit[1] = 0.0, 1.0
    return unit[0], unit[1]


@compiled(fastmath=STRICT, inline=True)
def block_width(k):
    """A block width for which the product of all total_i, each at most K, cannot overflow."""
    return int(1000 / math.log2(k + 1))


@compiled(fastmath=STRICT)
def begin_sums(c, mu, h, counts, first, second):
    """Set all sums to zero, or to NaN if a parameter is NaN; return whether no parameter is."""
    value = np.nan if has_nan(c, mu, h) else 0.0
    counts[:] = value
    first[:] = value
    second[:] = value
    return value == value


@compiled(fastmath=STRICT)
def has_nan(c, mu, h):
    """Whether a parameter is NaN, which the comparisons in the kernels would not notice."""
    return _any_nan(c) or _any_nan(mu) or _any_nan(h)


@compiled(fastmath=STRICT, inline=True)
def _any_nan(array):
    values = carray(at(array), (array.size,))
    for i in range(len(values)):  # noqa: SIM110
        if values[i] != values[i]:
            return True
    return False
