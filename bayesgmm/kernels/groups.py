"""Observations of several features of which some entries are missing at random, or measured with errors.

Where the entries o are known up to errors with the covariance E, with d = x_o - mu_o and T = Sigma_oo + E = C C',

    log w_k p(x_o | k) = log w_k - sum_a log C_aa - |o| log(2 pi) / 2 - |C^-1 d|^2 / 2,

and given these and k the distance of the whole row from mu has mean A d and covariance Sigma - A Sigma_o., with
A = Sigma_.o T^-1.
Observations of which the same is known are a group. Its sums are formed in the entries known, by the kernel of exact rows,
and taken to D features once for each component.

References
----------
Little & Rubin (2019), Statistical Analysis with Missing Data. doi:10.1002/9781119482260

Bovy, Hogg & Roweis (2011), Extreme deconvolution: inferring complete distribution functions from noisy, heterogeneous and
incomplete observations, Annals of Applied Statistics 5, 1657-1677. doi:10.1214/10-AOAS439
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import carray
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels import multivariate
from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF, begin_sums, has_nan, no_unit
from bayesgmm.kernels.compiled import SUMS, compiled
from bayesgmm.kernels.pointers import pointer

AHEAD = 5  # numbers of a group before its features


class Groups(NamedTuple):
    """Observations (n, D) in groups of which the same entries are known up to the same errors.

    Attributes
    ----------
    table : (G, 5 + D) array of int
        Of each group where its observations begin and end in the order of groups, the number O of entries known, the
        addresses of their values (m, O) and of the errors' covariance (O, O), 0 if there is none, and the O features.
    order : (n,) array of int
        Which observation stands where in the order of groups.
    head : (2,) array of int
        G, and the address of the table.
    values, errors : arrays
        What is at the other addresses.
    """

    table: NDArray[np.int64]
    order: NDArray[np.int64]
    head: NDArray[np.int64]
    values: FloatArray
    errors: FloatArray

    @property
    def address(self) -> int:
        """Where the head begins."""
        return int(self.head.ctypes.data)

    def is_one(self, n_features: int) -> bool:
        """Whether all rows are complete and have the same error."""
        return len(self.table) == 1 and int(self.table[0, 2]) == n_features and int(self.table[0, 4]) != 0


def groups_of(x: FloatArray, error: FloatArray | None) -> Groups:
    """Groups of observations (n, D), NaN where nothing is known, of which errors have the covariances (n, D, D)."""
    n, n_features = x.shape
    known = ~np.isnan(x)
    same = _alike(np.packbits(known, axis=1))
    if error is not None:
        of_known = np.where(known[:, :, None] & known[:, None, :], error, 0.0).reshape(n, -1)
        same = _alike(np.column_stack([same, of_known]))
    order = np.argsort(same, kind="stable")
    begins = np.flatnonzero(np.diff(same[order], prepend=-1))
    ends = np.append(begins[1:], n)
    table, values, errors = np.zeros((len(begins), AHEAD + n_features), dtype=np.int64), [], []
    of_pattern = _alike(np.packbits(known[order[begins]], axis=1))
    at, at_error = 0, 0  # of what comes next among all values, and all errors
    for pattern in range(of_pattern.max() + 1):  # the groups of one follow each other, as `same` goes by the pattern first
        mine = np.flatnonzero(of_pattern == pattern)
        members, observed = order[begins[mine[0]] : ends[mine[-1]]], np.flatnonzero(known[order[begins[mine[0]]]])
        size = len(observed)
        rows = table[mine[0] : mine[-1] + 1]
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, AHEAD : AHEAD + size] = begins[mine], ends[mine], size, observed
        rows[:, 3] = at + (begins[mine] - begins[mine[0]]) * size
        values.append(x[np.ix_(members, observed)].ravel())
        at += len(values[-1])
        if error is not None:
            own = error[order[begins[mine]]][:, observed[:, None], observed]
            rows[:, 4] = np.where(own.any(axis=(1, 2)), at_error + np.arange(len(mine)) * size**2, -1)
            errors.append(own.ravel())
            at_error += own.size
        else:
            rows[:, 4] = -1
    packed, covariances = np.concatenate(values), np.concatenate(errors) if errors else np.zeros(0)
    table[:, 3] = packed.ctypes.data + packed.itemsize * table[:, 3]
    table[:, 4] = np.where(table[:, 4] < 0, 0, covariances.ctypes.data + covariances.itemsize * table[:, 4])
    return Groups(table, order, np.array([len(table), table.ctypes.data]), packed, covariances)


def _alike(rows: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row, the same for rows that are the same."""
    contiguous = np.ascontiguousarray(rows)
    whole = contiguous.view(np.dtype((np.void, contiguous.itemsize * contiguous.shape[1])))
    return np.unique(whole.reshape(-1), return_inverse=True)[1]


@compiled(fastmath=SUMS)
def table_at(address, n_features):
    """The table of groups, given the address of its head."""
    head = carray(pointer(address), (2,)).view(np.int64)
    return carray(pointer(head[1]), (head[0], AHEAD + n_features)).view(np.int64)


@compiled(fastmath=SUMS)
def fill_inverse(factor, inverse):
    """The inverse of a lower triangular matrix, row after row."""
    for a in range(len(factor)):
        for b in range(len(factor)):
            total = 1.0 if a == b else 0.0
            for e in range(b, a):
                total -= factor[a, e] * inverse[e, b]
            inverse[a, b] = total / factor[a, a] if b <= a else 0.0


@compiled(fastmath=SUMS)
def fill_marginal(cov, group, unit, marginal, inverse):
    """Fill T's lower factor C and its inverse, (O, O), of one component; returns log det C.

    ``unit`` (D) is what errors are multiplied by.
    """
    size = group[2]
    features = group[AHEAD : AHEAD + size]
    errors = carray(pointer(group[4]), (size if group[4] != 0 else 0, size))
    log_determinant = 0.0
    for a in range(size):
        for b in range(a + 1):
            total = cov[features[a], features[b]]
            if len(errors) > 0:
                total += errors[a, b] * unit[features[a]] * unit[features[b]]
            for e in range(b):
                total -= marginal[a, e] * marginal[b, e]
            marginal[a, b] = math.sqrt(total) if a == b else total / marginal[b, b]
        log_determinant += math.log(marginal[a, a])
    fill_inverse(marginal[:size, :size], inverse[:size, :size])
    return log_determinant


@compiled(fastmath=SUMS)
def fill_root_of_errors(group, root):
    """Fill the lower factor (O, O) of the errors' covariance, which may be singular."""
    size = group[2]
    errors = carray(pointer(group[4]), (size if group[4] != 0 else 0, size))
    for a in range(len(errors)):
        for b in range(a + 1):
            total = errors[a, b]
            for e in range(b):
                total -= root[a, e] * root[b, e]
            if a == b:
                root[a, a] = math.sqrt(max(total, 0.0))
            else:
                root[a, b] = total / root[b, b] if root[b, b] > 0.0 else 0.0


@compiled(fastmath=SUMS)
def fill_gain(cov, group, inverse, gain):
    """Fill W = C^-1 Sigma_o. (O, D) of one component: A = W' C^-1, A Sigma_o. = W' W."""
    size = group[2]
    for a in range(size):
        for d in range(len(cov)):
            total = 0.0
            for b in range(a + 1):
                total += inverse[a, b] * cov[group[AHEAD + b], d]
            gain[a, d] = total


@compiled(fastmath=SUMS)
def _fill_covariance(h, root, cov):
    """Sigma (D, D) of the E-step's H, and its lower factor; returns log |Sigma| / 2."""
    size, log_determinant = len(h), 0.0
    if h.shape[1] == 1:
        root[:] = 0.0
        for d in range(size):
            root[d, d] = 1.0 / h[d, 0]
    else:
        fill_inverse(h, root)
    for a in range(size):
        log_determinant += math.log(ROOT_HALF * root[a, a])
        for b in range(a + 1):
            total = 0.0
            for e in range(b + 1):
                total += root[a, e] * root[b, e]
            cov[a, b] = 0.5 * total
            cov[b, a] = cov[a, b]
    for a in range(size):
        for b in range(size):
            root[a, b] *= ROOT_HALF
    return log_determinant


@compiled(fastmath=SUMS)
def fill_coefficients(c, h, roots, covariances, log_w):
    """Covariances (K, D, D), their factors and log weights of components as the E-step takes them."""
    for j in range(len(h)):
        log_w[j] = c[j] + _fill_covariance(h[j], roots[j], covariances[j]) + h.shape[1] * HALF_LOG_2PI


@compiled(fastmath=SUMS)
def fill_of_group(group, unit, c, log_w, mu, covariances, marginal, inverse, offsets, means, whiteners):
    """The E-step's coefficients of what is known of a group: as of exact rows of O features."""
    size = group[2]
    offsets[len(log_w) :] = c[len(log_w) :]
    for j in range(len(log_w)):
        log_determinant = fill_marginal(covariances[j], group, unit, marginal, inverse[j])
        offsets[j] = log_w[j] - log_determinant - size * HALF_LOG_2PI
        for a in range(size):
            means[j, a] = mu[j, group[AHEAD + a]]
            for b in range(whiteners.shape[2]):
                whiteners[j, a, b] = ROOT_HALF * inverse[j, a, b if whiteners.shape[2] > 1 else a]


@compiled(fastmath=SUMS, inline=True)
def accumulate(address, weight, log_labels, shift, inverse_scale, c, mu, h, counts, first, second):
    """Fill N (K), S1 (K, D) and S2, of the shape of h, of the rows behind what is known; return the log-likelihood.

    Weights and labels are in the order of groups.
    """
    if not begin_sums(c, mu, h, counts, first, second):
        return np.nan
    k, n_features = mu.shape
    table, diagonal, log_likelihood = table_at(address, n_features), h.shape[2] == 1, 0.0
    covariances, inverse, log_w = np.empty((k, n_features, n_features)), np.empty((k, n_features, n_features)), np.empty(k)
    marginal, gain = np.empty((n_features, n_features)), np.empty((n_features, n_features))
    fill_coefficients(c, h, inverse, covariances, log_w)
    offsets, of_group = np.empty(len(c)), np.empty(len(c))
    for group in table:
        begin, end, size = group[0], group[1], group[2]
        width = 1 if diagonal and group[4] == 0 else size
        means, whiteners = np.empty((k, size)), np.empty((k, size, width))
        first_known, second_known = np.empty((k, size)), np.empty((k, size, width))
        centre, factor = np.empty(size), np.empty(size)
        for a in range(size):
            centre[a], factor[a] = shift[group[AHEAD + a]], inverse_scale[group[AHEAD + a]]
        fill_of_group(group, inverse_scale, c, log_w, mu, covariances, marginal, inverse, offsets, means, whiteners)
        values = carray(pointer(group[3]), (end - begin, size))
        log_likelihood += multivariate.accumulate(
            values, weight[begin:end], log_labels[:, begin:end], centre, factor, offsets, means, whiteners,
            of_group, first_known, second_known,
        )  # fmt: skip
        for j in range(len(c)):
            counts[j] += of_group[j]
        for j in range(k):
            fill_gain(covariances[j], group, inverse[j], gain)
            _add_completed(
                group, of_group[j], first_known[j], second_known[j], inverse[j], gain, covariances[j], first[j], second[j]
            )
    return log_likelihood


@compiled(fastmath=SUMS)
def _add_completed(group, count, first_known, second_known, inverse, gain, cov, first, second):
    """Add A S1_o to S1, and A S2_o A' + N (Sigma - A Sigma_o.) to S2."""
    size, n_features = group[2], len(cov)
    white = np.empty((size, n_features))  # A' = C^-T W
    for a in range(size):
        for d in range(n_features):
            total = 0.0
            for b in range(a, size):
                total += inverse[b, a] * gain[b, d]
            white[a, d] = total
    products = np.empty((size, n_features))  # S2_o A'
    for a in range(size):
        for d in range(n_features):
            total = 0.0
            if second_known.shape[1] > 1:
                for b in range(size):
                    total += second_known[a, b] * white[b, d]
            else:
                total = second_known[a, 0] * white[a, d]
            products[a, d] = total
    diagonal = second.shape[1] == 1
    for d in range(n_features):
        for a in range(size):
            first[d] += white[a, d] * first_known[a]
        for e in range(d if diagonal else 0, d + 1):
            total = count * cov[d, e]
            for a in range(size):
                total += white[a, d] * products[a, e] - count * gain[a, d] * gain[a, e]
            second[d, 0 if diagonal else e] += total
            if not diagonal and e < d:
                second[e, d] += total


@compiled(fastmath=SUMS)
def log_densities(address, order, log_labels, c, mu, h, out, shares):
    """Log density of what is known of every row for every set of parameters: see :mod:`.univariate`.

    Labels are in the order of groups, results in that of the rows.
    """
    n_sets, k, n_features = mu.shape
    table, unit = table_at(address, n_features), no_unit(n_features)[1]
    covariances, inverse, log_w = np.empty((k, n_features, n_features)), np.empty((k, n_features, n_features)), np.empty(k)
    marginal, offsets = np.empty((n_features, n_features)), np.empty((1, c.shape[1]))
    for s in range(n_sets):
        if has_nan(c[s], mu[s], h[s]):
            out[s] = np.nan
            shares[s : s + 1] = np.nan
            continue
        fill_coefficients(c[s], h[s], inverse, covariances, log_w)
        for group in table:
            begin, end, size = group[0], group[1], group[2]
            means, whiteners = np.empty((1, k, size)), np.empty((1, k, size, size))
            fill_of_group(
                group, unit, c[s], log_w, mu[s], covariances, marginal, inverse, offsets[0], means[0], whiteners[0]
            )
            values, found = carray(pointer(group[3]), (end - begin, size)), np.empty((1, end - begin))
            of_group = np.empty((min(len(shares), 1), end - begin, c.shape[1]))
            multivariate.log_densities(values, log_labels[:, begin:end], offsets, means, whiteners, found, of_group)
            for i in range(end - begin):
                out[s, order[begin + i]] = found[0, i]
                for j in range(c.shape[1] if len(shares) > 0 else 0):
                    shares[s, order[begin + i], j] = of_group[0, i, j]
