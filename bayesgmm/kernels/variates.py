"""Random variates and small matrices for compiled sweeps."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.blocks import exp
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.prior import of_component


@compiled(fastmath=STRICT)
def log_gamma_variate(rng, shape):
    """Draw the logarithm of a Gamma(shape, 1) variate, finite for any small shape."""
    if shape >= 1.0:
        return math.log(rng.standard_gamma(shape))
    return math.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential() / shape


@compiled(fastmath=STRICT)
def choose(rng, log_densities, cumulated):
    """Draw an index with probability proportional to exp(log_densities); fill the cumulated weights."""
    k, largest = len(log_densities), log_densities[0]
    for j in range(1, k):
        largest = max(largest, log_densities[j])
    for j in range(k):
        cumulated[j] = exp(log_densities[j] - largest)
    total = 0.0
    for j in range(k):
        total += cumulated[j]
        cumulated[j] = total
    at = rng.random() * total
    for j in range(k - 1):
        if at < cumulated[j]:
            return j
    return k - 1


@compiled(fastmath=STRICT)
def draw_weights(rng, counts, alpha, coordinates, log_gammas):
    """Draw the coordinates of w ~ Dirichlet(alpha + counts), alpha (K,) or (1,); ``log_gammas`` is scratch.

    Those with alpha = 0 are fixed; their coordinates are 0.
    """
    k, total, free = len(counts), 0.0, 0
    for j in range(k):
        log_gammas[j] = 0.0
        if of_component(alpha, j) > 0.0:
            log_gammas[j] = log_gamma_variate(rng, of_component(alpha, j) + counts[j])
            total += log_gammas[j]
            free += 1
    for j in range(k - 1):
        coordinates[j] = log_gammas[j] - total / free if of_component(alpha, j) > 0.0 else 0.0


@compiled(fastmath=STRICT, inline=True)
def draw_log_gammas(rng, counts, alpha, log_gammas):
    """Draw logarithms of Gamma(alpha + counts) variates, log Dirichlet weights up to a constant."""
    for j in range(len(counts)):
        log_gammas[j] = log_gamma_variate(rng, alpha + counts[j])


@compiled(fastmath=STRICT)
def draw_logit(rng, of_one, of_other):
    """Draw the logit of a Beta(of_one, of_other) variate."""
    return log_gamma_variate(rng, of_one) - log_gamma_variate(rng, of_other)


@compiled(fastmath=STRICT)
def draw_heavy(rng):
    """Draw from Student's t with four degrees of freedom, for heavy-tailed proposals."""
    return rng.standard_normal() / math.sqrt(0.5 * rng.standard_gamma(2.0))


@compiled(fastmath=STRICT)
def log_heavy(value):
    """Log density of :func:`draw_heavy`."""
    return math.log(0.375) - 2.5 * math.log1p(0.25 * value * value)


@compiled(fastmath=STRICT)
def log_sum_exp(values):
    """Log of the sum of exponentials."""
    largest, total = -np.inf, 0.0
    for j in range(len(values)):
        largest = max(largest, values[j])
    for j in range(len(values)):
        total += math.exp(values[j] - largest)
    return largest + math.log(total)


@compiled(fastmath=STRICT)
def factorise(matrix):
    """Replace the lower triangle of a symmetric positive definite matrix by its Cholesky factor."""
    size = len(matrix)
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for e in range(j):
                total -= matrix[i, e] * matrix[j, e]
            matrix[i, j] = math.sqrt(total) if i == j else total / matrix[j, j]


@compiled(fastmath=STRICT)
def log_determinant(matrix):
    """Log determinant of a positive definite matrix."""
    factor, value = matrix.copy(), 0.0
    factorise(factor)
    for d in range(len(matrix)):
        value += 2.0 * math.log(factor[d, d])
    return value


@compiled(fastmath=STRICT)
def draw_normal(rng, precision, pull, result):
    """Draw from N(precision^-1 pull, precision^-1) into ``result``; precision and pull are overwritten.

    With precision = L L', the draw is L'^-1 (L^-1 pull + noise), noise standard normal.
    """
    size = len(pull)
    factorise(precision)
    for i in range(size):
        for j in range(i):
            pull[i] -= precision[i, j] * pull[j]
        pull[i] /= precision[i, i]
    for i in range(size):
        pull[i] += rng.standard_normal()
    for i in range(size - 1, -1, -1):
        total = pull[i]
        for j in range(i + 1, size):
            total -= precision[j, i] * result[j]
        result[i] = total / precision[i, i]


@compiled(fastmath=STRICT)
def draw_wishart_factor(rng, shape, rate, factor, coordinates):
    """Draw F (lower) with F'F ~ Wishart(shape, rate), and its coordinates (:mod:`bayesgmm.model.wishart`).

    F = V C^-1 with 2 rate = C C' and V as in :func:`bayesgmm.model.wishart.draw_factors`; the rate is overwritten.
    """
    size = len(rate)
    for i in range(size):
        for j in range(i + 1):
            rate[i, j] *= 2.0
    factorise(rate)
    at = 0
    for i in range(size):
        for j in range(i):
            factor[i, j] = rng.standard_normal()
        freedom = 2.0 * shape - size + i + 1
        factor[i, i] = math.sqrt(2.0) * math.exp(0.5 * log_gamma_variate(rng, 0.5 * freedom))
        for j in range(i, -1, -1):  # the row of V C^-1, from the right
            for e in range(j + 1, i + 1):
                factor[i, j] -= factor[i, e] * rate[e, j]
            factor[i, j] /= rate[j, j]
        for j in range(i):
            coordinates[at + j] = factor[i, j] / factor[i, i]
        coordinates[at + i] = math.log(factor[i, i])
        at += i + 1


@compiled(fastmath=STRICT)
def shuffle(rng, order, classes):
    """Fill ``order`` with a random permutation of 0, ..., K - 1 within classes."""
    for j in range(len(order)):
        order[j] = j
    for j in range(len(order) - 1, 0, -1):
        alike = 0
        for i in range(j + 1):
            alike += classes[i] == classes[j]
        left = int(rng.random() * alike)
        other = -1
        while left >= 0:
            other += 1
            left -= classes[other] == classes[j]
        order[j], order[other] = order[other], order[j]


@compiled(fastmath=STRICT)
def reorder(point, order, k, n_features, at_factors, n_blocks, entries, at_nu, result):
    """Fill ``result`` with a point whose components are reordered; the other coordinates are copied.

    A point holds K - 1 coordinates of the weights, K x D means, and C0. From ``at_factors`` there is a block of ``entries``
    coordinates for each component, or one block for all. From ``at_nu`` there is one coordinate for each component, or none.
    """
    copy(point, result)
    last = 0.0
    for j in range(k - 1):
        last -= point[j]
    for j in range(k):
        source = order[j]
        if j < k - 1:
            result[j] = point[source] if source < k - 1 else last
        for d in range(n_features):
            result[k - 1 + j * n_features + d] = point[k - 1 + source * n_features + d]
        if n_blocks == k:
            for e in range(entries):
                result[at_factors + j * entries + e] = point[at_factors + source * entries + e]
        if len(point) > at_nu:
            result[at_nu + j] = point[at_nu + source]
