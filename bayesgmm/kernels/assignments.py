"""Relabelling: optimal assignment of a draw's components to clusters, and sums of memberships under it."""

from __future__ import annotations

import numpy as np

from bayesgmm.kernels.compiled import STRICT, SUMS, compiled

_BLOCK = 256  # observations per block, so that they stay in the cache for all pairs


@compiled(fastmath=STRICT)
def assign_each(costs, orders):
    """Fill the assignment (S, K), the column of each row, that minimises the total cost in each matrix (S, K, K)."""
    scratch = room_for_assignment(costs.shape[1])
    for s in range(len(costs)):
        assign(costs[s], orders[s], scratch)


@compiled(fastmath=STRICT)
def harden(shares):
    """Replace probabilities (S, n, K) by 1 for the most probable component, or several if tied, and 0 for the others."""
    for s in range(len(shares)):
        for i in range(shares.shape[1]):
            most = shares[s, i, 0]
            for j in range(1, shares.shape[2]):
                most = max(most, shares[s, i, j])
            for j in range(shares.shape[2]):
                shares[s, i, j] = 1.0 if shares[s, i, j] == most else 0.0


@compiled(fastmath=STRICT)
def add_in_order(membership, target, forbidden, orders, total):
    """Sum the observations' membership over draws, with components reordered to fit a target.

    Parameters
    ----------
    membership : (S, n, K) array, or (S, n, K + 1)
        Membership in the components; the last column is noise, which is ignored.
    target : (n, K) array, or (0, K)
        Each order maximises the sum of target times membership. With an empty target, ``orders`` are used as given.
    forbidden : (K, K) array
        Added to that sum for each pair of cluster and component; large negative entries forbid a pair.
    orders : (S, K) array
        The component of each draw that becomes each cluster; overwritten if there is a target.
    total : (n, K) array
        Incremented by the reordered membership.
    """
    k = orders.shape[1]
    costs, scratch = np.empty((k, k)), room_for_assignment(k)
    for s in range(len(membership)):
        if len(target):
            _fill_costs(membership[s], target, forbidden, costs)
            assign(costs, orders[s], scratch)
        for i in range(len(total)):
            for j in range(k):
                total[i, j] += membership[s, i, orders[s, j]]


@compiled(fastmath=SUMS)
def _fill_costs(membership, target, forbidden, costs):
    for j in range(len(costs)):  # a slice assignment would compile numba's shape errors, which takes seconds
        for m in range(len(costs)):
            costs[j, m] = -forbidden[j, m]
    for begin in range(0, len(target), _BLOCK):
        end = min(begin + _BLOCK, len(target))
        for j in range(len(costs)):
            for m in range(len(costs)):
                fit = 0.0
                for i in range(begin, end):
                    fit += target[i, j] * membership[i, m]
                costs[j, m] -= fit


@compiled(fastmath=STRICT)
def room_for_assignment(k):
    """Scratch for :func:`assign`: duals of rows and columns and path lengths (3, K), and four integer arrays (4, K)."""
    return np.empty((3, k)), np.empty((4, k), np.int64)


@compiled(fastmath=STRICT)
def assign(cost, order, scratch):
    """Fill the column of each row, (K,), that minimises the total cost; ``scratch[0][:2]`` then holds the duals.

    Shortest augmenting paths (Crouse 2016, doi:10.1109/TAES.2016.140952). Ties are broken as in scipy: among equally near
    columns, the last free one is taken.
    """
    (of_row, of_column, length), (row_of, reached_from, left, seen) = scratch
    k = len(cost)
    of_row[:], of_column[:], order[:], row_of[:] = 0.0, 0.0, -1, -1
    for added in range(k):
        length[:], seen[:] = np.inf, 0  # seen: 1 for a column on the shortest-path tree
        for place in range(k):
            left[place] = k - 1 - place
        row, so_far, n_left = added, 0.0, k
        while True:
            best, shortest = 0, np.inf
            for place in range(n_left):
                column = left[place]
                reached = so_far + cost[row, column] - of_row[row] - of_column[column]
                if reached < length[column]:
                    length[column], reached_from[column] = reached, row
                if length[column] < shortest or (length[column] == shortest and row_of[column] < 0):
                    best, shortest = place, length[column]
            if not shortest < np.inf:  # NaN or infinite costs: take any column
                reached_from[left[best]] = row
            column, so_far = left[best], shortest
            seen[column] = 1
            n_left -= 1
            left[best] = left[n_left]
            if row_of[column] < 0:
                break
            row = row_of[column]
        of_row[added] += so_far
        for other in range(k):
            if seen[other]:
                if row_of[other] >= 0:
                    of_row[row_of[other]] += so_far - length[other]
                of_column[other] -= so_far - length[other]
        while True:
            row = reached_from[column]
            row_of[column] = row
            column, order[row] = order[row], column
            if row == added:
                break
