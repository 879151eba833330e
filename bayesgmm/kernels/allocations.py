"""Allocations given a draw, of which only sums are kept, and new parameters given these sums."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.factors import add_gram
from bayesgmm.kernels.variates import choose, draw_normal, draw_weights, draw_wishart_factor, log_gamma_variate


@compiled(fastmath=STRICT)
def allocate(rng, x, log_w, mu, factors, counts, first, second):
    """Draw z given one draw's parameters; fill the sums of 1, x - mu_k, (x - mu_k)(x - mu_k)' over each component.

    ``factors`` (m, D, D) are lower, F'F the precisions of the components, or of all if m = 1.
    """
    n, size = x.shape
    k, m = len(log_w), len(factors)
    offsets, log_densities, cumulated, difference = np.empty(k), np.empty(k), np.empty(k), np.empty((k, size))
    for j in range(k):
        offsets[j] = log_w[j]
        for a in range(size):
            offsets[j] += math.log(factors[j if m > 1 else 0, a, a])
    counts[:], first[:], second[:] = 0.0, 0.0, 0.0
    for i in range(n):
        for j in range(k):
            factor, distance = factors[j if m > 1 else 0], 0.0
            for a in range(size):
                difference[j, a] = x[i, a] - mu[j, a]
                whitened = 0.0
                for b in range(a + 1):
                    whitened += factor[a, b] * difference[j, b]
                distance += whitened * whitened
            log_densities[j] = offsets[j] - 0.5 * distance
        j = choose(rng, log_densities, cumulated) if k > 1 else 0
        counts[j] += 1.0
        for a in range(size):
            first[j, a] += difference[j, a]
            for b in range(a + 1):
                second[j, a, b] += difference[j, a] * difference[j, b]
                second[j, b, a] = second[j, a, b]


@compiled(fastmath=STRICT)
def draw_parameters(rng, counts, means, shapes, rates, correlated, alpha, b0, inverse_B0, at_factors, out):
    """Fill points (R, n_dim) given one kernel's sums: w, then the precisions, then the means given these.

    ``rates`` are those of Wishart precisions, (m, D, D), or of m x V Gamma precisions, (m, V, 1).
    """
    k, size = means.shape
    m, n_scales = len(shapes), rates.shape[1]
    factor, rate = np.zeros((m, size, size)), np.empty((size, size))
    precision, own = np.empty((size, size)), np.empty((size, size))
    pull, moved, scratch = np.empty(size), np.empty(size), np.empty(k)
    for r in range(len(out)):
        draw_weights(rng, counts, alpha, out[r], scratch)
        coordinates = out[r, at_factors:].reshape(m, -1)
        for block in range(m):
            if correlated:
                rate[:] = rates[block]
                draw_wishart_factor(rng, shapes[block], rate, factor[block], coordinates[block])
            else:
                for v in range(n_scales):
                    coordinates[block, v] = math.log(rates[block, v, 0]) - log_gamma_variate(rng, shapes[block])
                for d in range(size):
                    factor[block, d, d] = math.exp(-0.5 * coordinates[block, d if n_scales > 1 else 0])
        for j in range(k):
            own[:] = 0.0
            add_gram(factor[j if m > 1 else 0], own)
            for a in range(size):
                pull[a] = 0.0
                for b in range(size):
                    precision[a, b] = inverse_B0[a, b] + counts[j] * own[a, b]
                    pull[a] += inverse_B0[a, b] * b0[b] + counts[j] * own[a, b] * means[j, b]
            draw_normal(rng, precision, pull, moved)
            for a in range(size):
                out[r, k - 1 + j * size + a] = moved[a]
