"""The steps of :mod:`bayesgmm.kernels.latent` for rows in groups, which have gaps, errors or both.

True rows are drawn by "conditioning by simulation". In the notation of :mod:`.groups`, with x* ~ N(0, Sigma) and
e* ~ N(0, E), the true row is mu + x* + A (d - x*_o - e*). Its deviation from mu has covariance Sigma - A Sigma_o. and mean
A d.

Functions that add to sums are compiled separately, as :func:`bayesgmm.kernels.latent._add_measured` is.

References
----------
Journel & Huijbregts (1978), Mining Geostatistics, section VII.A. ISBN 978-0-12-391050-9
"""

from __future__ import annotations

import numpy as np
from numba import carray

from bayesgmm.kernels import groups, steps
from bayesgmm.kernels.blocks import HALF_LOG_2PI
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.pointers import at, copy, pointer


def begin(known, spread, offsets, blocks):
    """What depends on the components alone, and scratch; a group is entered at its first observation."""
    k, size = len(offsets), spread.n_features
    roots, covariances, log_w = np.empty((k, size, size)), np.empty((k, size, size)), np.empty(k)
    groups.fill_coefficients(offsets, steps.whiteners_of(spread, k, blocks), roots, covariances, log_w)
    current = np.empty(1, np.int64)
    current[0] = -1
    matrices = np.empty((3, k, size, size))  # C, C^-1 and W of the current group
    vectors = np.empty((k + 3, size))  # C^-1 d of each component, and scratch
    return roots, covariances, log_w, current, matrices, np.empty(k), vectors, np.empty((size, size)), np.ones(size)


def fill_log_densities(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    """Fill log densities of what is observed of one row, and keep C^-1 d of each component."""
    _fill_of_one(known.table, i, mu, room, out)


@compiled(fastmath=STRICT)
def _fill_of_one(table, i, mu, room, out):
    log_w, current, log_determinants = room[2], room[3], room[5]
    _enter_group(table, i, room)
    group = table[current[0]]
    for j in range(len(log_w)):
        distance = _fill_white(group, i, mu, room, j)
        out[j] = log_w[j] - group[2] * HALF_LOG_2PI - log_determinants[j] - 0.5 * distance


@compiled(fastmath=STRICT)
def _enter_group(table, i, room):
    """If observation i begins the next group, make that the current one; i must increase in steps of one."""
    _, covariances, log_w, current, matrices, log_determinants, _, of_errors, unit = room
    if current[0] + 1 < len(table) and i == table[current[0] + 1, 0]:
        current[0] += 1
        group = table[current[0]]
        for j in range(len(log_w)):
            log_determinants[j] = groups.fill_marginal(covariances[j], group, unit, matrices[0, j], matrices[1, j])
            groups.fill_gain(covariances[j], group, matrices[1, j], matrices[2, j])
        groups.fill_root_of_errors(group, of_errors)


@compiled(fastmath=STRICT)
def _fill_white(group, i, mu, room, j):
    """Fill C^-1 d of component j for observation i of the current group; return its squared length."""
    matrices, vectors, size = room[4], room[6], group[2]
    values, distance = carray(pointer(group[3]), (group[1] - group[0], size))[i - group[0]], 0.0
    for a in range(size):
        white = 0.0
        for b in range(a + 1):
            white += matrices[1, j, a, b] * (values[b] - mu[j, group[groups.AHEAD + b]])
        vectors[j, a] = white
        distance += white * white
    return distance


def add(rng, known, spread, i, many, inverse, room, difference, j, sums):
    """Draw and add true rows of the current observation."""
    _add_in_group(rng, known.table, many, room, j, sums)


@compiled(fastmath=STRICT)
def _add_in_group(rng, table, many, room, j, sums):
    """Draw and add ``many`` true rows of the current observation."""
    counts, first, second = sums
    counts[j] += many
    for _ in range(int(many)):
        add_row(_draw_of_group(rng, table, room, j), first[j], second[j])


@compiled(fastmath=STRICT)
def add_row(behind, first, second):
    """Add a deviation to the first and second moments of its component: squares, or the lower triangle of products."""
    size = len(behind)
    for a in range(size):
        first[a] += behind[a]
        if second.size == size:
            carray(at(second), (size,))[a] += behind[a] * behind[a]
        else:
            for b in range(a + 1):
                carray(at(second), (size, size))[a, b] += behind[a] * behind[b]


def draw(rng, known, spread, i, inverse, room, difference, j, out):
    """Draw the true row's deviation from the mean of component j."""
    copy(_draw_of_group(rng, known.table, room, j), out)


@compiled(fastmath=STRICT)
def _draw_of_group(rng, table, room, j):
    """Draw the true row of the current observation, as its deviation from the mean of component j."""
    roots, _, log_w, current, matrices, _, vectors, of_errors, _ = room
    group, k = table[current[0]], len(log_w)
    size, n_features = group[2], roots.shape[1]
    noise, behind, known = vectors[k], vectors[k + 1], vectors[k + 2]
    for d in range(n_features):
        noise[d] = rng.standard_normal()
        behind[d] = 0.0
        for e in range(d + 1):
            behind[d] += roots[j, d, e] * noise[e]
    for a in range(size):
        known[a] = behind[group[groups.AHEAD + a]]
    if group[4] != 0:
        for a in range(size):
            noise[a] = rng.standard_normal()
            for b in range(a + 1):
                known[a] += of_errors[a, b] * noise[b]
    for a in range(size):
        white = vectors[j, a]
        for b in range(a + 1):
            white -= matrices[1, j, a, b] * known[b]
        for d in range(n_features):
            behind[d] += matrices[2, j, a, d] * white
    return behind


@compiled(fastmath=STRICT)
def draw_behind(rng, table, order, room, z, mu, sums):
    """Draw the true rows (n, D) of rows in groups, given their components; replace the sums by those of the new rows."""
    (k, n_features), (_, first, second) = (len(room[2]), mu.shape[1]), sums
    x, current = np.zeros((len(z), n_features)), room[3]
    first[:k], second[:k] = 0.0, 0.0
    for i in range(len(z)):
        _enter_group(table, i, room)
        row, group = order[i], table[current[0]]
        j = z[row]
        if j < 0:
            continue
        _fill_white(group, i, mu, room, j)
        behind = _draw_of_group(rng, table, room, j)
        add_row(behind, first[j], second[j])
        for d in range(n_features):
            x[row, d] = mu[j, d] + behind[d]
    return x


def add_moments(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    """Add mean and mean square of the true row, times a share."""
    _add_moments_of_group(known.table, room, j, mu, share, mean, square)


@compiled(fastmath=STRICT)
def _add_moments_of_group(table, room, j, mu, share, mean, square):
    covariances, current, matrices, vectors = room[1], room[3], room[4], room[6]
    size = table[current[0], 2]
    for d in range(len(mean)):
        value, variance = mu[j, d], covariances[j, d, d]
        for a in range(size):
            value += matrices[2, j, a, d] * vectors[j, a]
            variance -= matrices[2, j, a, d] * matrices[2, j, a, d]
        mean[d] += share * value
        square[d] += share * (value * value + max(variance, 0.0))
