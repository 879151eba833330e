"""Coordinates of the covariances in a point: coefficients for the E-step, and the gradient from its sums and the prior.

Two kinds of coordinates serve all covariance structures. The type of ``spread`` selects the compiled code.

:class:`Variances`
    Log variances (m, V): one feature (V = 1), diagonal covariances (V = D) and spherical ones (V = 1). The gradient is
    d/d log sigma_kv^2 = (S2_kv / sigma_kv^2 - N_k) / 2, summed over features that share a variance, and
    d/d mu_kd = S1_kd / sigma_kd^2.
:class:`Factors`
    Coordinates (m, T) of triangular factors F of the precisions F'F (:mod:`bayesgmm.model.wishart`): full and tied
    covariances. The gradient is d/d F = N_k diag(1 / F_ii) - F S2_k (lower part), and d/d mu_k = F'F S1_k.

m is the number of components, or one if all components share a covariance.
"""

from __future__ import annotations

import math
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.factors import add_gram, add_powers, add_slopes, fill_factor, trace
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.points import FARTHEST, is_beyond

LARGEST = 600.0  # bound on log variances and log(nu - 1), beyond which results overflow


class Variances(NamedTuple):
    """K, D, the number m of blocks of variances, and the number V of variances in each."""

    k: int
    n_features: int
    n_blocks: int
    size: int


class Factors(NamedTuple):
    """K, D, the number m of factors, and the number T = D (D + 1) / 2 of entries of each."""

    k: int
    n_features: int
    n_blocks: int
    size: int


def for_each_kind(step: Any, of_variances: Any, of_factors: Any, *, inline: bool = False) -> None:
    """Overload a step, declared as a signature with a docstring, for both types of its argument ``spread``."""
    place = list(signature(step).parameters).index("spread")
    options: Any = {"fastmath": STRICT, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}

    @overload(step, strict=False, jit_options=options, inline="always" if inline else "never")
    def version(*types: Any) -> Any:
        return of_variances if types[place].instance_class is Variances else of_factors


def whiteners(spread: Any) -> Any:
    """Uninitialised array for H of the E-step: (K, D, 1) for a diagonal H, otherwise (K, D, D)."""


def is_out_of_range(spread: Any, coordinates: Any) -> Any:
    """Whether any of the flat ``coordinates`` is so large that results overflow."""


def prepare(spread: Any, coordinates: Any, log_w: Any, offsets: Any, h: Any) -> Any:
    """Fill the E-step's coefficients c (``offsets``) and H: log w_k N(x; mu_k, Sigma_k) = c_k - |H_k (x - mu_k)|^2."""


def assemble(
    spread: Any, coordinates: Any, scale: Any, prior: Any, h: Any, sums: Any, slopes: Any, scale_slopes: Any, mu_slopes: Any
) -> Any:
    """Return the log prior of the covariances (m, size), and of C0 unless ``scale`` is empty, up to constants.

    Fill ``mu_slopes`` with the gradient of the likelihood; add the gradient of the posterior to ``slopes`` and
    ``scale_slopes``. ``prior`` holds c0 (m,), 0 for a block without a prior, because it is fixed; g0; and, flat, G0, or the
    C0 of each block if it is given. ``sums`` are N, S1 and S2.
    """


@compiled(fastmath=STRICT, inline=True)
def block_of(spread, j):
    """Index of the covariance block of component j."""
    return j if spread.n_blocks > 1 else 0


def _whiteners_of_variances(spread):
    return np.empty((spread.k, spread.n_features, 1))


def _whiteners_of_factors(spread):
    return np.empty((spread.k, spread.n_features, spread.n_features))


def _variances_out_of_range(spread, coordinates):
    return is_beyond(coordinates, LARGEST)


def _factors_out_of_range(spread, coordinates):
    """Diagonal coordinates of a factor are half a log precision, so their bound is LARGEST / 2."""
    for begin in range(0, len(coordinates), spread.size):
        at = begin
        for i in range(spread.n_features):
            if is_beyond(coordinates[at : at + i], FARTHEST) or is_beyond(coordinates[at + i : at + i + 1], 0.5 * LARGEST):
                return True
            at += i + 1
    return False


def _prepare_variances(spread, coordinates, log_w, offsets, h):
    for j in range(spread.k):
        offsets[j] = log_w[j]
        for d in range(spread.n_features):
            log_sigma2 = coordinates[block_of(spread, j), d if spread.size > 1 else 0]
            offsets[j] -= 0.5 * log_sigma2 + HALF_LOG_2PI
            h[j, d, 0] = ROOT_HALF * math.exp(-0.5 * log_sigma2)


def _prepare_factors(spread, coordinates, log_w, offsets, h):
    factor = np.empty((spread.n_features, spread.n_features))
    log_determinant = 0.0
    for j in range(spread.k):
        if j < spread.n_blocks:
            log_determinant = fill_factor(coordinates[j], factor)
        offsets[j] = log_w[j] + log_determinant - spread.n_features * HALF_LOG_2PI
        for a in range(spread.n_features):
            for b in range(spread.n_features):
                h[j, a, b] = ROOT_HALF * factor[a, b]


def _assemble_variances(spread, coordinates, scale, prior, h, sums, slopes, scale_slopes, mu_slopes):
    """Log InvGamma(c0, C0) and its Jacobian give c0 log C0 - c0 log sigma2 - C0 / sigma2."""
    counts, first, second = sums
    c0, g0, rate = prior
    for j in range(spread.k):
        block = block_of(spread, j)
        for d in range(spread.n_features):
            inverse = 2.0 * h[j, d, 0] * h[j, d, 0]
            mu_slopes[j, d] = inverse * first[j, d]
            slopes[block, d if spread.size > 1 else 0] += 0.5 * (second[j, d, 0] * inverse - counts[j])
    value = 0.0
    shape = g0 + c0.sum()
    for v in range(spread.size):
        C0, sum_inverse = math.exp(scale[v]) if len(scale) > 0 else 0.0, 0.0
        for block in range(spread.n_blocks):
            if len(scale) == 0:
                C0 = rate[block * spread.size + v]
            inverse = math.exp(-coordinates[block, v]) if c0[block] > 0.0 else 0.0
            sum_inverse += inverse
            value -= c0[block] * coordinates[block, v] + C0 * inverse
            slopes[block, v] += C0 * inverse - c0[block]
        if len(scale) > 0:
            value += shape * scale[v] - rate[v] * C0
            scale_slopes[v] += shape - C0 * (rate[v] + sum_inverse)
    return value


def _assemble_factors(spread, coordinates, scale, prior, h, sums, slopes, scale_slopes, mu_slopes):
    counts, first, second = sums
    c0, g0, flat_rate = prior
    size, m = spread.n_features, spread.n_blocks
    rates = flat_rate.reshape(-1, size, size)
    factors, precisions, precision_sum = np.empty((m, size, size)), np.zeros((m, size, size)), np.zeros((size, size))
    for block in range(m):
        fill_factor(coordinates[block], factors[block])
        add_gram(factors[block], precisions[block])
        if c0[block] > 0.0:
            precision_sum += precisions[block]
    for j in range(spread.k):
        block = block_of(spread, j)
        for a in range(size):
            mu_slopes[j, a] = 0.0
            for b in range(size):
                mu_slopes[j, a] += precisions[block, a, b] * first[j, b]
        diagonal = 0
        for i in range(size):
            slopes[block, diagonal + i] += counts[j]
            diagonal += i + 1
        add_slopes(factors[block], second[j], -1.0, slopes[block])
    value, C0 = 0.0, np.zeros((size, size))
    if len(scale) > 0:
        C0_factor = np.empty((size, size))
        fill_factor(scale, C0_factor)
        add_gram(C0_factor, C0)
        value += add_powers(scale, scale_slopes, size, 2.0 * (g0 + c0.sum())) - trace(rates[0], C0)
        add_slopes(C0_factor, rates[0] + precision_sum, -2.0, scale_slopes)
    for block in range(m):
        if c0[block] == 0.0:
            continue
        if len(scale) == 0:
            copy(rates[block], C0)
        value += add_powers(coordinates[block], slopes[block], size, 2.0 * c0[block]) - trace(C0, precisions[block])
        add_slopes(factors[block], C0, -2.0, slopes[block])
    return value


for_each_kind(whiteners, _whiteners_of_variances, _whiteners_of_factors)
for_each_kind(is_out_of_range, _variances_out_of_range, _factors_out_of_range)
for_each_kind(prepare, _prepare_variances, _prepare_factors)
for_each_kind(assemble, _assemble_variances, _assemble_factors)
