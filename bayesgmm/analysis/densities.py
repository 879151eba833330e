"""Densities under the posterior's draws, of observations with what is known of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import logsumexp, ndtr, softmax, stdtr

from bayesgmm.analysis.draws import Draws
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations

_TOGETHER = 2**22  # densities of draws x points in memory at once
_ON_A_CORE = 2**16  # that its cache holds


def log_density(draws: Draws, rows: Observations) -> FloatArray:
    """Log sum_k w_k N(x_i; mu_k, Sigma_k) for every draw, (S, n), over the components that labels allow."""
    return rows.log_density(*draws.parameters)


@np.errstate(under="ignore")
def log_predictive(draws: Draws, rows: Observations) -> FloatArray:
    """Log of the posterior predictive density, the mean of the density over all draws, of each observation, (n,)."""
    result, step = np.empty(len(rows)), max(1, _TOGETHER // len(draws.w))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        result[part] = logsumexp(log_density(draws, rows.of(part)), axis=0)
    return result - np.log(len(draws.w))


@np.errstate(under="ignore")
def shares_given(draws: Draws, rows: Observations) -> FloatArray:
    """Each draw's share in the posterior given one further observation, (S, n); they add to one for each of them."""
    return np.asarray(softmax(log_density(draws, rows), axis=0))


def log_likelihood(draws: Draws, rows: Observations) -> FloatArray:
    """Log-likelihood of all data for every draw, (S,), on all cores."""
    few = max(1, _ON_A_CORE // len(rows))
    in_one_pass = few == 1 and rows.n_features == 1  # without a logarithm for each observation
    counts = np.empty(0) if in_one_pass else rows.counts

    def of_some(begin: int) -> FloatArray:
        some = [each[begin : begin + few] for each in draws.parameters]
        if in_one_pass:
            return np.asarray(rows.sums(*some, by_nodes=True).log_likelihood)
        return rows.log_density(*some) @ counts

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(of_some, range(0, len(draws.w), few))))


@np.errstate(under="ignore")
def distribution_function(draws: Draws, x: FloatArray, error: FloatArray | float = 0.0) -> FloatArray:
    """P(x[s, g] or less) under draw s, (S, G), for values with errors of these standard deviations (G,), on all cores."""
    total = np.zeros(x.shape)

    @np.errstate(over="ignore", under="ignore")  # what lies beyond a float's range of deviations is certain
    def fill(some: slice) -> None:
        for j in range(draws.n_components):  # one after another, to save memory
            deviations = (x[some] - draws.mu[some, j]) / np.hypot(draws.factors[some, j, 0], error)
            below = ndtr(deviations) if draws.nu is None else stdtr(draws.nu[some, j, None], deviations)
            total[some] += draws.w[some, j, None] * below

    few = max(1, _ON_A_CORE // x.shape[1])
    if few >= len(x):
        fill(slice(None))
        return total
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, (slice(begin, begin + few) for begin in range(0, len(x), few))))
    return total
