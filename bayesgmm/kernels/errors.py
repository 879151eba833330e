"""E-step for one feature measured with errors: x_i ~ N(xi_i, e_i^2), and the true values xi_i follow the mixture.

With the E-step's coefficients of component k (:mod:`.univariate`) and q = sigma^2 / (sigma^2 + e^2) = 1 / (1 + 2 h^2 e^2),

    log w_k p(x | k) = c + log(q) / 2 - q h^2 (x - mu)^2.

Given x and k, xi - mu has mean q (x - mu) and variance q e^2. The square root of q multiplies the exponentials of a block,
which saves a logarithm for each component.

References
----------
Bovy, Hogg & Roweis (2011), Extreme deconvolution: inferring complete distribution functions from noisy, heterogeneous and
incomplete observations, Annals of Applied Statistics 5, 1657-1677. doi:10.1214/10-AOAS439
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.blocks import FAR, add_labels, add_noise, begin_sums, exp, fill_noise, fill_shares, has_nan, is_finite
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled

_BLOCK = 64  # observations per block: 2 K rows of them stay in the L1 cache
_TOGETHER = 8  # totals in one product, which cannot underflow if all are at least _SMALL
_SMALL = 1e-30
_LEAST = 1e-270  # a block's product of totals, each at most 2, has lost digits to underflow only if it is below this


class Errors(NamedTuple):
    """Variances (n,) of the measurement errors."""

    variances: FloatArray

    @property
    def address(self) -> int:
        """Address of the variances."""
        return int(self.variances.ctypes.data)


@compiled(fastmath=SUMS, inline=True)
def _joint(z, variance, log_labels, c, mu, h, kept, joint, top, total):
    """Fill one block: joint_ki = exp(log_joint_ki - top_i), total_i = sum_k joint_ki, and kept_ki = q.

    top_i = max_k (log_joint_ki - log(q_ki) / 2).
    """
    k, m = len(mu), len(z)
    lowest = 0.0
    for i in range(m):
        top[i] = -np.inf
    for j in range(k):
        offset, mean, squared = c[j], mu[j], h[j] * h[j]
        row, share = joint[j], kept[j]
        for i in range(m):
            q = 1.0 / (1.0 + 2.0 * squared * variance[i])
            deviation = z[i] - mean
            value = offset - (q * squared) * (deviation * deviation)
            share[i] = q
            row[i] = value
            top[i] = max(value, top[i])
    if len(log_labels) > 0:
        _fill_noise(c, k, kept, joint, m)
        add_labels(log_labels, joint, top, m)
    for i in range(m):
        lowest += top[i]
    if not is_finite(lowest):  # squares overflow for a very distant point: clip its distances
        for j in range(k):
            for i in range(m):
                kept[j, i] = 1.0 / (1.0 + 2.0 * h[j] * h[j] * variance[i])
                u = min(max(math.sqrt(kept[j, i]) * h[j] * (z[i] - mu[j]), -FAR), FAR)
                joint[j, i] = c[j] - u * u
                top[i] = max(joint[j, i], top[i])
        if len(log_labels) > 0:
            _fill_noise(c, k, kept, joint, m)
            add_labels(log_labels, joint, top, m)
    for i in range(m):
        total[i] = 0.0
    for j in range(len(joint)):
        row, share = joint[j], kept[j]
        for i in range(m):
            power = exp(row[i] - top[i]) * math.sqrt(share[i])
            row[i] = power
            total[i] += power


@compiled(fastmath=SUMS)
def _fill_noise(c, k, kept, joint, m):
    """As :func:`bayesgmm.kernels.blocks.fill_noise`, with q = 1: noise describes the measured values."""
    fill_noise(c, k, joint, m)
    for j in range(k, len(c)):
        row = kept[j]
        for i in range(m):
            row[i] = 1.0


@compiled(fastmath=SUMS, inline=True)
def _add_log_totals(top, total, weight, m):
    """Return the log-likelihood of a block; replace total_i by the factor that turns joint_ki into c_i r_ik."""
    log_likelihood, least = 0.0, np.inf
    for i in range(m):
        least = min(least, total[i])
    if len(weight) > 0 or least < _SMALL:
        for i in range(m):
            many = weight[i] if len(weight) > 0 else 1.0
            log_likelihood += many * (top[i] + math.log(total[i]))
            total[i] = many / total[i]
        return log_likelihood
    for begin in range(0, m, _TOGETHER):
        product = 1.0
        for i in range(begin, min(begin + _TOGETHER, m)):
            log_likelihood += top[i]
            product *= total[i]
            total[i] = 1.0 / total[i]
        log_likelihood += math.log(product)
    return log_likelihood


@compiled(fastmath=SUMS)
def _add_single(x, variances, shift, inverse_scale, c, mu, h, counts, first, second):
    """Add a block for K = 1, without exponentials; NaN as in :func:`_add_pair`."""
    first_0, second_0, squares, product = 0.0, 0.0, 0.0, 1.0
    twice, unit, mean = 2.0 * h[0] * h[0], inverse_scale * inverse_scale, mu[0]
    for i in range(len(x)):
        deviation, variance = (x[i] - shift) * inverse_scale - mean, variances[i] * unit
        q = 1.0 / (1.0 + twice * variance)
        behind = q * deviation
        product *= q
        squares += behind * deviation
        first_0 += behind
        second_0 += behind * behind + q * variance
    if not is_finite(squares) or product < _LEAST:
        return np.nan
    counts[0] += len(x)
    first[0] += first_0
    second[0] += second_0
    return len(x) * c[0] - 0.5 * twice * squares + 0.5 * math.log(product)


@compiled(fastmath=SUMS)
def _add_pair(x, variances, shift, inverse_scale, c, mu, h, counts, first, second):
    """Add a block for K = 2, with one exponential per observation: see :func:`bayesgmm.kernels.univariate._add_pair`.

    If a square overflows or the product of totals may underflow, return NaN and leave the sums unchanged.
    """
    zeroth_0, first_0, second_0 = 0.0, 0.0, 0.0
    zeroth_1, first_1, second_1 = 0.0, 0.0, 0.0
    top, product = 0.0, 1.0
    twice_0, twice_1, unit = 2.0 * h[0] * h[0], 2.0 * h[1] * h[1], inverse_scale * inverse_scale
    for i in range(len(x)):
        z, variance = (x[i] - shift) * inverse_scale, variances[i] * unit
        q_0, q_1 = 1.0 / (1.0 + twice_0 * variance), 1.0 / (1.0 + twice_1 * variance)
        deviation_0, deviation_1 = z - mu[0], z - mu[1]
        log_joint_0 = c[0] - 0.5 * twice_0 * q_0 * (deviation_0 * deviation_0)
        log_joint_1 = c[1] - 0.5 * twice_1 * q_1 * (deviation_1 * deviation_1)
        gap = log_joint_1 - log_joint_0
        ratio = exp(-abs(gap))
        joint_0 = math.sqrt(q_0) * (ratio if gap > 0.0 else 1.0)
        joint_1 = math.sqrt(q_1) * (1.0 if gap > 0.0 else ratio)
        total = joint_0 + joint_1
        r_0, r_1 = joint_0 / total, joint_1 / total
        top += max(log_joint_0, log_joint_1)
        product *= total
        behind_0, behind_1 = q_0 * deviation_0, q_1 * deviation_1
        zeroth_0 += r_0
        first_0 += r_0 * behind_0
        second_0 += r_0 * (behind_0 * behind_0 + q_0 * variance)
        zeroth_1 += r_1
        first_1 += r_1 * behind_1
        second_1 += r_1 * (behind_1 * behind_1 + q_1 * variance)
    if not is_finite(top) or product < _LEAST:
        return np.nan
    counts[0] += zeroth_0
    first[0] += first_0
    second[0] += second_0
    counts[1] += zeroth_1
    first[1] += first_1
    second[1] += second_1
    return top + math.log(product)


@compiled(fastmath=SUMS, inline=True)
def accumulate(x, variances, weight, log_labels, shift, inverse_scale, c, mu, h, counts, first, second):
    """Fill N, S1 and S2, each (K), of the true values; return the log-likelihood: see :mod:`.univariate`."""
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    k, n = len(mu), len(x)
    joint, kept = np.empty((len(c), _BLOCK)), np.empty((len(c), _BLOCK))
    z, variance, top, total = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    log_likelihood = 0.0
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        block, errors = x[begin : begin + m], variances[begin : begin + m]
        if k <= 2 and len(weight) == 0 and len(log_labels) == 0:
            if k == 1:
                part = _add_single(block, errors, shift, inverse_scale, c, mu, h, counts, first, second)
            else:
                part = _add_pair(block, errors, shift, inverse_scale, c, mu, h, counts, first, second)
            if part == part:
                log_likelihood += part
                continue
        for i in range(m):
            z[i] = (block[i] - shift) * inverse_scale
            variance[i] = errors[i] * (inverse_scale * inverse_scale)
        _joint(z[:m], variance[:m], log_labels[:, begin : begin + m], c, mu, h, kept, joint, top, total)
        log_likelihood += _add_log_totals(top, total, weight[begin : begin + m], m)
        for j in range(k):
            s0, s1, s2 = 0.0, 0.0, 0.0
            mean, row, share = mu[j], joint[j], kept[j]
            for i in range(m):
                q, r = share[i], row[i] * total[i]
                distance = q * (z[i] - mean)
                s0 += r
                s1 += r * distance
                s2 += r * (distance * distance + q * variance[i])
            counts[j] += s0
            first[j] += s1
            second[j] += s2
        add_noise(joint, total, k, m, counts)
    return log_likelihood


@compiled(fastmath=SUMS, inline=True)
def log_likelihood(x, variances, weight, log_labels, c, mu, h):
    """Log-likelihood without the sums of :func:`accumulate`; x is used as it is, without shift and scale."""
    if has_nan(c, mu, h):
        return np.nan
    k, n = len(c), len(x)
    joint, kept, top, total = np.empty((k, _BLOCK)), np.empty((k, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    result = 0.0
    for begin in range(0, n, _BLOCK):
        m = min(_BLOCK, n - begin)
        labels, variance = log_labels[:, begin : begin + m], variances[begin : begin + m]
        _joint(x[begin : begin + m], variance, labels, c, mu, h, kept, joint, top, total)
        result += _add_log_totals(top, total, weight[begin : begin + m], m)
    return result


@compiled(fastmath=SUMS)
def log_densities(x, variances, log_labels, c, mu, h, out, shares):
    """Log density of every x for every set of parameters: see :func:`bayesgmm.kernels.univariate.log_densities`."""
    k, n = c.shape[1], len(x)
    joint, kept, top, total = np.empty((k, _BLOCK)), np.empty((k, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    for s in range(len(c)):
        if has_nan(c[s], mu[s], h[s]):
            out[s] = np.nan
            shares[s : s + 1] = np.nan
            continue
        for begin in range(0, n, _BLOCK):
            m = min(_BLOCK, n - begin)
            labels, variance = log_labels[:, begin : begin + m], variances[begin : begin + m]
            _joint(x[begin : begin + m], variance, labels, c[s], mu[s], h[s], kept, joint, top, total)
            if len(shares) > 0:
                fill_shares(joint, total, m, shares[s, begin : begin + m])
                continue
            for i in range(m):
                out[s, begin + i] = top[i] + math.log(total[i])


@compiled(fastmath=STRICT, inline=True)
def share(variance, inverse):
    """q, given the variance of an error and the inverse variance of a component."""
    return 1.0 / (1.0 + inverse * variance)
