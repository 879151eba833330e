"""Gibbs sweeps for every kind of spread: :func:`sweep` keeps K fixed, :func:`telescope` also draws K.

Only sums of the allocations are kept for each component: counts, first and second moments about the means. The few steps
that differ between variances and factors are selected by the type of ``spread`` (:mod:`bayesgmm.kernels.steps`). Blocks are
log variances (m, V), or factors F (m, D, D) with precisions F'F. C0 is (V,) or (D, D).

An observation of weight c has c copies, which are allocated independently. If the weights c_i are not integers, the numbers
of copies m_i are integers near them. With p(x_i) the mixture density, the posterior is then that of the copies times
prod_i p(x_i)^(c_i - m_i). Each step is drawn from its full conditional given the copies, and accepted by the
Metropolis-Hastings ratio of this product. The draws therefore have the exact posterior. ``rest``, c_i - m_i, is None if the
weights are integers. It is a separate argument because numba does not compile branches on an argument that is None.
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels import latent, steps
from bayesgmm.kernels.allocate import allocate
from bayesgmm.kernels.blocks import no_unit
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.number import bring_forward, draw_number
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.points import OF_NOISE, log_weights, share_out
from bayesgmm.kernels.prior import of_component
from bayesgmm.kernels.student import coordinate_of, draw_prior, log_constant, nu_at
from bayesgmm.kernels.sums import fill_sums_of
from bayesgmm.kernels.two_parts import FITTED
from bayesgmm.kernels.variates import (
    draw_log_gammas,
    draw_logit,
    draw_weights,
    log_sum_exp,
    reorder,
    shuffle,
)

_REGROUPED = 0.25  # fraction of telescoping sweeps with a split-merge move, which takes as long as one to four sweeps
_REGROUPED_OF_K = 0.2  # the same fraction for fixed K, where a split needs an empty component


@compiled(fastmath=STRICT)
def sweep(rng, rows, rest, classes, spread, learnt, prior, moves, tables, state, thin, draws):
    """Fill the draws (S, n_dim), one every ``thin`` sweeps, starting from ``state``, which is updated.

    Each sweep begins with ``moves`` moves of :mod:`bayesgmm.kernels.split_merge`. If ``tables`` are given, for fixed K and
    components with the same prior, some sweeps also make a move of :mod:`bayesgmm.kernels.regroup`. The components of a draw
    are in random order within their classes.
    """
    k, (n, n_features) = spread.k, rows.x.shape
    at_C0 = k - 1 + k * n_features
    at_spread = at_C0 + spread.size if learnt else at_C0
    at_noise, noise = at_spread + spread.n_blocks * spread.size, rows.noise
    mu = state[k - 1 : at_C0].reshape(k, n_features)
    at_nu = at_noise + noise
    coordinates, of_noise = state[at_spread:at_noise].reshape(spread.n_blocks, spread.size), state[at_noise:at_nu]
    nu = latent.nu_of(rows.known, spread, k)
    for j in range(len(nu)):
        nu[j] = nu_at(state[at_nu + j])
    old_nu = nu.copy()
    scale, C0, blocks = state[at_C0:at_spread], prior.rate.copy(), steps.blocks_of(spread, coordinates)
    log_w, offsets, log_densities, cumulated = np.empty(k), np.empty(k + noise), np.empty(k + noise), np.empty(k + noise)
    inverse, difference, moved = np.empty((k, n_features)), np.empty((k, n_features)), np.empty((k, n_features))
    if learnt:
        steps.fill_scale(spread, scale, C0[0])
    counts, first, second = np.empty(k + noise), np.empty((k, n_features)), steps.room_for(spread, k, n_features)
    scratch, sums = (inverse, difference, log_densities, cumulated), (counts, first, second)
    rates, shapes = steps.room_for(spread, spread.n_blocks, spread.size), np.empty(spread.n_blocks)
    order, z = np.empty(k, np.int64), np.empty(n, np.int16)
    old_w, old_noise, old_blocks, old_coordinates = np.empty(k - 1), of_noise.copy(), blocks.copy(), coordinates.copy()
    of_rest = 0.0
    for s in range(len(draws)):
        for _ in range(thin):
            steps.divide_anew(rng, spread, rows, learnt, prior, moves, state, scale, C0[0])
            log_weights(state, log_w, prior.held)
            _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
            allocate(rng, rows.known, spread, rows, offsets, mu, blocks, scratch, z, sums)
            if tables is not None and rng.random() < _REGROUPED_OF_K:
                latent.regroup(
                    rng, rows.known, spread, False, rows, k, prior, C0[0], tables, z, mu, blocks, inverse, sums, FITTED
                )
            if rest is not None:
                of_rest = _log_density_of_rest(spread, rows, rest, offsets, mu, blocks)
                copy(state[: k - 1], old_w)
                copy(of_noise, old_noise)
            draw_weights(rng, counts[:k], prior.alpha, state, log_densities)
            if noise:
                of_noise[0] = draw_share(rng, counts, k)
            if rest is not None:
                log_weights(state, log_w, prior.held)
                _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
                proposed = _log_density_of_rest(spread, rows, rest, offsets, mu, blocks)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(old_w, state[: k - 1])
                    copy(old_noise, of_noise)
                    log_weights(state, log_w, prior.held)
                    _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
            scales = latent.scales_of(rows.known, spread, counts)
            steps.draw_means(rng, spread, 0, k, scales, first, blocks, inverse, prior, mu, moved)
            if rest is not None:
                proposed = _log_density_of_rest(spread, rows, rest, offsets, moved, blocks)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(mu, moved)
                copy(blocks, old_blocks)
                copy(coordinates, old_coordinates)
            _begin_blocks(0, spread.n_blocks, prior.c0, C0, rates, shapes)
            steps.move_means(spread, 0, k, counts, scales, first, second, moved, mu, rates, shapes)
            steps.draw_blocks(rng, spread, 0, spread.n_blocks, rates, shapes, blocks, coordinates)
            if rest is not None:
                _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
                proposed = _log_density_of_rest(spread, rows, rest, offsets, mu, blocks)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(old_blocks, blocks)
                    copy(old_coordinates, coordinates)
                copy(nu, old_nu)
            latent.draw_nu(rng, rows.known, spread, counts[:k])
            if rest is not None and len(nu) > 0:
                _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
                if not _is_accepted(rng, _log_density_of_rest(spread, rows, rest, offsets, mu, blocks) - of_rest):
                    copy(old_nu, nu)
            if learnt:
                steps.draw_scale(rng, spread, blocks[: spread.n_blocks], prior, C0[0], scale)
        for j in range(len(nu)):
            state[at_nu + j] = coordinate_of(nu[j])
        shuffle(rng, order, classes)
        reorder(state, order, k, n_features, at_spread, spread.n_blocks, spread.size, at_nu, draws[s])


@compiled(fastmath=STRICT)
def telescope(rng, rows, rest, spread, tied, learnt, prior, tables, state, points, thin, draws, kept):
    """Fill ``draws``, one every ``thin`` sweeps, and ``kept``, starting from ``state``, which is updated.

    These three are described in :mod:`bayesgmm.engines.sweeps`. The ``prior`` is the same for all components. Occupied
    components come first. Empty ones are drawn from the prior after K.
    """
    (n, n_features), exact = rows.x.shape, latent.kind_of_points(rows.known, spread)
    size, log_w, of_noise, nu, mu, blocks, C0 = state
    every, done, kept_z, kept_w, kept_noise, kept_nu, kept_mu, kept_blocks = kept
    most, k, noise, each_C0 = len(log_w), size[0], rows.noise, C0.reshape((1, *C0.shape))
    offsets, log_densities, cumulated = np.empty(most + noise), np.empty(most + noise), np.empty(most + noise)
    probabilities = np.empty(most)
    inverse, difference, moved = np.empty((most, n_features)), np.empty((most, n_features)), np.empty((most, n_features))
    counts, first = np.empty(most + noise), np.empty((most, n_features))
    second = steps.room_for(spread, most, n_features)
    rates, shapes = steps.room_for(spread, len(blocks), spread.size), np.empty(len(blocks))
    scratch, sums = (inverse, difference, log_densities, cumulated), (counts, first, second)
    coordinates, scale = np.empty((len(blocks), spread.size)), np.empty(spread.size)
    places, z, occupied = np.empty(most, np.int64), np.empty(n, np.int16), 0
    of_rest = 0.0
    old_w, old_mu, old_blocks, old_C0, old_k = log_w.copy(), mu.copy(), blocks.copy(), C0.copy(), k
    old_noise, old_nu, allocated = of_noise.copy(), nu.copy(), np.empty(1 + noise)
    for s in range(len(draws.n_components)):
        for _ in range(thin):
            _fill_offsets(spread, log_w[:k], of_noise, blocks, inverse, offsets)
            allocate(rng, rows.known, spread, rows, offsets[: k + noise], mu, blocks, scratch, z, sums)
            if noise:
                allocated[1] = counts[k]
            if rest is None and rng.random() < _REGROUPED:
                k = latent.regroup(
                    rng, rows.known, spread, tied, rows, k, prior, C0, tables, z, mu, blocks, inverse, sums, FITTED
                )
            occupied = bring_forward(counts[:k], places)
            if noise:
                allocated[0] = counts[:k].sum()
            if rest is not None:  # empty components, too, contribute to the density of the rest
                of_rest = _of_rest(spread, rows, rest, log_w[:k], of_noise, mu, blocks, inverse, offsets)
                _copy_components(log_w, mu, blocks, old_w, old_mu, old_blocks)
                copy(nu, old_nu)
                for j in range(k):
                    log_w[places[j]] = old_w[j]
                    if len(nu) > 0:
                        nu[places[j]] = old_nu[j]
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
                    latent.move_scales(rows.known, spread, j, to)
                    if rest is None:
                        if len(nu) > 0:
                            nu[to] = nu[j]
                        copy(mu[j], mu[to])
                        if not tied:
                            copy(blocks[j], blocks[to])
            m = 1 if tied else occupied
            scales = latent.scales_of(rows.known, spread, counts)
            steps.draw_means(rng, spread, 0, occupied, scales, first, blocks, inverse, prior, mu, moved)
            if rest is not None:
                copy(mu[occupied:k], moved[occupied:k])
                copy(blocks, old_blocks)
                proposed = _of_rest(spread, rows, rest, log_w[:k], of_noise, moved, blocks, inverse, offsets)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(mu[:occupied], moved[:occupied])
            _begin_blocks(0, m, prior.c0, each_C0, rates, shapes)
            steps.move_means(spread, 0, occupied, counts, scales, first, second, moved, mu, rates, shapes)
            steps.draw_blocks(rng, spread, 0, m, rates, shapes, blocks, coordinates)
            if rest is not None:
                proposed = _of_rest(spread, rows, rest, log_w[:k], of_noise, mu, blocks, inverse, offsets)
                if _is_accepted(rng, proposed - of_rest):
                    of_rest = proposed
                else:
                    copy(old_blocks[:m], blocks[:m])
                copy(nu, old_nu)
            latent.draw_nu(rng, rows.known, spread, counts[:occupied])
            if rest is not None:
                if len(nu) > 0:
                    proposed = _of_rest(spread, rows, rest, log_w[:k], of_noise, mu, blocks, inverse, offsets)
                    if _is_accepted(rng, proposed - of_rest):
                        of_rest = proposed
                    else:
                        copy(old_nu, nu)
                _copy_components(log_w, mu, blocks, old_w, old_mu, old_blocks)
                copy(of_noise, old_noise)
                copy(nu, old_nu)
                copy(C0, old_C0)
                old_k = k
            if learnt:
                steps.draw_scale(rng, spread, blocks[:m], prior, C0, scale)

            k = draw_number(rng, counts[:occupied], tables, probabilities)
            counts[occupied:k], inverse[occupied:k], first[occupied:k], second[occupied:k] = 0.0, 0.0, 0.0, 0.0
            end = occupied if tied else k
            _begin_blocks(occupied, end, prior.c0, each_C0, rates, shapes)
            steps.draw_blocks(rng, spread, occupied, end, rates, shapes, blocks, coordinates)
            steps.draw_means(rng, spread, occupied, k, counts, first, blocks, inverse, prior, mu, mu)
            for j in range(occupied, k if len(nu) > 0 else 0):
                nu[j] = draw_prior(rng)
            draw_log_gammas(rng, counts[:k], tables.concentrations[k - 1], log_w[:k])
            if noise:
                of_noise[0] = draw_share(rng, allocated, 1)
            if rest is not None:
                proposed = _of_rest(spread, rows, rest, log_w[:k], of_noise, mu, blocks, inverse, offsets)
                if not _is_accepted(rng, proposed - of_rest):
                    k = old_k
                    copy(old_noise, of_noise)
                    copy(old_nu, nu)
                    _copy_components(old_w, old_mu, old_blocks, log_w, mu, blocks)
                    copy(old_C0, C0)
                probabilities[:] = 0.0
                probabilities[k - 1] = 1.0
            for b in range(most):
                draws.p_k[s, b] += probabilities[b] / thin
            draws.p_occupied[s, occupied - 1] += 1.0 / thin
        size[0], draws.n_components[s], draws.occupied[s] = k, k, occupied
        steps.keep_scale(spread, C0, draws.scale[s])
        steps.prepare(spread, log_w[:k], blocks, inverse, offsets)
        log_total = log_sum_exp(log_w[:k])
        room = latent.begin(exact, spread, offsets[:k], blocks)
        for i in range(len(points)):
            latent.fill_log_densities(
                exact, spread, points, i, offsets[:k], mu, blocks, inverse, room, difference, log_densities
            )
            draws.log_density[s, i] = log_sum_exp(log_densities[:k]) - log_total
        if (s + done) % every == 0:
            a = (s + done) // every
            if rest is not None:  # z given the new components, also of observations without a copy
                _fill_offsets(spread, log_w[:k], of_noise, blocks, inverse, offsets)
                allocate(rng, rows.known, spread, rows, offsets[: k + noise], mu, blocks, scratch, z, sums)
            for i in range(n):
                kept_z[a, i] = z[i] if rest is not None or z[i] < 0 else places[z[i]]
            copy(of_noise, kept_noise[a])
            for j in range(k):
                kept_w[a, j] = math.exp(log_w[j] - log_total)
                if len(nu) > 0:
                    kept_nu[a, j] = nu[j]
                copy(mu[j], kept_mu[a, j])
                if j < len(kept_blocks[a]):
                    copy(blocks[j], kept_blocks[a, j])


@compiled(fastmath=STRICT)
def draw_share(rng, counts, k):
    """Draw the logit of the share of noise, given the counts of K components and, last, of noise."""
    return draw_logit(rng, OF_NOISE[0] + counts[k], OF_NOISE[1] + counts[:k].sum())


@compiled(fastmath=STRICT)
def _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets):
    """As :func:`bayesgmm.kernels.steps.prepare`; ``of_noise``, unless empty, holds the logit of the share of noise."""
    k = len(log_w)
    steps.prepare(spread, log_w, blocks, inverse, offsets)
    if len(of_noise) > 0:
        log_total = log_sum_exp(log_w)
        for j in range(k):
            offsets[j] -= log_total
        share_out(of_noise[0], k, offsets)


@compiled(fastmath=STRICT)
def _log_density_of_rest(spread, rows, rest, offsets, mu, blocks):
    """Log of prod_i p(x_i)^(c_i - m_i), up to a constant: the likelihood divided by that of the copies."""
    k, n_features = len(offsets) - rows.noise, rows.x.shape[1]
    h, unit, nu = steps.whiteners_of(spread, k, blocks), no_unit(n_features), latent.nu_of(rows.known, spread, k)
    sums, c = (np.empty(len(offsets)), np.empty((k, n_features)), np.empty(h.shape)), offsets.copy()
    for j in range(len(nu)):
        c[j] += log_constant(nu[j], n_features)
    tails = np.empty((2, len(nu)))
    return fill_sums_of(rows.sums, rows.x, rest, rows.log_labels, rows.at_known, *unit, c, mu[:k], h, nu, *sums, tails)


@compiled(fastmath=STRICT)
def _of_rest(spread, rows, rest, log_w, of_noise, mu, blocks, inverse, offsets):
    """As :func:`_log_density_of_rest`, from log weights that are known up to a constant."""
    k = len(log_w)
    _fill_offsets(spread, log_w, of_noise, blocks, inverse, offsets)
    value = _log_density_of_rest(spread, rows, rest, offsets[: k + len(of_noise)], mu, blocks)
    return value if len(of_noise) > 0 else value - log_sum_exp(log_w) * rest.sum()


@compiled(fastmath=STRICT, inline=True)
def _copy_components(log_w, mu, blocks, to_w, to_mu, to_blocks):
    copy(log_w, to_w)
    copy(mu, to_mu)
    copy(blocks, to_blocks)


@compiled(fastmath=STRICT, inline=True)
def _is_accepted(rng, log_ratio):
    return -rng.standard_exponential() < log_ratio


@compiled(fastmath=STRICT, inline=True)
def _begin_blocks(begin, end, c0, C0, rates, shapes):
    """Fill shapes and rates of blocks begin, ..., end - 1 with those of the prior."""
    for block in range(begin, end):
        copy(of_component(C0, block), rates[block])
        shapes[block] = of_component(c0, block)
