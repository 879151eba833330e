"""The E-step kernel for one feature.

Component k is (c_k, mu_k, h_k) with log w_k N(x; mu_k, sigma_k) = c_k - (h_k (x - mu_k))^2. If observations may be noise, c
has one more entry, the log share of noise, and the last row of labels holds its log densities.
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.blocks import (
    FAR,
    add_labels,
    add_log_totals,
    add_noise,
    begin_sums,
    block_width,
    exp,
    exponentiate,
    fill_noise,
    fill_shares,
    has_nan,
    is_finite,
)
from bayesgmm.kernels.compiled import SUMS, compiled

BLOCK = 128  # observations per block: K rows of them stay in the L1 cache


@compiled(fastmath=SUMS, inline=True)
def _joint(z, log_labels, c, mu, h, joint, top, total):
    """Fill one block: joint_ki = exp(log_joint_ki - top_i), top_i = max_k log_joint_ki, total_i = sum_k joint_ki."""
    k, m = len(mu), len(z)
    lowest = 0.0
    for i in range(m):
        top[i] = -np.inf
    for j in range(k):
        offset, mean, precision = c[j], mu[j], h[j]
        row = joint[j]
        for i in range(m):
            u = precision * (z[i] - mean)
            value = offset - u * u
            row[i] = value
            top[i] = max(value, top[i])
    if len(log_labels) > 0:
        fill_noise(c, k, joint, m)
        add_labels(log_labels, joint, top, m)
    for i in range(m):
        lowest += top[i]
    if lowest == -np.inf:  # squares overflow for a very distant point: clip its distances
        for j in range(k):
            for i in range(m):
                u = min(max(h[j] * (z[i] - mu[j]), -FAR), FAR)
                joint[j, i] = c[j] - u * u
                top[i] = max(joint[j, i], top[i])
        if len(log_labels) > 0:
            fill_noise(c, k, joint, m)
            add_labels(log_labels, joint, top, m)
    exponentiate(joint, top, total, m)


@compiled(fastmath=SUMS)
def _add_pair(x, shift, inverse_scale, c, mu, h, counts, first, second):
    """Add a block for K = 2, with one exponential per point and no scratch; if a square overflows, only return NaN."""
    zeroth_0, first_0, second_0 = 0.0, 0.0, 0.0
    zeroth_1, first_1, second_1 = 0.0, 0.0, 0.0
    top, product = 0.0, 1.0
    for i in range(len(x)):
        z = (x[i] - shift) * inverse_scale
        deviation_0, deviation_1 = z - mu[0], z - mu[1]
        u_0, u_1 = h[0] * deviation_0, h[1] * deviation_1
        log_joint_0, log_joint_1 = c[0] - u_0 * u_0, c[1] - u_1 * u_1
        gap = log_joint_1 - log_joint_0
        ratio = exp(-abs(gap))
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
    if not is_finite(top):
        return np.nan
    counts[0] += zeroth_0
    first[0] += first_0
    second[0] += second_0
    counts[1] += zeroth_1
    first[1] += first_1
    second[1] += second_1
    return top + math.log(product)


@compiled(fastmath=SUMS, inline=True)
def accumulate(x, weight, log_labels, shift, inverse_scale, c, mu, h, counts, first, second):
    """Fill N, S1 and S2, each (K), over z = (x - shift) * inverse_scale; return the log-likelihood of z.

    If observations may be noise, N has one more entry, the count of noise.
    """
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    k, n = len(mu), len(x)
    width = min(BLOCK, block_width(len(c)))
    joint = np.empty((len(c), width))
    z, top, total = np.empty(width), np.empty(width), np.empty(width)
    log_likelihood = 0.0
    for begin in range(0, n, width):
        m = min(width, n - begin)
        block = x[begin : begin + m]  # a slice, because indices that may be negative prevent vectorisation
        if k == 2 and len(weight) == 0 and len(log_labels) == 0:
            part = _add_pair(block, shift, inverse_scale, c, mu, h, counts, first, second)
            if part == part:
                log_likelihood += part
                continue
        for i in range(m):
            z[i] = (block[i] - shift) * inverse_scale
        _joint(z[:m], log_labels[:, begin : begin + m], c, mu, h, joint, top, total)
        log_likelihood += add_log_totals(top, total, weight[begin : begin + m], m)
        for j in range(k):
            s0, s1, s2 = 0.0, 0.0, 0.0
            mean, row = mu[j], joint[j]
            for i in range(m):
                deviation = z[i] - mean
                r = row[i] * total[i]
                s0 += r
                s1 += r * deviation
                s2 += r * deviation * deviation
            counts[j] += s0
            first[j] += s1
            second[j] += s2
        add_noise(joint, total, k, m, counts)
    return log_likelihood


@compiled(fastmath=SUMS, inline=True)
def log_likelihood(x, weight, log_labels, c, mu, h):
    """Log-likelihood without the sums of :func:`accumulate`; x is used as it is, without shift and scale."""
    if has_nan(c, mu, h):
        return np.nan
    n, width = len(x), min(BLOCK, block_width(len(c)))
    joint = np.empty((len(c), width))
    top, total = np.empty(width), np.empty(width)
    result = 0.0
    for begin in range(0, n, width):
        m = min(width, n - begin)
        _joint(x[begin : begin + m], log_labels[:, begin : begin + m], c, mu, h, joint, top, total)
        if len(weight) > 0:
            result += add_log_totals(top, total, weight[begin : begin + m], m)
            continue
        product = 1.0
        for i in range(m):
            result += top[i]
            product *= total[i]
        result += math.log(product)
    return result


@compiled(fastmath=SUMS)
def log_densities(x, log_labels, c, mu, h, out, shares):
    """Fill ``out`` (S, n) with the log density of every x for every set of parameters (S, K), or fill responsibilities.

    Responsibilities are computed instead if ``shares`` is (S, n, K); otherwise it must be (0, n, K).
    """
    k, n = c.shape[1], len(x)
    joint = np.empty((k, BLOCK))
    top, total = np.empty(BLOCK), np.empty(BLOCK)
    for s in range(len(c)):
        if has_nan(c[s], mu[s], h[s]):
            out[s] = np.nan
            shares[s : s + 1] = np.nan
            continue
        for begin in range(0, n, BLOCK):
            m = min(BLOCK, n - begin)
            _joint(x[begin : begin + m], log_labels[:, begin : begin + m], c[s], mu[s], h[s], joint, top, total)
            if len(shares) > 0:
                fill_shares(joint, total, m, shares[s, begin : begin + m])
                continue
            for i in range(m):
                out[s, begin + i] = top[i] + math.log(total[i])
