"""Sweeps of Gibbs sampling, for every kind of spread: :func:`sweep` keeps K, :func:`telescope` draws it too.

Of the allocations only the sums over each component are kept: counts, first and second moments about the means. What differs
between variances and factors are a few steps, chosen by the type of the spread (:mod:`bayesgmm.kernels.spread`). Blocks are
log variances (m, V), or factors F (m, D, D) with F'F the precisions; C0 is (V,), or (D, D).

An observation of weight c has c copies, each allocated by itself. Where weights c_i are no integers there are whole numbers
m_i of copies near them, and with p(x_i) the density of the mixture the posterior is that of the copies times
prod_i p(x_i)^(c_i - m_i). Each step is drawn from its full conditional given the copies, and accepted with the ratio of the
second factor after and before it (Metropolis & Hastings), so that the draws are those of the posterior itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesgmm.kernels import split_merge
from bayesgmm.kernels.blocks import no_unit
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.estep import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.factors import add_gram, fill_factor
from bayesgmm.kernels.number import bring_forward, draw_number
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.points import log_weights
from bayesgmm.kernels.spread import for_each_kind
from bayesgmm.kernels.sums import fill_sums_of
from bayesgmm.kernels.variates import (
    choose,
    draw_log_gammas,
    draw_normal,
    draw_weights,
    draw_wishart_factor,
    log_gamma_variate,
    log_sum_exp,
    reorder,
    shuffle,
)


@compiled(fastmath=STRICT)
def sweep(rng, rows, classes, spread, learnt, hyper, b0, inverse_B0, rate, moves, state, thin, draws):
    """Fill the draws (S, n_dim), each ``thin`` sweeps after the one before, from a state, which moves along.

    ``hyper`` holds alpha, c0 and g0; before each sweep there are so many moves of :mod:`bayesgmm.kernels.split_merge`. The
    components of a draw stand in a random order within their classes.
    """
    k, (n, n_features) = spread.k, rows.x.shape
    alpha, c0, g0 = hyper[0], hyper[1], hyper[2]
    at_C0 = k - 1 + k * n_features
    at_spread = at_C0 + spread.size if learnt else at_C0
    mu, coordinates = state[k - 1 : at_C0].reshape(k, n_features), state[at_spread:].reshape(spread.n_blocks, spread.size)
    scale, C0, blocks = state[at_C0:at_spread], rate.copy(), blocks_of(spread, coordinates)
    log_w, offsets, log_densities, cumulated = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    inverse, difference, moved = np.empty((k, n_features)), np.empty((k, n_features)), np.empty((k, n_features))
    if learnt:
        fill_scale(spread, scale, C0)
    counts, first, second = np.empty(k), np.empty((k, n_features)), moments_for(spread, k)
    scratch, sums = (inverse, difference, log_densities, cumulated), (counts, first, second)
    rates, shapes = rates_for(spread, spread.n_blocks), np.empty(spread.n_blocks)
    order, z, fractional = np.empty(k, np.int64), np.empty(n, np.int16), len(rows.rest) > 0
    old_w, old_blocks, old_coordinates, of_rest = np.empty(k - 1), blocks.copy(), coordinates.copy(), 0.0
    for s in range(len(draws)):
        for _ in range(thin):
            divide_anew(rng, spread, rows, learnt, hyper, b0, inverse_B0, rate, moves, state, scale, C0)
            log_weights(state, log_w)
            prepare(spread, log_w, blocks, inverse, offsets)
            allocate(rng, spread, rows, offsets, mu, blocks, scratch, z, sums)
            if fractional:
                of_rest = _log_density_of_rest(spread, rows, offsets, mu, blocks)
                copy(state[: k - 1], old_w)
            draw_weights(rng, counts, alpha, state, log_densities)
            if fractional:
                log_weights(state, log_w)
                prepare(spread, log_w, blocks, inverse, offsets)
                proposed = _log_density_of_rest(spread, rows, offsets, mu, blocks)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(old_w, state[: k - 1])
                    log_weights(state, log_w)
                    prepare(spread, log_w, blocks, inverse, offsets)
            draw_means(rng, spread, 0, k, counts, first, blocks, inverse, b0, inverse_B0, mu, moved)
            if fractional:
                proposed = _log_density_of_rest(spread, rows, offsets, moved, blocks)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(mu, moved)
                copy(blocks, old_blocks)
                copy(coordinates, old_coordinates)
            _begin_blocks(0, spread.n_blocks, c0, C0, rates, shapes)
            move_means(spread, 0, k, counts, first, second, moved, mu, rates, shapes)
            draw_blocks(rng, spread, 0, spread.n_blocks, rates, shapes, blocks, coordinates)
            if fractional:
                prepare(spread, log_w, blocks, inverse, offsets)
                proposed = _log_density_of_rest(spread, rows, offsets, mu, blocks)
                if not _is_accepted(rng, proposed - of_rest):
                    copy(old_blocks, blocks)
                    copy(old_coordinates, coordinates)
            if learnt:
                draw_scale(rng, spread, blocks[: spread.n_blocks], c0, g0, rate, C0, scale)
        shuffle(rng, order, classes)
        reorder(state, order, k, n_features, at_spread, spread.size, draws[s])


@compiled(fastmath=STRICT)
def telescope(rng, rows, spread, tied, learnt, hyper, b0, inverse_B0, rate, tables, state, points, thin, draws, kept):
    """Fill the draws, each ``thin`` sweeps after the one before, from a state, which moves along: ``Draws`` says which.

    ``hyper`` holds c0 and g0. Components that are occupied stand first; those that are not are drawn from the prior once K
    is known.
    """
    n, n_features = rows.x.shape
    c0, g0 = hyper[0], hyper[1]
    size, log_w, mu, blocks, C0 = state
    every, done, kept_z, kept_w, kept_mu, kept_blocks = kept
    most, k = len(log_w), size[0]
    offsets, log_densities, cumulated, probabilities = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    inverse, difference, moved = np.empty((most, n_features)), np.empty((most, n_features)), np.empty((most, n_features))
    counts, first, second = np.empty(most), np.empty((most, n_features)), moments_for(spread, most)
    rates, shapes = rates_for(spread, len(blocks)), np.empty(len(blocks))
    scratch, sums = (inverse, difference, log_densities, cumulated), (counts, first, second)
    coordinates, scale = np.empty((len(blocks), spread.size)), np.empty(spread.size)
    places, z, occupied = np.empty(most, np.int64), np.empty(n, np.int16), 0
    fractional, of_rest = len(rows.rest) > 0, 0.0
    old_w, old_mu, old_blocks, old_C0, old_k = log_w.copy(), mu.copy(), blocks.copy(), C0.copy(), k
    for s in range(len(draws.n_components)):
        for _ in range(thin):
            prepare(spread, log_w[:k], blocks, inverse, offsets)
            allocate(rng, spread, rows, offsets[:k], mu, blocks, scratch, z, sums)
            occupied = bring_forward(counts[:k], places)
            if fractional:  # what is not occupied says something of the rest
                of_rest = _of_rest(spread, rows, log_w[:k], mu, blocks, inverse, offsets)
                _copy_components(log_w, mu, blocks, old_w, old_mu, old_blocks)
                for j in range(k):
                    log_w[places[j]] = old_w[j]
                    copy(old_mu[j], mu[places[j]])
                    if not tied:
                        copy(old_blocks[j], blocks[places[j]])
            for j in range(k):
                to = places[j]
                if to < min(j, occupied):
                    counts[to] = counts[j]
                    copy(inverse[j], inverse[to])
                    copy(first[j], first[to])
                    copy(second[j], second[to])
                    if not fractional:
                        copy(mu[j], mu[to])
                        if not tied:
                            copy(blocks[j], blocks[to])
            m = 1 if tied else occupied
            draw_means(rng, spread, 0, occupied, counts, first, blocks, inverse, b0, inverse_B0, mu, moved)
            if fractional:
                copy(mu[occupied:k], moved[occupied:k])
                copy(blocks, old_blocks)
                proposed = _of_rest(spread, rows, log_w[:k], moved, blocks, inverse, offsets)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(mu[:occupied], moved[:occupied])
            _begin_blocks(0, m, c0, C0, rates, shapes)
            move_means(spread, 0, occupied, counts, first, second, moved, mu, rates, shapes)
            draw_blocks(rng, spread, 0, m, rates, shapes, blocks, coordinates)
            if fractional:
                proposed = _of_rest(spread, rows, log_w[:k], mu, blocks, inverse, offsets)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(old_blocks[:m], blocks[:m])
                _copy_components(log_w, mu, blocks, old_w, old_mu, old_blocks)
                copy(C0, old_C0)
                old_k = k
            if learnt:
                draw_scale(rng, spread, blocks[:m], c0, g0, rate, C0, scale)

            k = draw_number(rng, counts[:occupied], tables, probabilities)
            counts[occupied:k], inverse[occupied:k], first[occupied:k], second[occupied:k] = 0.0, 0.0, 0.0, 0.0
            end = occupied if tied else k
            _begin_blocks(occupied, end, c0, C0, rates, shapes)
            draw_blocks(rng, spread, occupied, end, rates, shapes, blocks, coordinates)
            draw_means(rng, spread, occupied, k, counts, first, blocks, inverse, b0, inverse_B0, mu, mu)
            draw_log_gammas(rng, counts[:k], tables.concentrations[k - 1], log_w[:k])
            if fractional:
                proposed = _of_rest(spread, rows, log_w[:k], mu, blocks, inverse, offsets)
                if not _is_accepted(rng, proposed - of_rest):
                    k = old_k
                    _copy_components(old_w, old_mu, old_blocks, log_w, mu, blocks)
                    copy(old_C0, C0)
                probabilities[:] = 0.0
                probabilities[k - 1] = 1.0
            for b in range(most):
                draws.p_k[s, b] += probabilities[b] / thin
            draws.p_occupied[s, occupied - 1] += 1.0 / thin
        size[0], draws.n_components[s], draws.occupied[s] = k, k, occupied
        keep_scale(spread, C0, draws.scale[s])
        prepare(spread, log_w[:k], blocks, inverse, offsets)
        log_total = log_sum_exp(log_w[:k])
        for i in range(len(points)):
            fill_log_densities(spread, points, i, offsets[:k], mu, blocks, inverse, difference, log_densities)
            draws.log_density[s, i] = log_sum_exp(log_densities[:k]) - log_total - n_features * HALF_LOG_2PI
        if (s + done) % every == 0:
            a = (s + done) // every
            if fractional:  # of an observation that has no copy, too, among the components as they are now
                allocate(rng, spread, rows, offsets[:k], mu, blocks, scratch, z, sums)
            for i in range(n):
                kept_z[a, i] = z[i] if fractional else places[z[i]]
            for j in range(k):
                kept_w[a, j] = math.exp(log_w[j] - log_total)
                copy(mu[j], kept_mu[a, j])
                if j < len(kept_blocks[a]):
                    copy(blocks[j], kept_blocks[a, j])


@compiled(fastmath=STRICT)
def allocate(rng, spread, rows, offsets, mu, blocks, scratch, z, sums):
    """Draw z given the components; fill their counts and the sums of distances from their means, and of the products.

    The copies of an observation are allocated independently; z is that of the first of them.
    """
    inverse, difference, log_densities, cumulated = scratch
    counts, first, second = sums
    k, (n, n_features), of_components = len(offsets), rows.x.shape, log_densities[: len(offsets)]
    weighted, labelled = len(rows.copies) > 0, len(rows.log_labels) > 0
    counts[:k], first[:k], second[:k] = 0.0, 0.0, 0.0
    for i in range(n):
        fill_log_densities(spread, rows.x, i, offsets, mu, blocks, inverse, difference, of_components)
        if labelled:
            for j in range(k):
                of_components[j] += rows.log_labels[j, i]
        j = choose(rng, of_components, cumulated) if k > 1 else 0
        z[i] = j
        if weighted and rows.copies[i] != 1.0:
            _allocate_copies(rng, spread, rows.copies[i], j, cumulated[:k], difference, sums)
            continue
        counts[j] += 1.0
        for d in range(n_features):
            first[j, d] += difference[j, d]
        add_products(spread, 1.0, difference[j], second[j])


@compiled(fastmath=STRICT, inline=True)
def _allocate_copies(rng, spread, copies, chosen, cumulated, difference, sums):
    """Add the copies of an observation, the first of which is allocated, to the sums; ``cumulated`` says where it may go."""
    counts, first, second = sums
    left = np.int64(copies) - 1
    if left < 0:
        return
    for j in range(len(cumulated) - 1, -1, -1):
        here = left
        if j > 0 and left > 0:
            share = 1.0 - cumulated[j - 1] / cumulated[j] if cumulated[j] > 0.0 else 0.0
            here = rng.binomial(left, min(max(share, 0.0), 1.0))
        left -= here
        many = float(here + (j == chosen))
        if many > 0.0:
            counts[j] += many
            for d in range(first.shape[1]):
                first[j, d] += many * difference[j, d]
            add_products(spread, many, difference[j], second[j])


@compiled(fastmath=STRICT)
def _log_density_of_rest(spread, rows, offsets, mu, blocks):
    """What is left of the likelihood when whole counts have been allocated, up to a constant."""
    k, n_features = len(offsets), rows.x.shape[1]
    h, unit = whiteners_of(spread, k, blocks), no_unit(n_features)
    sums = np.empty(k), np.empty((k, n_features)), np.empty(h.shape)
    return fill_sums_of(rows.sums, rows.x, rows.rest, rows.log_labels, *unit, offsets, mu[:k], h, *sums)


@compiled(fastmath=STRICT)
def _of_rest(spread, rows, log_w, mu, blocks, inverse, offsets):
    """The same of components whose weights are known up to a constant."""
    k = len(log_w)
    prepare(spread, log_w, blocks, inverse, offsets)
    return _log_density_of_rest(spread, rows, offsets[:k], mu, blocks) - log_sum_exp(log_w) * rows.rest.sum()


@compiled(fastmath=STRICT, inline=True)
def _copy_components(log_w, mu, blocks, to_w, to_mu, to_blocks):
    copy(log_w, to_w)
    copy(mu, to_mu)
    copy(blocks, to_blocks)


@compiled(fastmath=STRICT, inline=True)
def _is_accepted(rng, log_ratio):
    return -rng.standard_exponential() < log_ratio


def blocks_of(spread: Any, coordinates: Any) -> Any:
    """The blocks whose coordinates these are; of variances the same array."""


def moments_for(spread: Any, k: Any) -> Any:
    """Room for the second moments of K components."""


def whiteners_of(spread: Any, k: Any, blocks: Any) -> Any:
    """H of K components, as the E-step takes it."""


def rates_for(spread: Any, m: Any) -> Any:
    """Room for what is added to C0 in the rates of m blocks' conditionals."""


def fill_scale(spread: Any, scale: Any, C0: Any) -> Any:
    """Fill C0 from its coordinates."""


def keep_scale(spread: Any, C0: Any, out: Any) -> Any:
    """C0 in a row: of a matrix the lower triangle."""


def prepare(spread: Any, log_w: Any, blocks: Any, inverse: Any, offsets: Any) -> Any:
    """Fill each component's log density at its mean without the constant; of variances the inverses, too."""


def fill_log_densities(
    spread: Any, points: Any, i: Any, offsets: Any, mu: Any, blocks: Any, inverse: Any, difference: Any, out: Any
) -> Any:
    """Fill each component's log density at a point without the constant, and the point's distances from its mean."""


def add_products(spread: Any, many: Any, difference: Any, second: Any) -> Any:
    """Add so many observations' distances from a mean to the second moments of their component."""


def divide_anew(
    rng: Any, spread: Any, rows: Any, learnt: Any, hyper: Any, b0: Any, inverse_B0: Any, rate: Any, moves: Any, state: Any,
    scale: Any, C0: Any,
) -> Any:  # fmt: skip
    """So many moves that divide components anew: of one feature, with own variances."""


@compiled(fastmath=STRICT, inline=True)
def _begin_blocks(begin, end, c0, C0, rates, shapes):
    """The prior's part of shapes and rates of blocks begin, ..., end - 1."""
    for block in range(begin, end):
        copy(C0, rates[block])
        shapes[block] = c0


def draw_means(
    rng: Any, spread: Any, begin: Any, end: Any, counts: Any, first: Any, blocks: Any, inverse: Any, b0: Any,
    inverse_B0: Any, mu: Any, moved: Any,
) -> Any:  # fmt: skip
    """Draw the means of components begin, ..., end - 1, to be found in ``moved``."""


def move_means(
    spread: Any, begin: Any, end: Any, counts: Any, first: Any, second: Any, moved: Any, mu: Any, rates: Any, shapes: Any
) -> Any:
    """Replace the means by those moved; to their blocks' rates and shapes the observations' about these are added."""


def draw_blocks(rng: Any, spread: Any, begin: Any, end: Any, rates: Any, shapes: Any, blocks: Any, coordinates: Any) -> Any:
    """Draw blocks begin, ..., end - 1, whose coordinates are filled, too."""


def draw_scale(rng: Any, spread: Any, blocks: Any, c0: Any, g0: Any, rate: Any, C0: Any, scale: Any) -> Any:
    """Draw C0 given the blocks, and fill its coordinates."""


def _blocks_of_variances(spread, coordinates):
    return coordinates


def _blocks_of_factors(spread, coordinates):
    factors = np.empty((spread.n_blocks, spread.n_features, spread.n_features))
    for block in range(spread.n_blocks):
        fill_factor(coordinates[block], factors[block])
    return factors


def _moments_for_variances(spread, k):
    return np.empty((k, spread.n_features))


def _moments_for_factors(spread, k):
    return np.empty((k, spread.n_features, spread.n_features))


def _whiteners_of_variances(spread, k, blocks):
    h = np.empty((k, spread.n_features, 1))
    for j in range(k):
        for d in range(spread.n_features):
            h[j, d, 0] = ROOT_HALF * math.exp(-0.5 * blocks[j if len(blocks) > 1 else 0, d if spread.size > 1 else 0])
    return h


def _whiteners_of_factors(spread, k, blocks):
    h = np.empty((k, spread.n_features, spread.n_features))
    for j in range(k):
        for a in range(spread.n_features):
            for b in range(spread.n_features):
                h[j, a, b] = ROOT_HALF * blocks[j if len(blocks) > 1 else 0, a, b]
    return h


def _rates_for_variances(spread, m):
    return np.empty((m, spread.size))


def _rates_for_factors(spread, m):
    return np.empty((m, spread.n_features, spread.n_features))


def _fill_scale_of_variances(spread, scale, C0):
    for v in range(spread.size):
        C0[v] = math.exp(scale[v])


def _fill_scale_of_factors(spread, scale, C0):
    factor = np.empty(C0.shape)
    fill_factor(scale, factor)
    C0[:] = 0.0
    add_gram(factor, C0)


def _keep_scale_of_variances(spread, C0, out):
    copy(C0, out)


def _keep_scale_of_factors(spread, C0, out):
    at = 0
    for a in range(spread.n_features):
        for b in range(a + 1):
            out[at] = C0[a, b]
            at += 1


def _prepare_variances(spread, log_w, blocks, inverse, offsets):
    for j in range(len(log_w)):
        offsets[j] = log_w[j]
        for d in range(spread.n_features):
            log_variance = blocks[j if len(blocks) > 1 else 0, d if spread.size > 1 else 0]
            inverse[j, d] = math.exp(-log_variance)
            offsets[j] -= 0.5 * log_variance


def _prepare_factors(spread, log_w, blocks, inverse, offsets):
    for j in range(len(log_w)):
        offsets[j] = log_w[j]
        for a in range(spread.n_features):
            offsets[j] += math.log(blocks[j if len(blocks) > 1 else 0, a, a])


def _fill_log_densities_of_variances(spread, points, i, offsets, mu, blocks, inverse, difference, out):
    for j in range(len(offsets)):
        distance = 0.0
        for d in range(points.shape[1]):
            difference[j, d] = points[i, d] - mu[j, d]
            distance += difference[j, d] * difference[j, d] * inverse[j, d]
        out[j] = offsets[j] - 0.5 * distance


def _fill_log_densities_of_factors(spread, points, i, offsets, mu, blocks, inverse, difference, out):
    for j in range(len(offsets)):
        factor, distance = blocks[j if len(blocks) > 1 else 0], 0.0
        for a in range(points.shape[1]):
            difference[j, a] = points[i, a] - mu[j, a]
            whitened = 0.0
            for b in range(a + 1):
                whitened += factor[a, b] * difference[j, b]
            distance += whitened * whitened
        out[j] = offsets[j] - 0.5 * distance


def _add_squares(spread, many, difference, second):
    for d in range(len(difference)):
        second[d] += many * difference[d] * difference[d]


def _add_products(spread, many, difference, second):
    for a in range(len(difference)):
        for b in range(a + 1):
            second[a, b] += many * difference[a] * difference[b]


def _divide_anew(rng, spread, rows, learnt, hyper, b0, inverse_B0, rate, moves, state, scale, C0):
    if moves > 0:
        split_merge.move(rng, rows, spread.k, learnt, hyper, b0, inverse_B0, rate, moves, state)
        if learnt:
            C0[0] = math.exp(scale[0])


def _divide_nothing(rng, spread, rows, learnt, hyper, b0, inverse_B0, rate, moves, state, scale, C0):
    return


def _draw_means_given_variances(rng, spread, begin, end, counts, first, blocks, inverse, b0, inverse_B0, mu, moved):
    n_features = mu.shape[1]
    precision, pull = np.empty((n_features, n_features)), np.empty(n_features)
    for j in range(begin, end):
        for d in range(n_features):
            pull[d] = inverse[j, d] * (first[j, d] + counts[j] * mu[j, d])
            for e in range(n_features):
                precision[d, e] = inverse_B0[d, e]
                pull[d] += inverse_B0[d, e] * b0[e]
            precision[d, d] += counts[j] * inverse[j, d]
        draw_normal(rng, precision, pull, moved[j])


def _draw_means_given_factors(rng, spread, begin, end, counts, first, blocks, inverse, b0, inverse_B0, mu, moved):
    m, size = len(blocks), mu.shape[1]
    own, precision, pull = np.empty((size, size)), np.empty((size, size)), np.empty(size)
    for j in range(begin, end):
        own[:] = 0.0
        add_gram(blocks[j if m > 1 else 0], own)
        for a in range(size):
            pull[a] = 0.0
            for b in range(size):
                precision[a, b] = inverse_B0[a, b] + counts[j] * own[a, b]
                pull[a] += inverse_B0[a, b] * b0[b] + own[a, b] * (first[j, b] + counts[j] * mu[j, b])
        draw_normal(rng, precision, pull, moved[j])


def _move_means_and_variances(spread, begin, end, counts, first, second, moved, mu, rates, shapes):
    n_features = mu.shape[1]
    for j in range(begin, end):
        block = j if len(rates) > 1 else 0
        for d in range(n_features):
            step = moved[j, d] - mu[j, d]
            about = second[j, d] - 2.0 * step * first[j, d] + counts[j] * step * step
            rates[block, d if spread.size > 1 else 0] += 0.5 * max(about, 0.0)
            mu[j, d] = moved[j, d]
        shapes[block] += 0.5 * counts[j] * (n_features / spread.size)


def _move_means_and_factors(spread, begin, end, counts, first, second, moved, mu, rates, shapes):
    size = mu.shape[1]
    step = np.empty(size)
    for j in range(begin, end):
        block = j if len(rates) > 1 else 0
        for a in range(size):
            step[a] = moved[j, a] - mu[j, a]
            mu[j, a] = moved[j, a]
        for a in range(size):
            for b in range(a + 1):
                about = second[j, a, b] - step[a] * first[j, b] - first[j, a] * step[b] + counts[j] * step[a] * step[b]
                rates[block, a, b] += 0.5 * about
        shapes[block] += 0.5 * counts[j]


def _draw_variances(rng, spread, begin, end, rates, shapes, blocks, coordinates):
    for block in range(begin, end):
        for v in range(spread.size):
            blocks[block, v] = math.log(rates[block, v]) - log_gamma_variate(rng, shapes[block])


def _draw_factors(rng, spread, begin, end, rates, shapes, blocks, coordinates):
    for block in range(begin, end):
        draw_wishart_factor(rng, shapes[block], rates[block], blocks[block], coordinates[block])


def _draw_scale_of_variances(rng, spread, blocks, c0, g0, rate, C0, scale):
    for v in range(spread.size):
        total = 0.0
        for block in range(len(blocks)):
            total += math.exp(-blocks[block, v])
        scale[v] = log_gamma_variate(rng, g0 + len(blocks) * c0) - math.log(rate[v] + total)
        C0[v] = math.exp(scale[v])


def _draw_scale_of_factors(rng, spread, blocks, c0, g0, rate, C0, scale):
    total, factor = rate.copy(), np.empty(rate.shape)
    for block in range(len(blocks)):
        add_gram(blocks[block], total)
    draw_wishart_factor(rng, g0 + len(blocks) * c0, total, factor, scale)
    C0[:] = 0.0
    add_gram(factor, C0)


for_each_kind(blocks_of, _blocks_of_variances, _blocks_of_factors)
for_each_kind(moments_for, _moments_for_variances, _moments_for_factors)
for_each_kind(whiteners_of, _whiteners_of_variances, _whiteners_of_factors)
for_each_kind(rates_for, _rates_for_variances, _rates_for_factors)
for_each_kind(fill_scale, _fill_scale_of_variances, _fill_scale_of_factors)
for_each_kind(keep_scale, _keep_scale_of_variances, _keep_scale_of_factors)
for_each_kind(prepare, _prepare_variances, _prepare_factors)
for_each_kind(fill_log_densities, _fill_log_densities_of_variances, _fill_log_densities_of_factors, inline=True)
for_each_kind(add_products, _add_squares, _add_products, inline=True)
for_each_kind(divide_anew, _divide_anew, _divide_nothing, inline=True)
for_each_kind(move_means, _move_means_and_variances, _move_means_and_factors)
for_each_kind(draw_means, _draw_means_given_variances, _draw_means_given_factors)
for_each_kind(draw_blocks, _draw_variances, _draw_factors)
for_each_kind(draw_scale, _draw_scale_of_variances, _draw_scale_of_factors)
