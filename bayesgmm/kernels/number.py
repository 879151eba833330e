"""The telescoping step: draw the number of components K given a partition of the observations.

Let n_1, ..., n_K+ be the sizes of the occupied components, and gamma_K the concentration of the weights. Then

    p(K | partition)  ~  p(K)  K! / (K - K+)!  Gamma(gamma_K K) / Gamma(n + gamma_K K)
                         prod_j Gamma(n_j + gamma_K) / Gamma(gamma_K)

for K >= K+ (Frühwirth-Schnatter, Malsiner-Walli & Grün 2021, the third step of their sampler). If gamma_K does not depend
on K, the product cancels, and the probabilities depend on the partition only through K+ and n.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.pointers import copy

_NUMBERS = 2_000_000  # largest number of entries in a table


class NumberTables(NamedTuple):
    """Look-up tables for K = 1, ..., M.

    Attributes
    ----------
    of_occupied : (R, M) array
        Row K+ - 1, column K - 1. It holds p(K | K+) if all gamma_K are equal and ``noise`` is 0. Otherwise it holds the
        logarithm of p(K | partition), up to a constant, without the product.
    rising : (n' + 1, M) or (0, M) array
        log Gamma(m + gamma_K) / Gamma(gamma_K) for m = 0, ..., n'; empty if all gamma_K are equal.
    concentrations : (M,) array
        gamma_K.
    log_v : (R,) array
        Logarithm of V(K+) = sum_K p(K) K! / (K - K+)! Gamma(gamma K) / Gamma(n + gamma K), if all gamma_K equal gamma and
        ``noise`` is 0; otherwise empty.
    noise : int
        1 if observations may be noise, otherwise 0. With noise, n is the number of observations that are not noise, and
        varies. ``of_occupied`` then leaves out the factor that depends on n, and begins with a row for K+ = 0.
    """

    of_occupied: FloatArray
    rising: FloatArray
    concentrations: FloatArray
    log_v: FloatArray
    noise: int


def number_tables(prior: FloatArray, concentrations: FloatArray, n: int, *, noise: bool = False) -> NumberTables:
    """Tables for a prior p(K), concentrations gamma_K, K = 1, ..., M, and n observations, which may be noise."""
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior)
    most = len(prior)
    occupied, k = np.arange(0 if noise else 1, min(n, most) + 1)[:, None], np.arange(1, most + 1)
    logs = log_prior + log_arrangements(occupied, k)
    if not noise:
        logs = logs + log_normaliser(concentrations * k, n)
    if (concentrations == concentrations[0]).all():
        log_v = np.empty(0) if noise else logsumexp(logs, axis=1)
        table = logs if noise else np.exp(logs - log_v[:, None])
        return NumberTables(table, np.empty((0, most)), concentrations, log_v, int(noise))
    sizes = np.arange(min(n, max(1, _NUMBERS // most)) + 1)[:, None]
    rising = gammaln(sizes + concentrations) - gammaln(concentrations)
    return NumberTables(logs, rising, concentrations, np.empty(0), int(noise))


def log_arrangements(occupied: NDArray[np.int64], k: NDArray[np.int64]) -> FloatArray:
    """Log K! / (K - K+)!, the number of ways to label the occupied components; minus infinity for K < K+."""
    return np.where(k >= occupied, gammaln(k + 1) - gammaln(np.maximum(k - occupied, 0) + 1), -np.inf)


def log_normaliser(total: FloatArray, n: int) -> FloatArray:
    """Log Gamma(total) / Gamma(n + total), with total = gamma_K K."""
    return gammaln(total) - gammaln(n + total)


@compiled(fastmath=STRICT)
def draw_number(rng, counts, tables, probabilities):
    """Draw K given the sizes of the occupied components; fill the probabilities of K = 1, ..., M."""
    of_occupied, rising, concentrations, _, noise = tables
    occupied, most = len(counts), len(probabilities)
    copy(of_occupied[occupied - 1 + noise], probabilities)
    if noise > 0:
        n = counts.sum()
        for b in range(most):
            total = concentrations[b] * (b + 1.0)
            probabilities[b] += math.lgamma(total) - math.lgamma(n + total)
    if len(rising) > 0 or noise > 0:
        for j in range(occupied if len(rising) > 0 else 0):
            size = int(counts[j])
            if size < len(rising):
                for b in range(occupied - 1, most):
                    probabilities[b] += rising[size, b]
            else:
                for b in range(occupied - 1, most):
                    probabilities[b] += math.lgamma(size + concentrations[b]) - math.lgamma(concentrations[b])
        largest, total = -np.inf, 0.0
        for b in range(most):
            largest = max(largest, probabilities[b])
        for b in range(most):
            probabilities[b] = math.exp(probabilities[b] - largest)
            total += probabilities[b]
        for b in range(most):
            probabilities[b] /= total
    at, k = rng.random(), 0
    for b in range(max(occupied - 1, 0), most):
        if probabilities[b] > 0.0:
            k = b + 1
            at -= probabilities[b]
            if at < 0.0:
                break
    return k


@compiled(fastmath=STRICT)
def log_partition(counts, tables):
    """Log prior probability of a partition with these cluster sizes (zeros allowed), with K summed out."""
    of_occupied, _, concentrations, log_v, noise = tables
    occupied, n, most = 0, 0.0, len(concentrations)
    for j in range(len(counts)):
        occupied += counts[j] > 0.0
        n += counts[j]
    if len(log_v) > 0:
        if occupied > len(log_v):
            return -np.inf
        value, gamma = log_v[occupied - 1], concentrations[0]
        for j in range(len(counts)):
            if counts[j] > 0.0:
                value += math.lgamma(counts[j] + gamma) - math.lgamma(gamma)
        return value
    if occupied - 1 + noise >= len(of_occupied):
        return -np.inf
    log_p, largest, total = np.empty(most), -np.inf, 0.0
    for b in range(most):
        gamma = concentrations[b]
        log_p[b] = of_occupied[occupied - 1 + noise, b]
        if log_p[b] > -np.inf:
            for j in range(len(counts)):
                if counts[j] > 0.0:
                    log_p[b] += math.lgamma(counts[j] + gamma) - math.lgamma(gamma)
            if noise > 0:
                log_p[b] += math.lgamma(gamma * (b + 1.0)) - math.lgamma(n + gamma * (b + 1.0))
        largest = max(largest, log_p[b])
    for b in range(most):
        total += math.exp(log_p[b] - largest)
    return largest + math.log(total)


@compiled(fastmath=STRICT)
def bring_forward(counts, places):
    """Return the number of occupied components; fill each component's new index, occupied ones first."""
    occupied = 0
    for j in range(len(counts)):
        if counts[j] > 0.0:
            places[j] = occupied
            occupied += 1
    empty = occupied
    for j in range(len(counts)):
        if counts[j] == 0.0:
            places[j] = empty
            empty += 1
    return occupied
