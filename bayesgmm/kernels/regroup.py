"""Split-merge moves of a partition, which reach in one step what sweeps reach only by moving single observations.

Two observations i and j are chosen at random. If they are in one cluster, it is split so that they are in different parts.
Otherwise their clusters are merged. The proposal depends only on i, j, the members and C0 (or on the covariance, if all
components share one; it does not change). A few steps of EM that start at i and j fit a mixture of two components to the
members; of large clusters, all steps but the last use some of the members only. Each member is then assigned to a part by
its responsibilities. For a merger, the reverse move has the probability of the existing parts. Precisions of new clusters
are drawn given their members from

    q = Wishart(c0 + (n - 1) / 2, C0 + S / 2),    S the scatter matrix of the members about their mean.

This would be their conditional, with the mean integrated out, under a flat prior for the mean. Means are drawn from their
full conditional. Weights and the number of components K are summed out. With sizes n_j of t clusters, and if gamma is the
same for all K, a partition then has the prior probability

    V(t) prod_j Gamma(n_j + gamma) / Gamma(gamma),    V(t) = sum_K p(K) K! / (K - t)! Gamma(gamma K) / Gamma(n + gamma K)

(:mod:`.number`); otherwise the product is inside the sum. A move is accepted by the Metropolis-Hastings ratio. A cluster
enters it with the factor (density of its members, mean integrated out) x prior / q, which hardly depends on the drawn
precision Lambda = Sigma^-1. Up to powers of 2 pi, which cancel, this factor is

    m = |C0|^c0 / |R|^s  Gamma_D(s) / Gamma_D(c0)  |Lambda|^(1/2)  |B0^-1|^(1/2) / |B0^-1 + n Lambda|^(1/2)
        exp(-(xbar - b0)' (B0 + Sigma / n)^-1 (xbar - b0) / 2),    s = c0 + (n - 1) / 2,  R = C0 + S / 2.

References
----------
Jain & Neal (2007), Splitting and merging components of a nonconjugate Dirichlet process mixture model, Bayesian Analysis 2,
445-472. doi:10.1214/07-BA219
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesgmm.kernels import steps
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.factors import add_gram
from bayesgmm.kernels.number import log_partition
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.spread import for_each_kind
from bayesgmm.kernels.two_parts import fill_moments, fill_shares, join_moments
from bayesgmm.kernels.variates import draw_normal, factorise, log_determinant


def fill_precision(spread: Any, block: Any, precision: Any) -> Any:
    """Fill the precision (D, D) of a block."""


def draw_block(
    rng: Any, spread: Any, n: Any, scatter: Any, c0: Any, C0: Any, shapes: Any, rates: Any, blocks: Any, coordinates: Any
) -> Any:
    """Draw ``blocks[0]`` from q; shapes, rates and coordinates are scratch."""


def log_constant(spread: Any, n: Any, scatter: Any, c0: Any, C0: Any, precision: Any) -> Any:
    """Log of the factors of m that depend on neither the mean nor B0."""


@compiled(fastmath=STRICT)
def regroup(rng, spread, tied, x, k, c0, b0, inverse_B0, C0, tables, z, mu, blocks, inverse, sums, fitted):
    """Make one move of the allocation z of rows x (n, D); update sums and parameters of its clusters; return the new k.

    ``fitted`` is :data:`bayesgmm.kernels.two_parts.FITTED`, or smaller in tests.
    """
    counts, first, second = sums
    (n, size), most = x.shape, len(mu)
    i, j = int(rng.random() * n), int(rng.random() * (n - 1))
    j += j >= i
    a, b = int(z[i]), int(z[j])
    if a < 0 or b < 0:
        return k
    splits = a == b
    if splits:
        b = 0
        while b < k and counts[b] > 0.0:
            b += 1
        if b == most:
            return k
    end = max(k, b + 1)
    counts[k:end] = 0.0
    of_both = int(counts[a] + counts[b])
    members, shares, is_second = np.empty(of_both, np.int64), np.empty(of_both), np.empty(of_both, np.bool_)
    m = 0
    for row in range(n):
        if z[row] == a or (z[row] == b and not splits):
            members[m] = row
            m += 1
    scatters, means, sizes = np.zeros((3, size, size)), np.empty((3, size)), np.empty(3)
    precisions = np.empty((3, size, size))
    if tied:
        for part in range(3):
            fill_precision(spread, blocks[0], precisions[part])
    fill_shares(spread, tied, x, members, fitted, i, j, c0, C0, sizes, means, scatters, precisions, shares)
    log_q = 0.0
    for s in range(m):
        row, share = members[s], shares[s]
        if row in (i, j):
            is_second[s] = row == j
            continue
        is_second[s] = rng.random() < share if splits else z[row] == b
        probability = share if is_second[s] else 1.0 - share
        if probability == 0.0:
            return k
        log_q += math.log(probability)
    for part in range(2):
        for s in range(m):
            shares[s] = 1.0 if is_second[s] == (part == 1) else 0.0
        fill_moments(x, members, shares, sizes, means, scatters, part)
    join_moments(sizes, means, scatters)
    before = log_partition(counts[:end], tables)
    n_first, n_second = counts[a], counts[b]
    counts[a], counts[b] = sizes[0] if splits else sizes[2], sizes[1] if splits else 0.0
    log_ratio = log_partition(counts[:end], tables) - before
    log_ratio += -log_q if splits else log_q
    new_blocks, new_mu = steps.room_for(spread, 3, spread.size), np.empty((3, size))
    for part in range(3):
        is_new = splits == (part < 2)
        if not tied:
            if is_new:
                _draw_one(rng, spread, sizes[part], scatters[part], c0, C0, new_blocks[part:])
            else:
                copy(blocks[b if part == 1 else a], new_blocks[part])
            fill_precision(spread, new_blocks[part], precisions[part])
        value = _log_of_mean(sizes[part], means[part], precisions[part], b0, inverse_B0)
        if tied:
            value += _log_of_tied(sizes[part], scatters[part], precisions[part])
        else:
            value += log_constant(spread, sizes[part], scatters[part], c0, C0, precisions[part])
        log_ratio += value if is_new else -value
    if not -rng.standard_exponential() < log_ratio:
        counts[a], counts[b] = n_first, n_second
        return k
    for s in range(m):
        z[members[s]] = b if splits and is_second[s] else a
    for part in range(3):
        if splits != (part < 2):
            continue
        at = b if part == 1 else a
        _draw_mean(rng, sizes[part], means[part], precisions[part], b0, inverse_B0, new_mu[part])
        copy(new_mu[part], mu[at])
        if not tied:
            copy(new_blocks[part], blocks[at])
        steps.fill_inverse(spread, blocks, at, inverse)
        steps.fill_sums(spread, sizes[part], means[part], scatters[part], new_mu[part], at, first, second)
    if not splits:
        steps.fill_sums(spread, 0.0, means[2], 0.0 * scatters[2], means[2], b, first, second)
    return end


@compiled(fastmath=STRICT)
def _draw_one(rng, spread, n, scatter, c0, C0, blocks):
    rates, coordinates = steps.room_for(spread, 1, spread.size), np.empty((1, spread.size))
    draw_block(rng, spread, n, scatter, c0, C0, np.empty(1), rates, blocks, coordinates)


@compiled(fastmath=STRICT)
def _draw_mean(rng, n, mean, precision, b0, inverse_B0, out):
    size = len(mean)
    matrix, pull = np.empty((size, size)), np.zeros(size)
    for d in range(size):
        for e in range(size):
            matrix[d, e] = inverse_B0[d, e] + n * precision[d, e]
            pull[d] += inverse_B0[d, e] * b0[e] + n * precision[d, e] * mean[e]
    draw_normal(rng, matrix, pull, out)


@compiled(fastmath=STRICT)
def _log_of_mean(n, mean, precision, b0, inverse_B0):
    """Log of the factors of m that come from the mean of a cluster, integrated out."""
    size = len(mean)
    matrix, of_data, of_prior, known = np.empty((size, size)), np.zeros(size), np.zeros(size), inverse_B0.copy()
    for d in range(size):
        for e in range(size):
            matrix[d, e] = inverse_B0[d, e] + n * precision[d, e]
            of_data[d] += n * precision[d, e] * (mean[e] - b0[e])
            of_prior[d] += inverse_B0[d, e] * (mean[e] - b0[e])
    factorise(matrix)
    factorise(known)
    value = 0.0
    for d in range(size):
        for e in range(d):
            of_data[d] -= matrix[d, e] * of_data[e]
            of_prior[d] -= matrix[d, e] * of_prior[e]
        of_data[d] /= matrix[d, d]
        of_prior[d] /= matrix[d, d]
        value += math.log(known[d, d]) - math.log(matrix[d, d]) - 0.5 * of_data[d] * of_prior[d]
    return value


@compiled(fastmath=STRICT)
def _log_of_tied(n, scatter, precision):
    """Log density of the members about their mean, up to a constant, if all components share one covariance."""
    value = 0.5 * n * log_determinant(precision)
    for d in range(len(scatter)):
        for e in range(len(scatter)):
            value -= 0.5 * scatter[d, e] * precision[d, e]
    return value


def _fill_precision_of_variances(spread, block, precision):
    precision[:] = 0.0
    for d in range(len(precision)):
        precision[d, d] = math.exp(-block[d if spread.size > 1 else 0])


def _fill_precision_of_factors(spread, block, precision):
    precision[:] = 0.0
    add_gram(block, precision)


def _draw_block_of_variances(rng, spread, n, scatter, c0, C0, shapes, rates, blocks, coordinates):
    n_features = len(scatter)
    for v in range(spread.size):
        rates[0, v] = C0[v]
    for d in range(n_features):
        rates[0, d if spread.size > 1 else 0] += 0.5 * scatter[d, d]
    shapes[0] = c0 + 0.5 * (n - 1.0) * (n_features / spread.size)
    steps.draw_blocks(rng, spread, 0, 1, rates, shapes, blocks, coordinates)


def _draw_block_of_factors(rng, spread, n, scatter, c0, C0, shapes, rates, blocks, coordinates):
    for d in range(len(scatter)):
        for e in range(len(scatter)):
            rates[0, d, e] = C0[d, e] + 0.5 * scatter[d, e]
    shapes[0] = c0 + 0.5 * (n - 1.0)
    blocks[0] = 0.0
    steps.draw_blocks(rng, spread, 0, 1, rates, shapes, blocks, coordinates)


def _log_constant_of_variances(spread, n, scatter, c0, C0, precision):
    n_features, value = len(scatter), 0.0
    shape = c0 + 0.5 * (n - 1.0) * (n_features / spread.size)
    for v in range(spread.size):
        rate = C0[v]
        for d in range(n_features):
            if d == v or spread.size == 1:
                rate += 0.5 * scatter[d, d]
                value += 0.5 * math.log(precision[d, d])
        value += c0 * math.log(C0[v]) - shape * math.log(rate) + math.lgamma(shape) - math.lgamma(c0)
    return value


def _log_constant_of_factors(spread, n, scatter, c0, C0, precision):
    size, shape = len(scatter), c0 + 0.5 * (n - 1.0)
    rate = np.empty((size, size))
    for d in range(size):
        for e in range(size):
            rate[d, e] = C0[d, e] + 0.5 * scatter[d, e]
    value = c0 * log_determinant(C0) - shape * log_determinant(rate) + 0.5 * log_determinant(precision)
    for d in range(size):
        value += math.lgamma(shape - 0.5 * d) - math.lgamma(c0 - 0.5 * d)
    return value


for_each_kind(fill_precision, _fill_precision_of_variances, _fill_precision_of_factors)
for_each_kind(draw_block, _draw_block_of_variances, _draw_block_of_factors)
for_each_kind(log_constant, _log_constant_of_variances, _log_constant_of_factors)
