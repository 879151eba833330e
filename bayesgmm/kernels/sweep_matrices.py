"""Sweeps for covariances with correlations: full and tied.

:func:`sweep` keeps K, :func:`telescope` draws it too; their steps are the functions below them.
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI
from bayesgmm.kernels.factors import add_gram, fill_factor
from bayesgmm.kernels.number import bring_forward, draw_number
from bayesgmm.kernels.points import log_weights
from bayesgmm.kernels.variates import (
    choose,
    draw_log_gammas,
    draw_normal,
    draw_weights,
    draw_wishart_factor,
    log_sum_exp,
    reorder,
    shuffle,
)


@compiled(fastmath=STRICT)
def sweep(rng, x, k, sizes, hyper, b0, inverse_B0, rate, state, thin, draws):
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
    C0, C0_factor, sum_of_precisions = rate.copy(), np.empty((size, size)), np.empty((size, size))
    rates, shapes, order, z = np.empty((m, size, size)), np.empty(m), np.empty(k, np.int64), np.empty(n, np.int16)
    for block in range(m):
        fill_factor(coordinates[block], factors[block])
    if hierarchical:
        fill_factor(state[at_C0:at_factors], C0_factor)
        C0[:] = 0.0
        add_gram(C0_factor, C0)
    for s in range(len(draws)):
        for _ in range(thin):
            log_weights(state, log_w)
            _prepare(log_w, factors, offsets)
            _allocate(rng, x, offsets, mu, factors, difference, log_densities, cumulated, z, counts, first, second)
            draw_weights(rng, counts, alpha, state, log_densities)
            shapes[:] = c0
            for block in range(m):
                rates[block] = C0
            _draw_means(rng, 0, k, counts, first, second, factors, b0, inverse_B0, mu, rates, shapes)
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


@compiled(fastmath=STRICT)
def telescope(rng, x, sizes, hyper, b0, inverse_B0, rate, tables, state, points, thin, draws, kept):
    """Fill the draws, each ``thin`` sweeps after the one before, from a state, which moves along; see :class:`Draws`.

    ``sizes`` holds whether covariances are tied, the number of entries of a factor, and whether C0 is learnt; ``hyper`` c0
    and g0. Components that are occupied stand first; those that are not are drawn from the prior once K is known.
    """
    n, n_features = x.shape
    tied, hierarchical = sizes[0] != 0, sizes[2] != 0
    c0, g0 = hyper[0], hyper[1]
    size, log_w, mu, factors, C0 = state
    every, done, kept_z, kept_w, kept_mu, kept_factors = kept
    most, k = len(log_w), size[0]
    offsets, log_densities, cumulated, probabilities = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    difference, coordinates = np.empty((most, n_features)), np.empty(sizes[1])
    counts, first, second = np.empty(most), np.empty((most, n_features)), np.empty((most, n_features, n_features))
    C0_factor, sum_of_precisions = np.empty((n_features, n_features)), np.empty((n_features, n_features))
    rates, shapes = np.empty(factors.shape), np.empty(len(factors))
    places, z, occupied = np.empty(most, np.int64), np.empty(n, np.int16), 0
    for s in range(len(draws.n_components)):
        for _ in range(thin):
            _prepare(log_w[:k], factors, offsets)
            _allocate(rng, x, offsets[:k], mu, factors, difference, log_densities, cumulated, z, counts, first, second)
            occupied = bring_forward(counts[:k], places)
            for j in range(k):
                to = places[j]
                if to < min(j, occupied):
                    counts[to], mu[to], first[to], second[to] = counts[j], mu[j], first[j], second[j]
                    if not tied:
                        factors[to] = factors[j]
            m = 1 if tied else occupied
            shapes[:m] = c0
            for block in range(m):
                rates[block] = C0
            _draw_means(rng, 0, occupied, counts, first, second, factors, b0, inverse_B0, mu, rates, shapes)
            sum_of_precisions[:] = rate
            for block in range(m):
                draw_wishart_factor(rng, shapes[block], rates[block], factors[block], coordinates)
                add_gram(factors[block], sum_of_precisions)
            if hierarchical:
                draw_wishart_factor(rng, g0 + m * c0, sum_of_precisions, C0_factor, coordinates)
                C0[:] = 0.0
                add_gram(C0_factor, C0)

            k = draw_number(rng, counts[:occupied], tables, probabilities)
            for b in range(most):
                draws.p_k[s, b] += probabilities[b] / thin
            draws.p_occupied[s, occupied - 1] += 1.0 / thin
            counts[occupied:k], first[occupied:k], second[occupied:k] = 0.0, 0.0, 0.0
            for block in range(occupied, 0 if tied else k):
                shapes[block], rates[block] = c0, C0
                draw_wishart_factor(rng, shapes[block], rates[block], factors[block], coordinates)
            _draw_means(rng, occupied, k, counts, first, second, factors, b0, inverse_B0, mu, rates, shapes)
            draw_log_gammas(rng, counts[:k], tables.concentrations[k - 1], log_w[:k])
        size[0], draws.n_components[s], draws.occupied[s] = k, k, occupied
        at = 0
        for a in range(n_features):
            for b in range(a + 1):
                draws.scale[s, at] = C0[a, b]
                at += 1
        _prepare(log_w[:k], factors, offsets)
        log_total = log_sum_exp(log_w[:k])
        for i in range(len(points)):
            _fill_log_densities(points, i, offsets[:k], mu, factors, difference, log_densities)
            draws.log_density[s, i] = log_sum_exp(log_densities[:k]) - log_total - n_features * HALF_LOG_2PI
        if (s + done) % every == 0:
            row = (s + done) // every
            for i in range(n):
                kept_z[row, i] = places[z[i]]
            for j in range(k):
                kept_w[row, j], kept_mu[row, j] = math.exp(log_w[j] - log_total), mu[j]
                if j < len(factors):
                    kept_factors[row, j] = factors[j]


@compiled(fastmath=STRICT)
def _prepare(log_w, factors, offsets):
    """Fill each component's log density at its mean without the constant."""
    m, size = len(factors), factors.shape[1]
    for j in range(len(log_w)):
        offsets[j] = log_w[j]
        for a in range(size):
            offsets[j] += math.log(factors[j if m > 1 else 0, a, a])


@compiled(fastmath=STRICT, inline=True)
def _fill_log_densities(points, i, offsets, mu, factors, difference, log_densities):
    """Fill each component's log density at a point without the constant, and the point's distances from its mean."""
    for j in range(len(offsets)):
        factor, distance = factors[j if len(factors) > 1 else 0], 0.0
        for a in range(points.shape[1]):
            difference[j, a] = points[i, a] - mu[j, a]
            whitened = 0.0
            for b in range(a + 1):
                whitened += factor[a, b] * difference[j, b]
            distance += whitened * whitened
        log_densities[j] = offsets[j] - 0.5 * distance


@compiled(fastmath=STRICT)
def _allocate(rng, x, offsets, mu, factors, difference, log_densities, cumulated, z, counts, first, second):
    """Draw z given the components; fill their counts and the sums of distances from their means, and of the products."""
    k, (n, size), of_components = len(offsets), x.shape, log_densities[: len(offsets)]
    counts[:k], first[:k], second[:k] = 0.0, 0.0, 0.0
    for i in range(n):
        _fill_log_densities(x, i, offsets, mu, factors, difference, of_components)
        j = choose(rng, of_components, cumulated) if k > 1 else 0
        z[i] = j
        counts[j] += 1.0
        for a in range(size):
            first[j, a] += difference[j, a]
            for b in range(a + 1):
                second[j, a, b] += difference[j, a] * difference[j, b]


@compiled(fastmath=STRICT)
def _draw_means(rng, begin, end, counts, first, second, factors, b0, inverse_B0, mu, rates, shapes):
    """Draw the means of components begin, ..., end - 1; to their blocks' rates and shapes the observations' are added."""
    m, size = len(factors), mu.shape[1]
    own, precision, pull, moved = np.empty((size, size)), np.empty((size, size)), np.empty(size), np.empty(size)
    for j in range(begin, end):
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
                about = second[j, a, b] - pull[a] * first[j, b] - first[j, a] * pull[b] + counts[j] * pull[a] * pull[b]
                rates[block, a, b] += 0.5 * about
        shapes[block] += 0.5 * counts[j]
