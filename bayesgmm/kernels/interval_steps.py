"""The steps of :mod:`bayesgmm.kernels.latent` for values known only to lie in intervals.

Functions that add to sums are compiled separately, as :func:`bayesgmm.kernels.latent._add_measured` is.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from bayesgmm.kernels import intervals, steps
from bayesgmm.kernels.blocks import ROOT_HALF
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.group_steps import add_row
from bayesgmm.kernels.pointers import at, copy

SUMMED = 1_000.0  # copies of a row beyond which their sum is drawn as normal: its skewness is at most .06


def begin(known, spread, offsets, blocks):
    """Whiteners, log scales, the unit of the ends, no moments, and scratch."""
    k, size = len(offsets), spread.n_features
    whiteners = steps.whiteners_of(spread, k, blocks)
    h, log_scale, unit, no_moments = np.empty((k, size)), np.empty((k, size)), np.empty((2, size)), np.empty((0, size))
    for j in range(k):
        for d in range(size):
            h[j, d] = whiteners[j, d, d if whiteners.shape[2] > 1 else 0]
    intervals.fill_scales(h, log_scale)
    unit[0], unit[1] = 0.0, 1.0
    return h, log_scale, unit, no_moments, np.empty(size), np.empty(k)


def fill_log_densities(known, spread, x, i, offsets, mu, blocks, inverse, room, difference, out):
    """Fill log joint densities of a row; equal rows in sequence share them."""
    h, log_scale, unit, no_moments, _, kept = room
    if i == 0 or not intervals.are_alike(known.ends, i - 1, i):
        low, high = known.ends[0, i], known.ends[1, i]
        intervals.fill_row(low, high, unit[0], unit[1], offsets, mu, h, log_scale, kept, no_moments, no_moments)
        for j in range(len(offsets)):
            copy(mu[j], difference[j])
    copy(kept, out)


def add(rng, known, spread, i, many, inverse, room, difference, j, sums):
    """Draw and add true rows of row i."""
    _add_bounded(rng, known.ends, i, many, room[0][j], room[4], difference[j], j, sums)


@compiled(fastmath=STRICT)
def _add_bounded(rng, ends, i, many, h, behind, mu, j, sums):
    """Draw and add ``many`` true rows of row i."""
    counts, first, second = sums
    counts[j] += many
    if many > SUMMED:
        _add_many(rng, ends[0, i], ends[1, i], many, mu, h, behind, first[j], second[j])
        return
    for _ in range(int(many)):
        _draw_of_row(rng, ends[0, i], ends[1, i], mu, h, behind)
        add_row(behind, first[j], second[j])


@compiled(fastmath=STRICT)
def _add_many(rng, lower, upper, many, mu, h, sums, first, second):
    """Add ``many`` true rows of one row of intervals, drawing only their sums; cross products are those of the means."""
    size = len(mu)
    for a in range(size):
        sd, distance = ROOT_HALF / h[a], lower[a] - mu[a]
        sums[a], square = many * distance, many * distance * distance
        if lower[a] != upper[a]:
            sums[a], square = intervals.draw_sums(rng, distance / sd, (upper[a] - mu[a]) / sd, many)
            sums[a], square = sd * sums[a], sd * sd * square
        first[a] += sums[a]
        if second.size == size:
            carray(at(second), (size,))[a] += square
        else:
            for b in range(a):
                carray(at(second), (size, size))[a, b] += sums[a] * sums[b] / many
            carray(at(second), (size, size))[a, a] += square


def draw(rng, known, spread, i, inverse, room, difference, j, out):
    """Draw the true row's deviation from the mean of component j."""
    _draw_of_row(rng, known.ends[0, i], known.ends[1, i], difference[j], room[0][j], out)


@compiled(fastmath=STRICT)
def _draw_of_row(rng, lower, upper, mu, h, behind):
    """Draw a true row within one row of intervals, as its deviation from the mean of its component."""
    for d in range(len(behind)):
        behind[d] = lower[d] - mu[d]
        if lower[d] != upper[d]:
            sd = ROOT_HALF / h[d]
            behind[d] = sd * intervals.draw_between(rng, behind[d] / sd, (upper[d] - mu[d]) / sd)


def add_moments(known, spread, i, inverse, room, difference, j, mu, share, mean, square):
    """Add mean and mean square of the true row, times a share."""
    for d in range(len(mean)):
        first, second = _moments_between(known.ends[0, i, d], known.ends[1, i, d], mu[j, d], room[0][j, d])
        mean[d] += share * (mu[j, d] + first)
        square[d] += share * (mu[j, d] * (mu[j, d] + 2.0 * first) + second)


@compiled(fastmath=STRICT)
def _moments_between(lower, upper, mu, h):
    """Mean and mean square of the deviation from mu of a value between two ends, given the component (mu, h)."""
    distance, sd = lower - mu, ROOT_HALF / h
    if lower == upper:
        return distance, distance * distance
    _, first, second = intervals.moments(distance / sd, (upper - mu) / sd, (upper - lower) / sd)
    return sd * first, sd * sd * second
