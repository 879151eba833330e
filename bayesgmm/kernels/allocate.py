"""Draw allocations given the components, and sum over each component what sweeps and evidence need."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.kernels import behind, exact, groups, latent, steps
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.variates import choose


def allocate(
    rng: Any, known: Any, spread: Any, rows: Any, offsets: Any, mu: Any, blocks: Any, scratch: Any, z: Any, sums: Any
) -> Any:  # fmt: skip
    """Draw z given the components; fill their counts, and first and second moments about their means.

    The copies of an observation are allocated independently; z holds the component of the first copy. If values are not
    exact, the true values are drawn too, and the moments are those of the true values. If observations may be noise, the
    last offset is the log share of noise, and z = -1 marks noise.
    """


def _as_they_are(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    _allocate_together(rng, spread, rows, offsets, mu, blocks, z, sums)


def _each_of_them(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    _allocate_each(rng, spread, rows, rows.copies, offsets, mu, blocks, scratch, z, sums)


def _of_groups(rng, known, spread, rows, offsets, mu, blocks, scratch, z, sums):
    in_groups(rng, spread, rows, offsets, mu, blocks, scratch, z, sums)


def in_groups(rng: Any, spread: Any, rows: Any, offsets: Any, mu: Any, blocks: Any, scratch: Any, z: Any, sums: Any) -> Any:
    """Allocate rows in groups: see :func:`allocate`."""


def _in_groups_of_variances(rng, spread, rows, offsets, mu, blocks, scratch, z, sums):
    _allocate_each(rng, spread, rows, rows.copies, offsets, mu, blocks, scratch, z, sums)


def _in_groups_of_factors(rng, spread, rows, offsets, mu, blocks, scratch, z, sums):
    if rows.allocation != 0:
        _allocate_with_one_error(rng, spread, rows, offsets, mu, blocks, z, sums)
    else:
        _allocate_each(rng, spread, rows, rows.copies, offsets, mu, blocks, scratch, z, sums)


@compiled(fastmath=STRICT)
def _allocate_with_one_error(rng, spread, rows, offsets, mu, blocks, z, sums):
    """Allocate complete rows that all have the same measurement error."""
    counts, first, second = sums
    size, all_k = rows.x.shape[1], len(offsets)
    k = all_k - rows.noise
    _clear(counts, first, second, k, all_k)
    group, unit, log_w = rows.known.table[0], np.ones(size), np.empty(k)
    covariances, inverse, marginal = np.empty((k, size, size)), np.empty((k, size, size)), np.empty((size, size))
    measured, means, whiteners = np.empty(all_k), np.empty((k, size)), np.empty((k, size, size))
    groups.fill_coefficients(offsets[:k], steps.whiteners_of(spread, k, blocks), inverse, covariances, log_w)
    groups.fill_of_group(group, unit, offsets, log_w, mu, covariances, marginal, inverse, measured, means, whiteners)
    exact.allocate(
        rng, rows.allocation, rows.x, rows.copies, rows.log_labels, measured, means, whiteners, z, counts, first, second
    )
    for j in range(k):
        if counts[j] > 0.0:
            groups.fill_gain(covariances[j], group, inverse[j], marginal)
            behind.draw_sums(rng, counts[j], inverse[j], marginal, covariances[j], first[j], second[j])


@compiled(fastmath=STRICT)
def _allocate_together(rng, spread, rows, offsets, mu, blocks, z, sums):
    """Allocate exact observations."""
    all_k = len(offsets)
    k = all_k - rows.noise
    _clear(*sums, k, all_k)
    h = steps.whiteners_of(spread, k, blocks)
    exact.allocate(rng, rows.allocation, rows.x, rows.copies, rows.log_labels, offsets, mu[:k], h, z, *sums)


@compiled(fastmath=STRICT)
def _allocate_each(rng, spread, rows, copies, offsets, mu, blocks, scratch, z, sums):
    """Allocate one observation at a time, and draw its true values or its latent scale."""
    inverse, difference, log_densities, cumulated = scratch
    all_k, n, of_all = len(offsets), len(rows.x), log_densities[: len(offsets)]
    k = all_k - rows.noise
    known, of_components = rows.known, of_all[:k]
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
        if copies is None or copies[i] == 1.0:
            many[chosen] = 1.0
        else:
            begin, end = 0, all_k
            exact.divide_copies(rng, copies[i], chosen, many[:end])
        if end > k:
            _count_noise(many[k], k, sums)
        for j in range(begin, min(end, k)):
            if many[j] > 0.0:
                latent.add(rng, known, spread, i, many[j], inverse, room, difference, j, sums)


@compiled(fastmath=STRICT)
def add_known(rows, i, offsets, log_densities):
    """Add the log label probabilities of observation i to the components' log densities, and set that of noise."""
    all_k = len(offsets)
    for j in range(all_k - rows.noise, all_k):
        log_densities[j] = offsets[j]
    first = all_k - len(rows.log_labels)
    for j in range(first, all_k):
        log_densities[j] += rows.log_labels[j - first, i]


@compiled(fastmath=STRICT)
def _clear(counts, first, second, k, all_k):
    """Set all sums to zero. Beside inlined functions, numba (0.68) may drop plain assignments as dead code."""
    counts[:all_k], first[:k], second[:k] = 0.0, 0.0, 0.0


@compiled(fastmath=STRICT)
def _count_noise(many, k, sums):
    sums[0][k] += many


steps.for_each_kind(in_groups, _in_groups_of_variances, _in_groups_of_factors)
latent.for_each_kind(allocate, _as_they_are, _as_they_are, _each_of_them, _of_groups, _each_of_them, _each_of_them)
