"""The E-step kernel for several features.

Component k is (c_k, mu_k, H_k) with log w_k N(x; mu_k, Sigma_k) = c_k - |H_k (x - mu_k)|^2. H_k is lower triangular, (D, D),
or diagonal and stored as (D, 1). Noise is as in :mod:`.univariate`. A block is stored as (D, m), so that operations on
neighbouring observations are vectorised.
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
    exponentiate,
    fill_noise,
    fill_shares,
    has_nan,
    is_finite,
    no_unit,
)
from bayesgmm.kernels.compiled import SUMS, compiled

_BLOCK = 128  # largest number of observations in a block
_SCRATCH = 2_048  # numbers in a block of all features: two such blocks stay in the L1 cache


@compiled(fastmath=SUMS)
def width_of_block(n_features, k):
    """Number of observations in a block."""
    return max(8, min(_BLOCK, _SCRATCH // n_features, block_width(k)))


@compiled(fastmath=SUMS)
def standardise(block, shift, inverse_scale, z):
    """Standardise observations (m, D) into z (D, m)."""
    for d in range(block.shape[1]):
        centre, factor, row = shift[d], inverse_scale[d], z[d]
        for i in range(len(block)):
            row[i] = (block[i, d] - centre) * factor


@compiled(fastmath=SUMS)
def deviate(z, mean, deviation, m):
    """Fill deviation (D, m) = z - mean."""
    for d in range(len(mean)):
        centre, source, row = mean[d], z[d], deviation[d]
        for i in range(m):
            row[i] = source[i] - centre


@compiled(fastmath=SUMS, inline=True)
def whiten(deviation, h, out, m):
    """Fill out_i = sum_d h_d deviation_di over the first len(h) features, four at a time."""
    for i in range(m):
        out[i] = 0.0
    d = 0
    while d + 4 <= len(h):
        h0, h1, h2, h3 = h[d], h[d + 1], h[d + 2], h[d + 3]
        row0, row1, row2, row3 = deviation[d], deviation[d + 1], deviation[d + 2], deviation[d + 3]
        for i in range(m):
            out[i] += (h0 * row0[i] + h1 * row1[i]) + (h2 * row2[i] + h3 * row3[i])
        d += 4
    while d < len(h):
        h0, row0 = h[d], deviation[d]
        for i in range(m):
            out[i] += h0 * row0[i]
        d += 1


@compiled(fastmath=SUMS, inline=True)
def add_products(one, deviation, sums, m):
    """Add sum_i one_i deviation_di to sums_d over the first len(sums) features, four at a time."""
    d = 0
    while d + 4 <= len(sums):
        row0, row1, row2, row3 = deviation[d], deviation[d + 1], deviation[d + 2], deviation[d + 3]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for i in range(m):
            s0 += one[i] * row0[i]
            s1 += one[i] * row1[i]
            s2 += one[i] * row2[i]
            s3 += one[i] * row3[i]
        sums[d] += s0
        sums[d + 1] += s1
        sums[d + 2] += s2
        sums[d + 3] += s3
        d += 4
    while d < len(sums):
        row0, s0 = deviation[d], 0.0
        for i in range(m):
            s0 += one[i] * row0[i]
        sums[d] += s0
        d += 1


@compiled(fastmath=SUMS, inline=True)
def fill_joint(z, log_labels, c, mu, h, deviation, y, joint, top, total, m):
    """Fill one block: joint_ki = exp(log_joint_ki - top_i), top_i = max_k log_joint_ki, total_i = sum_k joint_ki."""
    k, n_features = mu.shape
    triangular = h.shape[2] > 1
    for i in range(m):
        top[i] = -np.inf
    for j in range(k):
        row, offset = joint[j], c[j]
        for i in range(m):
            row[i] = offset
        if triangular:
            deviate(z, mu[j], deviation, m)
        for d in range(n_features):
            if triangular:
                whiten(deviation, h[j, d, : d + 1], y, m)
                for i in range(m):
                    row[i] -= y[i] * y[i]
            else:
                centre, precision, feature = mu[j, d], h[j, d, 0], z[d]
                for i in range(m):
                    u = precision * (feature[i] - centre)
                    row[i] -= u * u
        for i in range(m):
            top[i] = max(row[i], top[i])
    if len(log_labels) > 0:
        fill_noise(c, k, joint, m)
        add_labels(log_labels, joint, top, m)
    exponentiate(joint, top, total, m)
    check = 0.0
    for i in range(m):
        check += top[i] + total[i]
    if not is_finite(check):  # squares overflow for a very distant point: clip its distances
        _far_joint(z, c, mu, h, joint, top, m)
        if len(log_labels) > 0:
            fill_noise(c, k, joint, m)
            add_labels(log_labels, joint, top, m)
        exponentiate(joint, top, total, m)


@compiled(fastmath=SUMS)
def _far_joint(z, c, mu, h, joint, top, m):
    """Fill log joint densities, with distances clipped so that their squares do not overflow."""
    k, n_features = mu.shape
    for i in range(m):
        top[i] = -np.inf
        for j in range(k):
            largest = 0.0
            for d in range(n_features):
                largest = max(largest, abs(z[d, i] - mu[j, d]))
            size = largest if largest > 0.0 else 1.0
            squared = 0.0
            for d in range(n_features):
                y = 0.0
                if h.shape[2] > 1:
                    for e in range(d + 1):
                        y += h[j, d, e] * ((z[e, i] - mu[j, e]) / size)
                else:
                    y = h[j, d, 0] * ((z[d, i] - mu[j, d]) / size)
                y = min(abs(y), FAR)
                squared += y * y
            distance = min(math.sqrt(squared) * size, FAR)
            joint[j, i] = c[j] - distance * distance
            top[i] = max(joint[j, i], top[i])


@compiled(fastmath=SUMS, inline=True)
def add_moments(r, deviation, y, first, second, m):
    """Add one component's moments of a block, weighted by r, to S1 (D) and S2: diagonal (D, 1) or lower triangle (D, D)."""
    triangular = second.shape[1] > 1
    for d in range(len(first)):
        row, s1, s2 = deviation[d], 0.0, 0.0
        for i in range(m):
            y[i] = r[i] * row[i]
            s1 += y[i]
            s2 += y[i] * row[i]
        first[d] += s1
        if triangular:
            add_products(y, deviation, second[d, :d], m)
            second[d, d] += s2
        else:
            second[d, 0] += s2


@compiled(fastmath=SUMS)
def fill_upper(second):
    """Symmetrise matrices (K, D, D) from their lower triangles; leave diagonals (K, D, 1) unchanged."""
    for j in range(len(second)):
        for d in range(second.shape[2]):
            for e in range(d):
                second[j, e, d] = second[j, d, e]


@compiled(fastmath=SUMS, inline=True)
def accumulate(x, weight, log_labels, shift, inverse_scale, c, mu, h, counts, first, second):
    """Fill N (K), S1 (K, D) and S2 (shape of h) over standardised x (n, D); return the log-likelihood."""
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    n, (k, n_features) = len(x), mu.shape
    width = width_of_block(n_features, len(c))
    z, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    joint = np.empty((len(c), width))
    y, top, total = np.empty(width), np.empty(width), np.empty(width)
    log_likelihood = 0.0
    for begin in range(0, n, width):
        m = min(width, n - begin)
        standardise(x[begin : begin + m], shift, inverse_scale, z)
        fill_joint(z, log_labels[:, begin : begin + m], c, mu, h, deviation, y, joint, top, total, m)
        log_likelihood += add_log_totals(top, total, weight[begin : begin + m], m)
        add_noise(joint, total, k, m, counts)
        for j in range(k):
            r, zeroth = joint[j], 0.0
            for i in range(m):
                r[i] *= total[i]
                zeroth += r[i]
            counts[j] += zeroth
            deviate(z, mu[j], deviation, m)
            add_moments(r, deviation, y, first[j], second[j], m)
    fill_upper(second)
    return log_likelihood


@compiled(fastmath=SUMS)
def log_densities(x, log_labels, c, mu, h, out, shares):
    """Log density of every x (n, D) for every set of parameters c (S, K), mu, h: see :mod:`.univariate`."""
    n, k, n_features = len(x), c.shape[1], mu.shape[2]
    width = width_of_block(n_features, k)
    z, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    joint = np.empty((k, width))
    y, top, total = np.empty(width), np.empty(width), np.empty(width)
    shift, inverse_scale = no_unit(n_features)
    for begin in range(0, n, width):
        m = min(width, n - begin)
        standardise(x[begin : begin + m], shift, inverse_scale, z)
        for s in range(len(c)):
            if has_nan(c[s], mu[s], h[s]):
                out[s, begin : begin + m] = np.nan
                shares[s : s + 1, begin : begin + m] = np.nan
                continue
            fill_joint(z, log_labels[:, begin : begin + m], c[s], mu[s], h[s], deviation, y, joint, top, total, m)
            if len(shares) > 0:
                fill_shares(joint, total, m, shares[s, begin : begin + m])
                continue
            for i in range(m):
                out[s, begin + i] = top[i] + math.log(total[i])
