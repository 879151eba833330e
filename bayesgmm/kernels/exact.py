"""Allocations of exact observations, a block at a time: compiled once, and called by address."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray, types

from bayesgmm.kernels.blocks import no_unit
from bayesgmm.kernels.compiled import STRICT, SUMS, c_callback, compiled
from bayesgmm.kernels.multivariate import add_moments, deviate, fill_joint, standardise, width_of_block
from bayesgmm.kernels.pointers import FLOATS, at, call, held, pointer
from bayesgmm.kernels.sums import address_of

_DRAW, _SUM = 1, 2  # what the compiled function does; 3 for both
_TOGETHER = 4_096  # observations per call


@cache
def address_of_allocation() -> int:
    """The address of the compiled function that :func:`allocate` calls."""
    signature = types.float64(*[types.int64] * 11, *[FLOATS] * 8)
    return int(c_callback(signature, _allocate, fastmath=SUMS).address)


@compiled(fastmath=STRICT)
def allocate(rng, function, x, copies, log_labels, offsets, mu, h, z, counts, first, second):
    """Draw z (n) given the components; add to their counts, and to first and second moments about their means.

    If ``copies`` (n) is not None, z holds the component of the first copy of each observation.
    """
    if function == 0:
        raise ValueError("rows must be those of for_allocation")
    n, all_k, (k, n_features) = len(x), len(offsets), mu.shape
    width = width_of_block(n_features, all_k)
    together = _TOGETHER if copies is None else width
    shares, chosen, many = np.empty((all_k, width)), np.zeros(together), np.empty(all_k)
    sizes = n, all_k, k, n_features, h.shape[2], len(log_labels)
    arrays = at(offsets), at(mu), at(h), at(shares), at(chosen), at(counts), at(first), at(second)
    for begin in range(0, n, together):
        m = min(together, n - begin)
        rows = begin, m, address_of(x), address_of(log_labels)
        for i in range(m if all_k > 1 else 0):
            chosen[i] = rng.random()
        call(function, (_DRAW + _SUM if copies is None else _DRAW, *rows, *sizes, *arrays))
        for i in range(m):
            z[begin + i] = np.int16(chosen[i]) if chosen[i] < k else -1
        if copies is not None:
            for i in range(m):
                for j in range(all_k):
                    many[j] = shares[j, i]
                divide_copies(rng, copies[begin + i], np.int64(chosen[i]), many)
                for j in range(all_k):
                    shares[j, i] = many[j]
            call(function, (_SUM, *rows, *sizes, *arrays))
    held(shares)


@compiled(fastmath=STRICT)
def divide_copies(rng, copies, chosen, cumulated):
    """Replace cumulated weights by the number of copies in each component; the first copy is in component ``chosen``."""
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


def _allocate(
    asked, begin, m, x, log_labels, n, all_k, k, n_features, width_of_h, n_labels, offsets, mu, h, shares, chosen, counts,
    first, second,
):  # fmt: skip
    """Replace the uniform numbers in ``chosen`` by components, and add to the sums, as ``asked``.

    If it only draws, ``shares`` become cumulated weights; if it also sums, indicators of the chosen component.
    """
    width, (shift, inverse_scale) = width_of_block(n_features, all_k), no_unit(n_features)
    x_of_all, known = carray(pointer(x), (n, n_features)), carray(pointer(log_labels), (n_labels, n))
    c, mean, whiteners = carray(offsets, (all_k,)), carray(mu, (k, n_features)), carray(h, (k, n_features, width_of_h))
    share, of_all = carray(shares, (all_k, width)), carray(chosen, (m,))
    zeroth, moments = carray(counts, (all_k,)), carray(first, (k, n_features))
    squares = carray(second, (k, n_features, width_of_h))
    z, deviation = np.empty((n_features, width)), np.empty((n_features, width))
    y, top, total = np.empty(width), np.empty(width), np.empty(width)
    for start in range(0, m, width):
        size, row = min(width, m - start), begin + start
        standardise(x_of_all[row : row + size], shift, inverse_scale, z)
        if asked != _SUM:
            fill_joint(z, known[:, row : row + size], c, mean, whiteners, deviation, y, share, top, total, size)
            _choose(share, of_all[start : start + size], y, asked != _DRAW)
        if asked != _DRAW:
            for j in range(all_k):
                allocated, many = share[j], 0.0
                for i in range(size):
                    many += allocated[i]
                zeroth[j] += many
                if j < k and many > 0.0:
                    deviate(z, mean[j], deviation, size)
                    add_moments(allocated, deviation, y, moments[j], squares[j], size)
    return 0.0


@compiled(fastmath=SUMS, inline=True)
def _choose(share, chosen, limit, is_last):
    all_k, m = len(share), len(chosen)
    for j in range(1, all_k):
        for i in range(m):
            share[j, i] += share[j - 1, i]
    for i in range(m):
        limit[i] = chosen[i] * share[all_k - 1, i]
        chosen[i] = 0.0
    for j in range(all_k - 1):
        for i in range(m):
            chosen[i] += 1.0 if limit[i] >= share[j, i] else 0.0
    for j in range(all_k if is_last else 0):
        for i in range(m):
            share[j, i] = 1.0 if chosen[i] == j else 0.0
