"""Sweeps for variances without correlations: one feature, diagonal and spherical covariances.

:func:`sweep` keeps K, :func:`telescope` draws it too; their steps are the functions below them.
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI
from bayesgmm.kernels.number import bring_forward, draw_number
from bayesgmm.kernels.points import log_weights
from bayesgmm.kernels.variates import (
    choose,
    draw_log_gammas,
    draw_normal,
    draw_weights,
    log_gamma_variate,
    log_sum_exp,
    reorder,
    shuffle,
)


@compiled(fastmath=STRICT)
def sweep(rng, x, k, sizes, hyper, b0, inverse_B0, rate, state, thin, draws):
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
    squares, shapes, order, z = (
        np.empty((m, n_scales)),
        np.empty((m, n_scales)),
        np.empty(k, np.int64),
        np.empty(n, np.int16),
    )
    for s in range(len(draws)):
        for _ in range(thin):
            log_weights(state, log_w)
            _prepare(log_w, log_variances, inverse, offsets)
            _allocate(rng, x, offsets, mu, inverse, difference, log_densities, cumulated, z, counts, first, second)
            draw_weights(rng, counts, alpha, state, log_densities)
            squares[:], shapes[:] = 0.0, c0
            _draw_means(rng, 0, k, counts, first, second, inverse, b0, inverse_B0, mu, squares, shapes)
            for v in range(n_scales):
                C0 = math.exp(state[at_C0 + v]) if hierarchical else rate[v]
                total = _draw_variances(rng, 0, m, v, C0, squares, shapes, log_variances)
                if hierarchical:
                    state[at_C0 + v] = log_gamma_variate(rng, g0 + m * c0) - math.log(rate[v] + total)
        shuffle(rng, order)
        reorder(state, order, k, n_features, at_factors, n_scales, draws[s])


@compiled(fastmath=STRICT)
def telescope(rng, x, sizes, hyper, b0, inverse_B0, rate, tables, state, points, thin, draws, kept):
    """Fill the draws, each ``thin`` sweeps after the one before, from a state, which moves along; see :class:`Draws`.

    ``sizes`` holds whether variances are tied, the number V of variances in a block, and whether C0 is learnt; ``hyper`` c0
    and g0. Components that are occupied stand first; those that are not are drawn from the prior once K is known.
    """
    n, n_features = x.shape
    tied, n_scales, hierarchical = sizes[0] != 0, sizes[1], sizes[2] != 0
    c0, g0 = hyper[0], hyper[1]
    size, log_w, mu, log_variances, log_C0 = state
    every, done, kept_z, kept_w, kept_mu, kept_variances = kept
    most, k = len(log_w), size[0]
    offsets, log_densities, cumulated, probabilities = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    inverse, difference = np.empty((most, n_features)), np.empty((most, n_features))
    counts, first, second = np.empty(most), np.empty((most, n_features)), np.empty((most, n_features))
    blocks = 1 if tied else most
    squares, shapes = np.empty((blocks, n_scales)), np.empty((blocks, n_scales))
    places, z, occupied = np.empty(most, np.int64), np.empty(n, np.int16), 0
    for s in range(len(draws.n_components)):
        for _ in range(thin):
            _prepare(log_w[:k], log_variances, inverse, offsets)
            _allocate(rng, x, offsets[:k], mu, inverse, difference, log_densities, cumulated, z, counts, first, second)
            occupied = bring_forward(counts[:k], places)
            for j in range(k):
                to = places[j]
                if to < min(j, occupied):
                    counts[to] = counts[j]
                    mu[to], inverse[to], first[to], second[to] = mu[j], inverse[j], first[j], second[j]
            squares[:k], shapes[:k] = 0.0, c0
            _draw_means(rng, 0, occupied, counts, first, second, inverse, b0, inverse_B0, mu, squares, shapes)
            m = 1 if tied else occupied
            for v in range(n_scales):
                total = _draw_variances(rng, 0, m, v, math.exp(log_C0[v]), squares, shapes, log_variances)
                if hierarchical:
                    log_C0[v] = log_gamma_variate(rng, g0 + m * c0) - math.log(rate[v] + total)

            k = draw_number(rng, counts[:occupied], tables, probabilities)
            for b in range(most):
                draws.p_k[s, b] += probabilities[b] / thin
            draws.p_occupied[s, occupied - 1] += 1.0 / thin
            counts[occupied:k], inverse[occupied:k], first[occupied:k], second[occupied:k] = 0.0, 0.0, 0.0, 0.0
            squares[occupied:k], shapes[occupied:k] = 0.0, c0
            _draw_means(rng, occupied, k, counts, first, second, inverse, b0, inverse_B0, mu, squares, shapes)
            if not tied:
                for v in range(n_scales):
                    _draw_variances(rng, occupied, k, v, math.exp(log_C0[v]), squares, shapes, log_variances)
            draw_log_gammas(rng, counts[:k], tables.concentrations[k - 1], log_w[:k])
        size[0], draws.n_components[s], draws.occupied[s], draws.scale[s] = k, k, occupied, log_C0
        _prepare(log_w[:k], log_variances, inverse, offsets)
        log_total = log_sum_exp(log_w[:k])
        for i in range(len(points)):
            _fill_log_densities(points, i, offsets[:k], mu, inverse, difference, log_densities)
            draws.log_density[s, i] = log_sum_exp(log_densities[:k]) - log_total - n_features * HALF_LOG_2PI
        if (s + done) % every == 0:
            a = (s + done) // every
            for i in range(n):
                kept_z[a, i] = places[z[i]]
            for j in range(k):
                kept_w[a, j], kept_mu[a, j] = math.exp(log_w[j] - log_total), mu[j]
                if j < len(kept_variances[a]):
                    kept_variances[a, j] = log_variances[j]


@compiled(fastmath=STRICT)
def _prepare(log_w, log_variances, inverse, offsets):
    """Fill each component's inverse variances, and its log density at its mean without the constant."""
    n_features, (m, n_scales) = inverse.shape[1], log_variances.shape
    for j in range(len(log_w)):
        offsets[j] = log_w[j]
        for d in range(n_features):
            log_variance = log_variances[j if m > 1 else 0, d if n_scales > 1 else 0]
            inverse[j, d] = math.exp(-log_variance)
            offsets[j] -= 0.5 * log_variance


@compiled(fastmath=STRICT, inline=True)
def _fill_log_densities(points, i, offsets, mu, inverse, difference, log_densities):
    """Fill each component's log density at a point without the constant, and the point's distances from its mean."""
    for j in range(len(offsets)):
        distance = 0.0
        for d in range(points.shape[1]):
            difference[j, d] = points[i, d] - mu[j, d]
            distance += difference[j, d] * difference[j, d] * inverse[j, d]
        log_densities[j] = offsets[j] - 0.5 * distance


@compiled(fastmath=STRICT)
def _allocate(rng, x, offsets, mu, inverse, difference, log_densities, cumulated, z, counts, first, second):
    """Draw z given the components; fill their counts and the sums of distances from their means, and of the squares."""
    k, (n, n_features), of_components = len(offsets), x.shape, log_densities[: len(offsets)]
    counts[:k], first[:k], second[:k] = 0.0, 0.0, 0.0
    for i in range(n):
        _fill_log_densities(x, i, offsets, mu, inverse, difference, of_components)
        j = choose(rng, of_components, cumulated) if k > 1 else 0
        z[i] = j
        counts[j] += 1.0
        for d in range(n_features):
            first[j, d] += difference[j, d]
            second[j, d] += difference[j, d] * difference[j, d]


@compiled(fastmath=STRICT)
def _draw_means(rng, begin, end, counts, first, second, inverse, b0, inverse_B0, mu, squares, shapes):
    """Draw the means of components begin, ..., end - 1; to their blocks' squares and shapes the observations' are added."""
    n_features, (m, n_scales) = mu.shape[1], squares.shape
    precision, pull, moved = np.empty((n_features, n_features)), np.empty(n_features), np.empty(n_features)
    for j in range(begin, end):
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


@compiled(fastmath=STRICT)
def _draw_variances(rng, begin, end, v, C0, squares, shapes, log_variances):
    """Draw variance v of blocks begin, ..., end - 1; the sum of their inverses."""
    total = 0.0
    for block in range(begin, end):
        log_gamma = log_gamma_variate(rng, shapes[block, v])
        log_variances[block, v] = math.log(C0 + 0.5 * max(squares[block, v], 0.0)) - log_gamma
        total += math.exp(-log_variances[block, v])
    return total
