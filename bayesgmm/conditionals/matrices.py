"""Sweeps for covariances with correlations: full and tied."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.compiled import STRICT, compiled
from bayesgmm.conditionals.variates import (
    choose,
    draw_normal,
    draw_weights,
    draw_wishart_factor,
    reorder,
    shuffle,
)
from bayesgmm.density.matrices import add_gram, fill_factor
from bayesgmm.density.posterior import log_weights


@compiled(fastmath=STRICT)
def sweep(rng, x, k, sizes, hyper, b0, inverse_B0, rate, state, thin, draws):  # type: ignore[no-untyped-def]
    """Fill the draws (S, n_dim), each ``thin`` sweeps after the one before, from a state, which moves along.

    ``sizes`` holds the number m of covariances (K, or one if tied), the number of entries of a factor, and whether C0 is
    learnt; ``hyper`` alpha, c0 and g0.
    """
    n, size = x.shape
    m, entries, hierarchical = sizes[0], sizes[1], sizes[2] != 0
    alpha, c0, g0 = hyper[0], hyper[1], hyper[2]
    at_C0 = k - 1 + k * size
    at_factors = at_C0 + entries if hierarchical else at_C0
    mu, coordinates = state[k - 1 : at_C0].reshape(k, size), state[at_factors:].reshape(m, entries)
    log_w, offsets, log_densities, cumulated = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    factors, difference = np.empty((m, size, size)), np.empty((k, size))
    counts, first, second = np.empty(k), np.empty((k, size)), np.empty((k, size, size))
    own, precision, pull, moved = np.empty((size, size)), np.empty((size, size)), np.empty(size), np.empty(size)
    C0, C0_factor, sum_of_precisions = rate.copy(), np.empty((size, size)), np.empty((size, size))
    rates, shapes, order = np.empty((m, size, size)), np.empty(m), np.empty(k, np.int64)
    for block in range(m):
        fill_factor(coordinates[block], factors[block])
    if hierarchical:
        fill_factor(state[at_C0:at_factors], C0_factor)
        C0[:] = 0.0
        add_gram(C0_factor, C0)
    for s in range(len(draws)):
        for _ in range(thin):
            log_weights(state, log_w)
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

            draw_weights(rng, counts, alpha, state, log_densities)
            shapes[:] = c0
            for block in range(m):
                rates[block] = C0
            for j in range(k):
                block = j if m > 1 else 0
                own[:] = 0.0
                add_gram(factors[block], own)
                for a in range(size):
                    pull[a] = 0.0
                    for b in range(size):
                        precision[a, b] = inverse_B0[a, b] + counts[j] * own[a, b]
                        pull[a] += inverse_B0[a, b] * b0[b] + own[a, b] * (first[j, b] + counts[j] * mu[j, b])
                draw_normal(rng, precision, pull, moved)
                for a in range(size):
                    pull[a] = moved[a] - mu[j, a]
                    mu[j, a] = moved[a]
                for a in range(size):
                    for b in range(a + 1):
                        about = (
                            second[j, a, b] - pull[a] * first[j, b] - first[j, a] * pull[b] + counts[j] * pull[a] * pull[b]
                        )
                        rates[block, a, b] += 0.5 * about
                shapes[block] += 0.5 * counts[j]
            sum_of_precisions[:] = 0.0
            for block in range(m):
                draw_wishart_factor(rng, shapes[block], rates[block], factors[block], coordinates[block])
                add_gram(factors[block], sum_of_precisions)
            if hierarchical:
                sum_of_precisions += rate
                draw_wishart_factor(rng, g0 + m * c0, sum_of_precisions, C0_factor, state[at_C0:at_factors])
                C0[:] = 0.0
                add_gram(C0_factor, C0)
        shuffle(rng, order)
        reorder(state, order, k, size, at_factors, entries, draws[s])
