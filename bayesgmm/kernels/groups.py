"""E-step for several features, with entries that are missing at random or measured with errors.

Let o be the observed entries of a row, E the covariance of their errors, d = x_o - mu_o and T = Sigma_oo + E = C C'. Then

    log w_k p(x_o | k) = log w_k - sum_a log C_aa - |o| log(2 pi) / 2 - |C^-1 d|^2 / 2.

Let A = Sigma_.o T^-1. Given x_o and k, the true row has covariance Sigma - A Sigma_o. and mean mu + A d.

Observations with the same observed entries and the same E form a group. The kernel for exact rows computes a group's sums
over the observed entries. They are extended to all D features once per component.

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

AHEAD = 5  # numbers before the features in a row of the table


class Groups(NamedTuple):
    """Observations (n, D) in groups with the same observed entries and the same error covariance.

    Attributes
    ----------
    table : (G, 5 + D) array of int
        A row for each group: begin and end of its observations in the order of groups; the number O of observed entries;
        the address of their values (m, O); that of the error covariance (O, O), or 0 if there is none; the O features.
    order : (n,) array of int
        Index of the observation at each position in the order of groups.
    head : (2,) array of int
        G, and the address of the table.
    values, errors : arrays
        The memory at the addresses in the table.
    """

    table: NDArray[np.int64]
    order: NDArray[np.int64]
    head: NDArray[np.int64]
    values: FloatArray
    errors: FloatArray

    @property
    def address(self) -> int:
        """Address of the head."""
        return int(self.head.ctypes.data)

    def is_one(self, n_features: int) -> bool:
        """Whether all rows are complete and have the same error."""
        return len(self.table) == 1 and int(self.table[0, 2]) == n_features and int(self.table[0, 4]) != 0


def groups_of(x: FloatArray, error: FloatArray | None) -> Groups:
    """Group observations (n, D), NaN where missing, with error covariances (n, D, D) or None."""
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
    at, at_error = 0, 0  # offsets of the next block within values and errors
    for pattern in range(of_pattern.max() + 1):  # its groups are adjacent, since `same` sorts by pattern first
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
    """Integer labels of the rows, equal for equal rows."""
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
    """Fill the inverse of a lower triangular matrix."""
    for a in range(len(factor)):
        for b in range(len(factor)):
            total = 1.0 if a == b else 0.0
            for e in range(b, a):
                total -= factor[a, e] * inverse[e, b]
            inverse[a, b] = total / factor[a, a] if b <= a else 0.0


@compiled(fastmath=SUMS)
def fill_marginal(cov, group, unit, marginal, inverse):
    """Fill the Cholesky factor C of T, and C^-1, both (O, O), for one component; return log det C.

    The errors of each feature are multiplied by ``unit`` (D).
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
    """Fill the Cholesky factor (O, O) of the error covariance, which may be singular."""
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
    """Fill W = C^-1 Sigma_o. (O, D) for one component, so that A = W' C^-1 and A Sigma_o. = W' W."""
    size = group[2]
    for a in range(size):
        for d in range(len(cov)):
            total = 0.0
            for b in range(a + 1):
                total += inverse[a, b] * cov[group[AHEAD + b], d]
            gain[a, d] = total


@compiled(fastmath=SUMS)
def _fill_covariance(h, root, cov):
    """Fill Sigma (D, D) and its Cholesky factor from the E-step's H; return log |Sigma| / 2."""
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
    """Fill covariances (K, D, D), their Cholesky factors and the log weights from the E-step's coefficients."""
    for j in range(len(h)):
        log_w[j] = c[j] + _fill_covariance(h[j], roots[j], covariances[j]) + h.shape[1] * HALF_LOG_2PI


@compiled(fastmath=SUMS)
def fill_of_group(group, unit, c, log_w, mu, covariances, marginal, inverse, offsets, means, whiteners):
    """Fill the E-step's coefficients for a group's observed entries, as for exact rows with O features."""
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
    """Fill N (K), S1 (K, D) and S2 (shape of h) of the true rows; return the log-likelihood.

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
    """Log density of the observed entries of every row for every set of parameters: see :mod:`.univariate`.

    Labels are in the order of groups, results in the order of the rows.
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
