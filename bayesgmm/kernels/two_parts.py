"""EM that divides the members of one or two clusters in two parts: the proposal of :mod:`bayesgmm.kernels.regroup`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesgmm.kernels.compiled import STRICT, SUMS, compiled
from bayesgmm.kernels.factors import add_gram
from bayesgmm.kernels.multivariate import add_products, deviate, whiten
from bayesgmm.kernels.pointers import copy
from bayesgmm.kernels.spread import for_each_kind
from bayesgmm.kernels.variates import factorise, log_determinant

_STEPS = 5  # of EM
_BLOCK = 128  # members handled together
FITTED = 500  # members, or up to twice as many, on which all steps of EM but the last are made


def fill_expected(spread: Any, n: Any, scatter: Any, c0: Any, C0: Any, precision: Any) -> Any:
    """Fill the expected precision (D, D), used by EM, given n observations with this scatter about their mean."""


@compiled(fastmath=SUMS)
def fill_shares(spread, tied, x, members, fitted, i, j, c0, C0, sizes, means, scatters, precisions, shares):
    """Fill the members' responsibilities of the second part, after a few steps of EM that start at members i and j."""
    every = max(1, len(members) // fitted)
    weights, few = np.zeros(2), _few_of(members, every, i, j)
    shares[:] = 1.0
    if not tied:
        fill_moments(x, few, shares, sizes, means, scatters, 0)
        _fill_expected_of(spread, every, sizes, scatters, c0, C0, precisions, 0)
        copy(precisions[0], precisions[1])
    copy(x[i], means[0])
    copy(x[j], means[1])
    for step in range(_STEPS + 1):
        used, times = (few, every) if step < _STEPS - 1 else (members, 1)
        _fill_shares_given(x, used, weights[1] - weights[0], means, precisions, shares)
        for s in range(len(used)):
            if used[s] == i or used[s] == j:
                shares[s] = 1.0 if used[s] == j else 0.0
        if step == _STEPS:
            return
        for part in range(1, -1, -1):
            fill_moments(x, used, shares, sizes, means, scatters, part)
            for s in range(len(used)):  # responsibilities of the other part
                shares[s] = 1.0 - shares[s]
            if not tied:
                _fill_expected_of(spread, times, sizes, scatters, c0, C0, precisions, part)
            weights[part] = math.log(sizes[part]) + 0.5 * log_determinant(precisions[part])


@compiled(fastmath=STRICT)
def _few_of(members, every, i, j):
    """One in ``every`` of the members, with i and j among them."""
    if every == 1:
        return members
    few, m = np.empty(len(members) // every + 3, np.int64), 2
    few[0], few[1] = i, j
    for s in range(0, len(members), every):
        if members[s] not in (i, j):
            few[m] = members[s]
            m += 1
    return few[:m]


@compiled(fastmath=STRICT)
def _fill_expected_of(spread, times, sizes, scatters, c0, C0, precisions, part):
    """Fill the expected precision of a part, given sums over one in ``times`` of its members."""
    scatter = scatters[part]
    for d in range(len(scatter)):
        for e in range(len(scatter)):
            scatter[d, e] *= times
    fill_expected(spread, times * sizes[part], scatter, c0, C0, precisions[part])


@compiled(fastmath=STRICT)
def join_moments(sizes, means, scatters):
    """Fill size, mean and scatter of both parts together, at index 2, from those of the parts, at 0 and 1."""
    sizes[2] = sizes[0] + sizes[1]
    share, joint = sizes[1] / sizes[2], sizes[0] * sizes[1] / sizes[2]
    for d in range(means.shape[1]):
        means[2, d] = means[0, d] + share * (means[1, d] - means[0, d])
        for e in range(means.shape[1]):
            between = (means[1, d] - means[0, d]) * (means[1, e] - means[0, e])
            scatters[2, d, e] = scatters[0, d, e] + scatters[1, d, e] + joint * between


@compiled(fastmath=SUMS)
def _fill_shares_given(x, members, gap, means, precisions, shares):
    """Fill responsibilities of the second part, given log odds at equal distances, means and precisions."""
    size = x.shape[1]
    z, deviation, y, log_odds = np.empty((size, _BLOCK)), np.empty((size, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    for begin in range(0, len(members), _BLOCK):
        m = _gather(x, members, begin, z)
        for s in range(m):
            log_odds[s] = gap
        for part in range(2):
            half = 0.5 - part
            deviate(z, means[part], deviation, m)
            for d in range(size):
                whiten(deviation, precisions[part, d], y, m)
                row = deviation[d]
                for s in range(m):
                    log_odds[s] += half * row[s] * y[s]
        for s in range(m):
            shares[begin + s] = 1.0 / (1.0 + math.exp(-min(max(log_odds[s], -700.0), 700.0)))


@compiled(fastmath=SUMS)
def fill_moments(x, members, shares, sizes, means, scatters, part):
    """Fill size, mean and scatter of a part, with members weighted by ``shares``."""
    size = x.shape[1]
    z, deviation, y = np.empty((size, _BLOCK)), np.empty((size, _BLOCK)), np.empty(_BLOCK)
    mean, scatter, total = means[part], scatters[part], 0.0
    mean[:] = 0.0
    scatter[:] = 0.0
    for begin in range(0, len(members), _BLOCK):
        m = _gather(x, members, begin, z)
        share = shares[begin : begin + m]
        for s in range(m):
            total += share[s]
        add_products(share, z, mean, m)
    for d in range(size):
        mean[d] /= total
    for begin in range(0, len(members), _BLOCK):
        m = _gather(x, members, begin, z)
        share = shares[begin : begin + m]
        deviate(z, mean, deviation, m)
        for d in range(size):
            row = deviation[d]
            for s in range(m):
                y[s] = share[s] * row[s]
            add_products(y, deviation, scatter[d, : d + 1], m)
    for d in range(size):
        for e in range(d):
            scatter[e, d] = scatter[d, e]
    sizes[part] = total


@compiled(fastmath=STRICT)
def _gather(x, members, begin, z):
    """Fill features of members from ``begin`` on, features first; return how many."""
    m = min(_BLOCK, len(members) - begin)
    for s in range(m):
        row = x[members[begin + s]]
        for d in range(len(row)):
            z[d, s] = row[d]
    return m


def _fill_expected_of_variances(spread, n, scatter, c0, C0, precision):
    n_features = len(precision)
    precision[:] = 0.0
    for d in range(n_features):
        if spread.size > 1:
            precision[d, d] = (c0 + 0.5 * n) / (C0[d] + 0.5 * scatter[d, d])
        else:
            total = 0.0
            for e in range(n_features):
                total += scatter[e, e]
            precision[d, d] = (c0 + 0.5 * n * n_features) / (C0[0] + 0.5 * total)


def _fill_expected_of_factors(spread, n, scatter, c0, C0, precision):
    size = len(precision)
    rate, inverse = np.empty((size, size)), np.zeros((size, size))
    for d in range(size):
        for e in range(size):
            rate[d, e] = (C0[d, e] + 0.5 * scatter[d, e]) / (c0 + 0.5 * n)
    factorise(rate)
    for d in range(size):
        for e in range(d + 1):
            total = 1.0 if d == e else 0.0
            for f in range(e, d):
                total -= rate[d, f] * inverse[f, e]
            inverse[d, e] = total / rate[d, d]
    precision[:] = 0.0
    add_gram(inverse, precision)


for_each_kind(fill_expected, _fill_expected_of_variances, _fill_expected_of_factors)
