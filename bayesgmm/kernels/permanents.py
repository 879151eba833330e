"""Mixture densities summed over all relabellings: permanents by dynamic programming.

A kernel t is a product of densities over clusters j. Let f_ij be the density of component i under cluster j. The kernel's
density, summed over the K! ways to assign components to clusters, is the permanent of the matrix f. It is found by expansion
along rows: the permanent of the first r rows and a set of r columns is a sum over these columns. Each term is the entry in
row r times the permanent without this row and column. All K 2^(K - 1) products are of positive numbers, so nothing cancels.
Rows, then columns, are divided by their largest entries.

With more than :data:`MOST_AT_ONCE` components most entries are negligible. The matrix is first scaled by the duals of the
best assignment, so that the entries of this assignment are one and no entry is larger. Without its negligible entries the
matrix is block triangular up to a permutation. Its permanent is the product of the permanents of the diagonal blocks.
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.assignments import assign, room_for_assignment
from bayesgmm.kernels.compiled import STRICT, compiled
from bayesgmm.kernels.variates import log_heavy

MOST_AT_ONCE = 8  # components up to which the permanent is computed without a search for blocks
_LOST = 1e-8  # largest relative error of a permanent because of neglected entries
_NEGLIGIBLE = 20.0  # a kernel is skipped if its density is less than exp(-20) of the largest so far
_SMALL = 1e-250  # below it, a permanent may have lost terms to underflow
_LARGE = 1e200  # beyond it, a product is replaced by its logarithm


@compiled(fastmath=STRICT)
def subset_steps(k):
    """For each set of r columns and each of its columns: the set without it, and the index of its entry in the r-th row."""
    steps = np.empty((k << (k - 1), 2), np.int32)
    at = 0
    for columns in range(1, 1 << k):
        row = -1
        for j in range(k):
            row += columns >> j & 1
        for j in range(k):
            if columns >> j & 1:
                steps[at, 0], steps[at, 1] = columns ^ (1 << j), row * k + j
                at += 1
    return steps


@compiled(fastmath=STRICT)
def log_permanent(log_f, least, steps, scaled, table):
    """Log permanent of exp(log_f), (K, K), or -inf if an upper bound is below ``least``; scratch of sizes K^2 and 2^K."""
    k = len(log_f)
    scale, log_factorial = 0.0, 0.0
    for i in range(k):
        largest = log_f[i].max()
        if largest == -np.inf:
            return -np.inf
        scale += largest
        log_factorial += math.log(i + 1.0)
        for j in range(k):
            scaled[i * k + j] = log_f[i, j] - largest
    for j in range(k):
        largest = -np.inf
        for i in range(k):
            largest = max(largest, scaled[i * k + j])
        if largest == -np.inf:
            return -np.inf
        scale += largest
        for i in range(k):
            scaled[i * k + j] -= largest
    if scale + log_factorial < least:
        return -np.inf
    for entry in range(k * k):
        scaled[entry] = math.exp(scaled[entry])
    table[0] = 1.0
    at = 0
    for columns in range(1, 1 << k):
        total = 0.0
        end = at + steps[at, 1] // k + 1
        while at < end:
            total += table[steps[at, 0]] * scaled[steps[at, 1]]
            at += 1
        table[columns] = total
    if total > _SMALL:
        return scale + math.log(total)
    if scale + math.log(_SMALL) + log_factorial < least:
        return -np.inf
    return _by_logarithms(log_f, steps, table)


@compiled(fastmath=STRICT)
def _by_logarithms(log_f, steps, table):
    """Log permanent of exp(log_f) by sums of logarithms: slower, but without underflow."""
    k = len(log_f)
    table[0] = 0.0
    at = 0
    for columns in range(1, 1 << k):
        end = at + steps[at, 1] // k + 1
        largest = -np.inf
        for step in range(at, end):
            entry = steps[step, 1]
            largest = max(largest, table[steps[step, 0]] + log_f[entry // k, entry % k])
        total = 0.0
        while at < end:
            entry = steps[at, 1]
            if largest > -np.inf:
                total += math.exp(table[steps[at, 0]] + log_f[entry // k, entry % k] - largest)
            at += 1
        table[columns] = largest + math.log(total) if largest > -np.inf else -np.inf
    return table[(1 << k) - 1]


@compiled(fastmath=STRICT)
def log_permanent_by_blocks(log_f, least, scratch, table):
    """Log permanent of exp(log_f), (K, K), by blocks, or -inf if an upper bound is below ``least``.

    ``scratch`` comes from :func:`room_for_blocks`, and ``table`` has size 2^K. Entries are neglected only if all
    permutations that contain one are together less than ``_LOST`` of the permanent.
    """
    cost, shares, order, reached, members, of_assignment = scratch
    k = len(log_f)
    for i in range(k):
        for j in range(k):
            cost[i, j] = -log_f[i, j]
    assign(cost, order, of_assignment)
    of_row, of_column = of_assignment[0][0], of_assignment[0][1]
    value, largest = 0.0, 0.0
    for i in range(k):
        if log_f[i, order[i]] == -np.inf:
            return -np.inf
        value -= of_row[i] + of_column[i]
    for i in range(k):
        of_all = 0.0
        for j in range(k):
            shares[i, j] = math.exp(min(log_f[i, order[j]] + of_row[i] + of_column[order[j]], 0.0))
            of_all += shares[i, j]
        largest += math.log(of_all)
    if value + largest < least:
        return -np.inf
    negligible = _LOST * math.exp(-largest) / (k * k)
    for i in range(k):
        reached[i] = 0
        for j in range(k):
            if shares[i, j] > negligible:
                reached[i] |= 1 << j
    for through in range(k):
        for i in range(k):
            if reached[i] >> through & 1:
                reached[i] |= reached[through]
    for i in range(k):
        size = 0
        for j in range(k):
            if reached[i] >> j & 1 and reached[j] >> i & 1:
                members[0, size] = j
                size += 1
        if members[0, 0] == i and size > 1:  # a block, when its first row comes
            value += math.log(_permanent(log_f, shares, order, members, size, table))
    return value


@compiled(fastmath=STRICT)
def _permanent(log_f, shares, order, members, size, table):
    """Permanent of the block with rows and columns ``members[0, :size]``, with ones on the diagonal and no larger entry.

    Clusters without observations have equal columns. Only the number of such columns in a set matters, so that sets with
    the same numbers are computed once.
    """
    rows, columns, copies, strides, chosen = members
    groups = 0
    for j in range(size):
        group = 0
        while group < groups and not _are_equal(log_f, order[rows[j]], order[columns[group]]):
            group += 1
        if group == groups:
            columns[group], copies[group], chosen[group] = rows[j], 0, 0
            groups += 1
        copies[group] += 1
    states = 1
    for group in range(groups):
        strides[group] = states
        states *= copies[group] + 1
    table[0] = 1.0
    for state in range(1, states):
        group = 0
        while chosen[group] == copies[group]:
            chosen[group] = 0
            group += 1
        chosen[group] += 1
        row = -1
        for group in range(groups):
            row += chosen[group]
        total = 0.0
        for group in range(groups):
            if chosen[group] > 0:
                total += chosen[group] * table[state - strides[group]] * shares[rows[row], columns[group]]
        table[state] = total
    return table[states - 1]


@compiled(fastmath=STRICT)
def _are_equal(matrix, one, other):
    different = 0
    for i in range(len(matrix)):
        different += matrix[i, one] != matrix[i, other]
    return different == 0


@compiled(fastmath=STRICT)
def room_for_blocks(k):
    """Scratch for :func:`log_permanent_by_blocks`: costs, scaled entries, assignment, reachability, block, duals."""
    order, reached, members = np.empty(k, np.int64), np.empty(k, np.int64), np.empty((5, k), np.int64)
    return np.empty((k, k)), np.empty((k, k)), order, reached, members, room_for_assignment(k)


@compiled(fastmath=STRICT)
def fill_log_densities(s, t, points, kernels, log_f):
    """Fill log f_ij of point s and kernel t, without terms common to all pairs: see :mod:`bayesgmm.comparison.proposal`."""
    log_w, nu, log_determinants, precisions, eigenvalues, pulls, _, log_freedom = points
    counts, weight_powers, constants, powers, rates, centres, _, _, of_freedom = kernels
    k, n_features = nu.shape[1], nu.shape[2]
    own, entries = log_determinants.shape[1] == k, precisions.shape[2]
    for i in range(k):
        block = i if eigenvalues.shape[1] == k else 0
        for j in range(k):
            value = constants[t, j] + weight_powers[t, j] * log_w[s, i]
            if log_freedom.shape[1] > 0:
                location, scale = of_freedom[t, j, 0], of_freedom[t, j, 1]
                value += log_heavy((log_freedom[s, i] - location) / scale) - math.log(scale)
            if own:
                value += powers[t, j] * log_determinants[s, i]
                for e in range(entries):
                    value -= rates[t, j, e] * precisions[s, i, e]
            product, distance = 1.0, 0.0
            for d in range(n_features):
                gain = counts[t, j] * eigenvalues[s, block, d]
                pull = 0.0
                for e in range(n_features):
                    pull += pulls[s, block, d, e] * centres[t, j, e]
                step = nu[s, i, d] - counts[t, j] / (1.0 + gain) * pull
                distance += (1.0 + gain) * step * step
                product *= 1.0 + gain
                if product > _LARGE:
                    value += 0.5 * math.log(product)
                    product = 1.0
            log_f[i, j] = value + 0.5 * math.log(product) - 0.5 * distance


@compiled(fastmath=STRICT)
def mixture_log_densities(points, kernels, classes, steps, out):
    """Fill the log mean over kernels of their densities at each point, summed over relabellings within the classes.

    ``steps`` come from :func:`subset_steps`; with None, permanents are computed by blocks.
    """
    log_w, _, log_determinants, precisions = points[0], points[1], points[2], points[3]
    powers, rates, common = kernels[3], kernels[4], kernels[6]
    shares, share_powers = points[6], kernels[7]
    size, k = log_w.shape
    n_kernels = len(powers)
    tied = log_determinants.shape[1] < k or powers.shape[1] < k
    log_f, table = np.empty((k, k)), np.empty(1 << k)
    if steps is None:
        scratch = room_for_blocks(k)
    else:
        scaled = np.empty(k * k)
    for s in range(size):
        largest, total = -np.inf, 0.0
        for t in range(n_kernels):
            shared = common[t]
            for e in range(shares.shape[1]):  # log shares of noise and of the rest
                shared += share_powers[t, e] * shares[s, e]
            if tied:
                shared += powers[t, 0] * log_determinants[s, 0]
                for e in range(precisions.shape[2]):
                    shared -= rates[t, 0, e] * precisions[s, 0, e]
            fill_log_densities(s, t, points, kernels, log_f)
            for i in range(k):
                for j in range(k):
                    if classes[i] != classes[j]:
                        log_f[i, j] = -np.inf
            least = largest - _NEGLIGIBLE - shared
            if steps is None:
                value = shared + log_permanent_by_blocks(log_f, least, scratch, table)
            else:
                value = shared + log_permanent(log_f, least, steps, scaled, table)
            if value > largest:
                total = total * math.exp(largest - value) + 1.0 if total > 0.0 else 1.0
                largest = value
            elif value > -np.inf:
                total += math.exp(value - largest)
        out[s] = largest + math.log(total / n_kernels) if total > 0.0 else -np.inf
