"""Allocations drawn given the components, of which the sums are kept that sweeps and evidence ask for."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.kernels import latent, steps
from bayesgmm.kernels.blocks import no_unit
from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.multivariate import add_moments, deviate, fill_joint, standardise, width_of_block
from bayesgmm.kernels.variates import choose


def allocate(
    rng: Any, known: Any, spread: Any, rows: Any, offsets: Any, mu: Any, blocks: Any, scratch: Any, z: Any, sums: Any
) -> Any:  # fmt: skip
    """Draw z given the components; fill their counts and the sums of distances from their means, and of the products.

    The copies of an observation are allocated independently; z is that of the first of them. Of values that are not known
    as they are the sums are of those behind them, which are drawn, too. Where observations may be noise, the last of the
    offsets is the logarithm of its share, and z is -1 of one that is.
    """


def _of_variances(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    counts, first, second = sums
    matrices, k = second.reshape(len(second), spread.n_features, 1), len(offsets) - rows.noise
    h = steps.whiteners_of(spread, k, blocks)
    _allocate_blocks(rng, rows, offsets, mu[:k], h, scratch[3], z, counts, first, matrices)


def _of_factors(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    counts, first, second = sums
    k = len(offsets) - rows.noise
    h = steps.whiteners_of(spread, k, blocks)
    _allocate_blocks(rng, rows, offsets, mu[:k], h, scratch[3], z, counts, first, second)


def _each_of_them(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    _allocate_each(rng, spread, rows, offsets, mu, blocks, scratch, z, sums)


@compiled(fastmath=SUMS, forceinline=True)
def _allocate_blocks(rng, rows, offsets, mu, h, many, z, counts, first, second):
    """Of observations known as they are, a block at a time, features first."""
    n, all_k, (k, n_features) = len(rows.x), len(offsets), mu.shape
    width, (shift, inverse_scale) = width_of_block(n_features, all_k), no_unit(n_features)
    x, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    shares = np.empty((all_k, width))
    y, top, total, chosen = np.empty(width), np.empty(width), np.empty(width), np.empty(width)
    _clear(counts, first, second, k, all_k)
    for begin in range(0, n, width):
        m = min(width, n - begin)
        standardise(rows.x[begin : begin + m], shift, inverse_scale, x)
        fill_joint(x, rows.log_labels[:, begin : begin + m], offsets, mu, h, deviation, y, shares, top, total, m)
        for j in range(1, all_k):
            for i in range(m):
                shares[j, i] += shares[j - 1, i]
        for i in range(m if all_k > 1 else 0):
            top[i] = rng.random() * shares[all_k - 1, i]
        for i in range(m):
            chosen[i] = 0.0
        for j in range(all_k - 1):
            for i in range(m):
                chosen[i] += 1.0 if top[i] >= shares[j, i] else 0.0
        for i in range(m):
            z[begin + i] = np.int16(chosen[i]) if chosen[i] < k else -1
        if len(rows.copies) > 0:
            for i in range(m):
                for j in range(all_k):
                    many[j] = shares[j, i]
                _divide_copies(rng, rows.copies[begin + i], np.int64(chosen[i]), many[:all_k])
                for j in range(all_k):
                    shares[j, i] = many[j]
        else:
            for j in range(all_k):
                for i in range(m):
                    shares[j, i] = 1.0 if chosen[i] == j else 0.0
        for j in range(all_k):
            allocated, zeroth = shares[j], 0.0
            for i in range(m):
                zeroth += allocated[i]
            counts[j] += zeroth
            if j < k and zeroth > 0.0:
                deviate(x, mu[j], deviation, m)
                add_moments(allocated, deviation, y, first[j], second[j], m)


@compiled(fastmath=STRICT)
def _allocate_each(rng, spread, rows, offsets, mu, blocks, scratch, z, sums):
    """Of observations behind which there are others, one after the other."""
    inverse, difference, log_densities, cumulated = scratch
    all_k, n, of_all = len(offsets), len(rows.x), log_densities[: len(offsets)]
    k = all_k - rows.noise
    weighted, known, of_components = len(rows.copies) > 0, rows.known, of_all[:k]
    more_is_known = rows.noise > 0 or len(rows.log_labels) > 0
    _clear(*sums, k, all_k)
    room = latent.begin(known, spread, offsets[:k], blocks)
    for i in range(n):
        latent.fill_log_densities(
            known, spread, rows.x, i, offsets[:k], mu, blocks, inverse, room, difference, of_components
        )
        if more_is_known:
            add_known(rows, i, offsets, of_all)
        chosen = choose(rng, of_all, cumulated) if all_k > 1 else 0
        z[latent.place_of(known, spread, i)] = chosen if chosen < k else -1
        begin, end, many = chosen, chosen + 1, cumulated
        if weighted and rows.copies[i] != 1.0:
            begin, end = 0, all_k
            _divide_copies(rng, rows.copies[i], chosen, many[:end])
        else:
            many[chosen] = 1.0
        if end > k:
            _count_noise(many[k], k, sums)
        for j in range(begin, min(end, k)):
            if many[j] > 0.0:
                latent.add(rng, known, spread, i, many[j], inverse, room, difference, j, sums)


@compiled(fastmath=STRICT)
def add_known(rows, i, offsets, log_densities):
    """Add what the i-th observation's label says, and put in noise's log density, to those of all components."""
    all_k = len(offsets)
    for j in range(all_k - rows.noise, all_k):
        log_densities[j] = offsets[j]
    first = all_k - len(rows.log_labels)
    for j in range(first, all_k):
        log_densities[j] += rows.log_labels[j - first, i]


@compiled(fastmath=STRICT)
def _clear(counts, first, second, k, all_k):
    """A function of its own, because numba (0.68) takes what is assigned beside inlined functions only for of no use."""
    counts[:all_k], first[:k], second[:k] = 0.0, 0.0, 0.0


@compiled(fastmath=STRICT)
def _count_noise(many, k, sums):
    sums[0][k] += many


@compiled(fastmath=STRICT)
def _divide_copies(rng, copies, chosen, cumulated):
    """Put in place of ``cumulated`` how many copies, the first of which is allocated, are of each component."""
    left = np.int64(copies) - 1
    if left < 0:
        cumulated[:] = 0.0
        return
    for j in range(len(cumulated) - 1, -1, -1):
        here = left
        if j > 0 and left > 0:
            share = 1.0 - cumulated[j - 1] / cumulated[j] if cumulated[j] > 0.0 else 0.0
            here = rng.binomial(left, min(max(share, 0.0), 1.0))
        left -= here
        cumulated[j] = float(here + (j == chosen))


latent.for_each_kind(allocate, _of_variances, _of_factors, _each_of_them, _each_of_them, _each_of_them, _each_of_them)
