"""The steps of a sweep that differ between variances and factors, selected by the type of ``spread``.

Blocks are log variances (m, V), or factors F (m, D, D) with precisions F'F. C0 is (V,) or (D, D).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesgmm.kernels import split_merge
from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.factors import add_gram, fill_factor
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.prior import of_component, sum_over
from bayesgmm.kernels.spread import for_each_kind
from bayesgmm.kernels.variates import draw_normal, draw_wishart_factor, log_gamma_variate


def blocks_of(spread: Any, coordinates: Any) -> Any:
    """Blocks from their coordinates; for variances, the array itself and not a copy."""


def room_for(spread: Any, m: Any, size: Any) -> Any:
    """Uninitialised array for second moments or rates: (m, size) for variances, (m, D, D) for factors."""


def whiteners_of(spread: Any, k: Any, blocks: Any) -> Any:
    """H of K components for the E-step."""


def fill_scale(spread: Any, scale: Any, C0: Any) -> Any:
    """Fill C0 from its coordinates."""


def keep_scale(spread: Any, C0: Any, out: Any) -> Any:
    """Store C0 as a flat array; a matrix as its lower triangle."""


def prepare(spread: Any, log_w: Any, blocks: Any, inverse: Any, offsets: Any) -> Any:
    """Fill log joint densities at the means (``offsets``), and inverse variances as :func:`fill_inverse` does."""


def divide_anew(
    rng: Any, spread: Any, rows: Any, learnt: Any, prior: Any, moves: Any, state: Any, scale: Any, C0: Any
) -> Any:  # fmt: skip
    """Make ``moves`` moves of :mod:`bayesgmm.kernels.split_merge`; there are none for factors."""


def fill_inverse(spread: Any, blocks: Any, j: Any, inverse: Any) -> Any:
    """Fill the inverse variances of component j; for factors only the first, which is right for one feature."""


def fill_sums(spread: Any, n: Any, mean: Any, scatter: Any, centre: Any, j: Any, first: Any, second: Any) -> Any:
    """Fill the moments of component j about ``centre``, from n observations with this mean and scatter about it."""


def draw_means(
    rng: Any, spread: Any, begin: Any, end: Any, counts: Any, first: Any, blocks: Any, inverse: Any, prior: Any, mu: Any,
    moved: Any,
) -> Any:  # fmt: skip
    """Draw the means of components begin, ..., end - 1 into ``moved``."""


def move_means(
    spread: Any, begin: Any, end: Any, counts: Any, scales: Any, first: Any, second: Any, moved: Any, mu: Any, rates: Any,
    shapes: Any,
) -> Any:  # fmt: skip
    """Replace the means by ``moved``, and add the observations' terms, about the new means, to rates and shapes.

    ``scales`` (K) are the counts, or for t distributions the sums of latent scales, which also weight ``first`` and
    ``second``.
    """


def draw_blocks(rng: Any, spread: Any, begin: Any, end: Any, rates: Any, shapes: Any, blocks: Any, coordinates: Any) -> Any:
    """Draw blocks begin, ..., end - 1; for factors, also fill their coordinates. A block of shape 0 is fixed."""


def draw_scale(rng: Any, spread: Any, blocks: Any, prior: Any, C0: Any, scale: Any) -> Any:
    """Draw C0, of the shape of a block, given the blocks, and fill its coordinates."""


def _blocks_of_variances(spread, coordinates):
    return coordinates


def _blocks_of_factors(spread, coordinates):
    factors = np.empty((spread.n_blocks, spread.n_features, spread.n_features))
    for block in range(spread.n_blocks):
        fill_factor(coordinates[block], factors[block])
    return factors


def _room_for_variances(spread, m, size):
    return np.empty((m, size))


def _room_for_factors(spread, m, size):
    return np.empty((m, spread.n_features, spread.n_features))


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
            offsets[j] -= 0.5 * log_variance + HALF_LOG_2PI


def _prepare_factors(spread, log_w, blocks, inverse, offsets):
    for j in range(len(log_w)):
        offsets[j] = log_w[j] - spread.n_features * HALF_LOG_2PI
        inverse[j, 0] = blocks[j if len(blocks) > 1 else 0, 0, 0] ** 2  # right for one feature, the only case that needs it
        for a in range(spread.n_features):
            offsets[j] += math.log(blocks[j if len(blocks) > 1 else 0, a, a])


def _divide_anew(rng, spread, rows, learnt, prior, moves, state, scale, C0):
    if moves > 0:
        split_merge.move(rng, rows, spread.k, learnt, prior, moves, state)
        if learnt:
            C0[0] = math.exp(scale[0])


def _fill_inverse_of_variances(spread, blocks, j, inverse):
    for d in range(spread.n_features):
        inverse[j, d] = math.exp(-blocks[j if len(blocks) > 1 else 0, d if spread.size > 1 else 0])


def _fill_inverse_of_factors(spread, blocks, j, inverse):
    inverse[j, 0] = blocks[j if len(blocks) > 1 else 0, 0, 0] ** 2


def _fill_sums_of_variances(spread, n, mean, scatter, centre, j, first, second):
    for d in range(spread.n_features):
        step = mean[d] - centre[d]
        first[j, d], second[j, d] = n * step, scatter[d, d] + n * step * step


def _fill_sums_of_factors(spread, n, mean, scatter, centre, j, first, second):
    for a in range(spread.n_features):
        first[j, a] = n * (mean[a] - centre[a])
        for b in range(a + 1):
            second[j, a, b] = scatter[a, b] + n * (mean[a] - centre[a]) * (mean[b] - centre[b])


def _divide_nothing(rng, spread, rows, learnt, prior, moves, state, scale, C0):
    return


def _draw_means_given_variances(rng, spread, begin, end, counts, first, blocks, inverse, prior, mu, moved):
    n_features = mu.shape[1]
    precision, pull = np.empty((n_features, n_features)), np.empty(n_features)
    for j in range(begin, end):
        b0, inverse_B0 = of_component(prior.b0, j), of_component(prior.precision, j)
        for d in range(n_features):
            pull[d] = inverse[j, d] * (first[j, d] + counts[j] * mu[j, d])
            for e in range(n_features):
                precision[d, e] = inverse_B0[d, e]
                pull[d] += inverse_B0[d, e] * b0[e]
            precision[d, d] += counts[j] * inverse[j, d]
        _draw_free(rng, precision, pull, b0, inverse_B0, moved[j])


def _draw_means_given_factors(rng, spread, begin, end, counts, first, blocks, inverse, prior, mu, moved):
    m, size = len(blocks), mu.shape[1]
    own, precision, pull = np.empty((size, size)), np.empty((size, size)), np.empty(size)
    for j in range(begin, end):
        b0, inverse_B0 = of_component(prior.b0, j), of_component(prior.precision, j)
        own[:] = 0.0
        add_gram(blocks[j if m > 1 else 0], own)
        for a in range(size):
            pull[a] = 0.0
            for b in range(size):
                precision[a, b] = inverse_B0[a, b] + counts[j] * own[a, b]
                pull[a] += inverse_B0[a, b] * b0[b] + own[a, b] * (first[j, b] + counts[j] * mu[j, b])
        _draw_free(rng, precision, pull, b0, inverse_B0, moved[j])


@compiled(fastmath=STRICT)
def _draw_free(rng, precision, pull, b0, inverse_B0, out):
    """Draw a mean from N(precision^-1 pull, precision^-1), given its fixed entries: those without a prior precision."""
    size, fixed = len(pull), 0
    for d in range(size):
        if inverse_B0[d, d] == 0.0:
            fixed += 1
            for e in range(size):
                pull[e] -= precision[e, d] * b0[d]
                precision[e, d], precision[d, e] = 0.0, 0.0
            precision[d, d] = 1.0
    draw_normal(rng, precision, pull, out)
    for d in range(size if fixed > 0 else 0):
        if inverse_B0[d, d] == 0.0:
            out[d] = b0[d]


def _move_means_and_variances(spread, begin, end, counts, scales, first, second, moved, mu, rates, shapes):
    n_features = mu.shape[1]
    for j in range(begin, end):
        block = j if len(rates) > 1 else 0
        for d in range(n_features):
            step = moved[j, d] - mu[j, d]
            about = second[j, d] - 2.0 * step * first[j, d] + scales[j] * step * step
            rates[block, d if spread.size > 1 else 0] += 0.5 * max(about, 0.0)
            mu[j, d] = moved[j, d]
        shapes[block] += 0.5 * counts[j] * (n_features / spread.size) if shapes[block] > 0.0 else 0.0


def _move_means_and_factors(spread, begin, end, counts, scales, first, second, moved, mu, rates, shapes):
    size = mu.shape[1]
    step = np.empty(size)
    for j in range(begin, end):
        block = j if len(rates) > 1 else 0
        for a in range(size):
            step[a] = moved[j, a] - mu[j, a]
            mu[j, a] = moved[j, a]
        for a in range(size):
            for b in range(a + 1):
                about = second[j, a, b] - step[a] * first[j, b] - first[j, a] * step[b] + scales[j] * step[a] * step[b]
                rates[block, a, b] += 0.5 * about
        shapes[block] += 0.5 * counts[j] if shapes[block] > 0.0 else 0.0


def _draw_variances(rng, spread, begin, end, rates, shapes, blocks, coordinates):
    for block in range(begin, end):
        for v in range(spread.size if shapes[block] > 0.0 else 0):
            blocks[block, v] = math.log(rates[block, v]) - log_gamma_variate(rng, shapes[block])


def _draw_factors(rng, spread, begin, end, rates, shapes, blocks, coordinates):
    for block in range(begin, end):
        if shapes[block] > 0.0:
            draw_wishart_factor(rng, shapes[block], rates[block], blocks[block], coordinates[block])


def _draw_scale_of_variances(rng, spread, blocks, prior, C0, scale):
    shape = prior.g0 + sum_over(prior.c0, len(blocks))
    for v in range(spread.size):
        total = 0.0
        for block in range(len(blocks)):
            if of_component(prior.c0, block) > 0.0:
                total += math.exp(-blocks[block, v])
        scale[v] = log_gamma_variate(rng, shape) - math.log(prior.rate[0, v] + total)
        C0[v] = math.exp(scale[v])


def _draw_scale_of_factors(rng, spread, blocks, prior, C0, scale):
    total, factor = prior.rate[0].copy(), np.empty(C0.shape)
    for block in range(len(blocks)):
        if of_component(prior.c0, block) > 0.0:
            add_gram(blocks[block], total)
    draw_wishart_factor(rng, prior.g0 + sum_over(prior.c0, len(blocks)), total, factor, scale)
    C0[:] = 0.0
    add_gram(factor, C0)


for_each_kind(blocks_of, _blocks_of_variances, _blocks_of_factors)
for_each_kind(room_for, _room_for_variances, _room_for_factors)
for_each_kind(whiteners_of, _whiteners_of_variances, _whiteners_of_factors)
for_each_kind(fill_scale, _fill_scale_of_variances, _fill_scale_of_factors)
for_each_kind(keep_scale, _keep_scale_of_variances, _keep_scale_of_factors)
for_each_kind(prepare, _prepare_variances, _prepare_factors)
for_each_kind(divide_anew, _divide_anew, _divide_nothing, inline=True)
for_each_kind(fill_inverse, _fill_inverse_of_variances, _fill_inverse_of_factors)
for_each_kind(fill_sums, _fill_sums_of_variances, _fill_sums_of_factors)
for_each_kind(move_means, _move_means_and_variances, _move_means_and_factors)
for_each_kind(draw_means, _draw_means_given_variances, _draw_means_given_factors)
for_each_kind(draw_blocks, _draw_variances, _draw_factors)
for_each_kind(draw_scale, _draw_scale_of_variances, _draw_scale_of_factors)
