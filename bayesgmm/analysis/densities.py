"""Densities of observations under the draws of the posterior."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import logsumexp, ndtr, softmax, stdtr

from bayesgmm.analysis.draws import Draws
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations

_TOGETHER = 2**22  # densities of draws x points in memory at once
_ON_A_CORE = 2**16  # densities that fit into a core's cache


def log_density(draws: Draws, rows: Observations) -> FloatArray:
    """Log density under every draw, (S, n): log sum_k w_k N(x_i; mu_k, Sigma_k) over the components that labels allow."""
    return rows.log_density(*draws.parameters)


@np.errstate(under="ignore")
def log_predictive(draws: Draws, rows: Observations) -> FloatArray:
    """Log posterior predictive density of each observation, (n,): the log of its mean density over all draws."""
    result, step = np.empty(len(rows)), max(1, _TOGETHER // len(draws.w))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        result[part] = logsumexp(log_density(draws, rows.of(part)), axis=0)
    return result - np.log(len(draws.w))


@np.errstate(under="ignore")
def shares_given(draws: Draws, rows: Observations) -> FloatArray:
    """Weights of the draws given one further observation, (S, n). They add to one for each observation."""
    return np.asarray(softmax(log_density(draws, rows), axis=0))


def log_likelihood(draws: Draws, rows: Observations) -> FloatArray:
    """Log-likelihood of all data for every draw, (S,), on all cores."""
    few = max(1, _ON_A_CORE // len(rows))
    in_one_pass = few == 1 and rows.n_features == 1  # saves a logarithm for each observation
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
    """Distribution function of draw s at x[s, g], (S, G). ``error`` (G,) holds standard deviations of measurement errors."""
    total = np.zeros(x.shape)

    @np.errstate(over="ignore", under="ignore")  # infinite deviations give exactly 0 or 1
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
