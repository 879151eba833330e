"""Allocations given a draw, of which only sums are kept, and new parameters given these sums."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.factors import add_gram
from bayesgmm.kernels.spread import Factors
from bayesgmm.kernels.sweeps import allocate, prepare
from bayesgmm.kernels.variates import draw_normal, draw_weights, draw_wishart_factor, log_gamma_variate


@compiled(fastmath=STRICT)
def allocate_at(rng, rows, log_w, mu, factors, counts, first, second):
    """Draw z given one draw's parameters; fill the sums of 1, x - mu_k, (x - mu_k)(x - mu_k)' (lower) over each component.

    ``factors`` (m, D, D) are lower, F'F the precisions of the components, or of all if m = 1.
    """
    k, (n, size) = len(log_w), rows.x.shape
    spread = Factors(k, size, len(factors), size * (size + 1) // 2)
    offsets, scratch = np.empty(k), (np.empty((k, size)), np.empty((k, size)), np.empty(k), np.empty(k))
    prepare(spread, log_w, factors, scratch[0], offsets)
    allocate(rng, spread, rows, offsets, mu, factors, scratch, np.empty(n, np.int16), (counts, first, second))


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
