"""Sweeps for variances without correlations: one feature, diagonal and spherical covariances."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.compiled import STRICT, compiled
from bayesgmm.conditionals.variates import (
    choose,
    draw_normal,
    draw_weights,
    log_gamma_variate,
    reorder,
    shuffle,
)
from bayesgmm.density.posterior import log_weights


@compiled(fastmath=STRICT)
def sweep(rng, x, k, sizes, hyper, b0, inverse_B0, rate, state, thin, draws):  # type: ignore[no-untyped-def]
    """Fill the draws (S, n_dim), each ``thin`` sweeps after the one before, from a state, which moves along.

    ``sizes`` holds the number m of variances' blocks (K, or one if tied), the number V of variances in a block, and whether
    C0 is learnt; ``hyper`` alpha, c0 and g0.
    """
    n, n_features = x.shape
    m, n_scales, hierarchical = sizes[0], sizes[1], sizes[2] != 0
    alpha, c0, g0 = hyper[0], hyper[1], hyper[2]
    at_C0 = k - 1 + k * n_features
    at_factors = at_C0 + n_scales if hierarchical else at_C0
    mu = state[k - 1 : at_C0].reshape(k, n_features)
    log_variances = state[at_factors:].reshape(m, n_scales)
    log_w, offsets, log_densities, cumulated = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    inverse, difference = np.empty((k, n_features)), np.empty((k, n_features))
    counts, first, second = np.empty(k), np.empty((k, n_features)), np.empty((k, n_features))
    precision, pull, moved = np.empty((n_features, n_features)), np.empty(n_features), np.empty(n_features)
    squares, shapes, order = np.empty((m, n_scales)), np.empty((m, n_scales)), np.empty(k, np.int64)
    for s in range(len(draws)):
        for _ in range(thin):
            log_weights(state, log_w)
            for j in range(k):
                offsets[j] = log_w[j]
                for d in range(n_features):
                    log_variance = log_variances[j if m > 1 else 0, d if n_scales > 1 else 0]
                    inverse[j, d] = math.exp(-log_variance)
                    offsets[j] -= 0.5 * log_variance
            counts[:], first[:], second[:] = 0.0, 0.0, 0.0
            for i in range(n):
                for j in range(k):
                    distance = 0.0
                    for d in range(n_features):
                        difference[j, d] = x[i, d] - mu[j, d]
                        distance += difference[j, d] * difference[j, d] * inverse[j, d]
                    log_densities[j] = offsets[j] - 0.5 * distance
                j = choose(rng, log_densities, cumulated) if k > 1 else 0
                counts[j] += 1.0
                for d in range(n_features):
                    first[j, d] += difference[j, d]
                    second[j, d] += difference[j, d] * difference[j, d]

            draw_weights(rng, counts, alpha, state, log_densities)
            squares[:], shapes[:] = 0.0, c0
            for j in range(k):
                for d in range(n_features):
                    pull[d] = inverse[j, d] * (first[j, d] + counts[j] * mu[j, d])
                    for e in range(n_features):
                        precision[d, e] = inverse_B0[d, e]
                        pull[d] += inverse_B0[d, e] * b0[e]
                    precision[d, d] += counts[j] * inverse[j, d]
                draw_normal(rng, precision, pull, moved)
                block = j if m > 1 else 0
                for d in range(n_features):
                    step = moved[d] - mu[j, d]
                    v = d if n_scales > 1 else 0
                    squares[block, v] += second[j, d] - 2.0 * step * first[j, d] + counts[j] * step * step
                    shapes[block, v] += 0.5 * counts[j]
                    mu[j, d] = moved[d]
            for v in range(n_scales):
                C0 = math.exp(state[at_C0 + v]) if hierarchical else rate[v]
                total = 0.0
                for block in range(m):
                    log_gamma = log_gamma_variate(rng, shapes[block, v])
                    log_variances[block, v] = math.log(C0 + 0.5 * max(squares[block, v], 0.0)) - log_gamma
                    total += math.exp(-log_variances[block, v])
                if hierarchical:
                    state[at_C0 + v] = log_gamma_variate(rng, g0 + m * c0) - math.log(rate[v] + total)
        shuffle(rng, order)
        reorder(state, order, k, n_features, at_factors, n_scales, draws[s])
