"""Allocations given one draw, kept as sums over components, and new parameters given these sums."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels import latent
from bayesgmm.kernels.allocate import add_known, allocate
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.spread import Factors
from bayesgmm.kernels.steps import blocks_of, draw_blocks, draw_means, prepare
from bayesgmm.kernels.sweeps import draw_share
from bayesgmm.kernels.variates import choose, draw_heavy, draw_weights, log_sum_exp


@compiled(fastmath=STRICT)
def allocate_at(rng, rows, log_w, mu, factors, counts, first, second):
    """Draw z given one draw's parameters; fill the sums of 1, x - mu_k, (x - mu_k)(x - mu_k)' (lower) over each component.

    ``factors`` F (m, D, D) are lower triangular, and F'F are the precisions; m = 1 if all components share one. If
    observations may be noise, the last log weight and the last count are those of noise.
    """
    all_k, (n, size) = len(log_w), rows.x.shape
    k = all_k - rows.noise
    spread = Factors(k, size, len(factors), size * (size + 1) // 2)
    offsets, scratch = np.empty(all_k), (np.empty((k, size)), np.empty((k, size)), np.empty(all_k), np.empty(all_k))
    prepare(spread, log_w[:k], factors, scratch[0], offsets)
    copy(log_w[k:], offsets[k:])
    allocate(rng, rows.known, spread, rows, offsets, mu, factors, scratch, np.empty(n, np.int16), (counts, first, second))


@compiled(fastmath=STRICT)
def complete_at(rng, rows, log_w, mu, factors, out):
    """Draw the true rows (n, D), given that they are not noise; parameters as in :func:`allocate_at`."""
    k, (n, size) = len(log_w) - rows.noise, rows.x.shape
    spread, scratch, room = _begin(rows, log_w, factors)
    cumulated, distance = np.empty(k), np.empty(size)
    for i in range(n):
        log_densities = _log_densities(rows, spread, i, mu, factors, scratch, room)[:k]
        chosen = choose(rng, log_densities, cumulated) if k > 1 else 0
        latent.draw(rng, rows.known, spread, i, scratch[1], room, scratch[2], chosen, distance)
        for d in range(size):
            out[latent.place_of(rows.known, spread, i), d] = mu[chosen, d] + distance[d]


@compiled(fastmath=STRICT)
def expect_at(rows, log_w, mu, factors, mean, square):
    """Fill mean and mean square (n, D) of the true rows, given that they are not noise; see :func:`allocate_at`."""
    spread, scratch, room = _begin(rows, log_w, factors)
    for i in range(len(rows.x)):
        log_densities = _log_densities(rows, spread, i, mu, factors, scratch, room)[: spread.k]
        place, total = latent.place_of(rows.known, spread, i), log_sum_exp(log_densities)
        mean[place], square[place] = 0.0, 0.0
        for j in range(spread.k):
            share = math.exp(log_densities[j] - total)
            latent.add_moments(rows.known, spread, i, scratch[1], room, scratch[2], j, mu, share, mean[place], square[place])


@compiled(fastmath=STRICT)
def _begin(rows, log_w, factors):
    """Return the spread; offsets, inverse variances and scratch; the state of :func:`bayesgmm.kernels.latent.begin`."""
    all_k, size = len(log_w), rows.x.shape[1]
    k = all_k - rows.noise
    spread = Factors(k, size, len(factors), size * (size + 1) // 2)
    scratch = np.empty(all_k), np.empty((k, size)), np.empty((k, size)), np.empty(all_k)
    prepare(spread, log_w[:k], factors, scratch[1], scratch[0])
    copy(log_w[k:], scratch[0][k:])
    return spread, scratch, latent.begin(rows.known, spread, scratch[0][:k], factors)


@compiled(fastmath=STRICT)
def _log_densities(rows, spread, i, mu, factors, scratch, room):
    """Log joint densities of observation i and its label, (K,), or (K + 1,) if it may be noise."""
    offsets, inverse, difference, found = scratch
    k = spread.k
    latent.fill_log_densities(rows.known, spread, rows.x, i, offsets[:k], mu, factors, inverse, room, difference, found[:k])
    add_known(rows, i, offsets, found)
    return found


@compiled(fastmath=STRICT)
def draw_parameters(rng, spread, counts, scales, means, shapes, rates, of_nu, prior, at_spread, out):
    """Draw points (R, n_dim) from one kernel of :mod:`bayesgmm.comparison.proposal`, given its sums.

    The weights, the share of noise and the covariances come from their conditionals, then the means given the covariances.
    log(nu - 1) comes from a scaled Student's t with four degrees of freedom.
    """
    k, n_features = means.shape
    at_noise = at_spread + spread.n_blocks * spread.size
    scratch, offsets, inverse = np.empty(k), np.zeros(k), np.empty((k, n_features))
    log_w, first = np.zeros(k), np.zeros((k, n_features))  # zero, because ``means`` are the observations' own
    for r in range(len(out)):
        draw_weights(rng, counts[:k], prior.alpha, out[r], scratch)
        if len(counts) > k:
            out[r, at_noise] = draw_share(rng, counts, k)
        for j in range(len(of_nu)):
            out[r, at_noise + len(counts) - k + j] = of_nu[j, 0] + of_nu[j, 1] * draw_heavy(rng)
        coordinates = out[r, at_spread:at_noise].reshape(spread.n_blocks, spread.size)
        mu = out[r, k - 1 : k - 1 + means.size]
        blocks = blocks_of(spread, coordinates)
        draw_blocks(rng, spread, 0, spread.n_blocks, rates.copy(), shapes, blocks, coordinates)
        prepare(spread, log_w, blocks, inverse, offsets)
        draw_means(rng, spread, 0, k, scales, first, blocks, inverse, prior, means, mu.reshape(k, n_features))
