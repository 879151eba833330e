"""Which component of a draw is which cluster: assignments, exact ones, and what is summed under them."""

from __future__ import annotations

import numpy as np

from bayesgmm.kernels.compiled import STRICT, SUMS, compiled

_BLOCK = 256  # observations that are looked at for all pairs before the next


@compiled(fastmath=STRICT)
def assign_each(costs, orders):
    """For each of many square matrices (S, K, K) the column of each row, (S, K), that makes the sum of costs least."""
    scratch = room_for_assignment(costs.shape[1])
    for s in range(len(costs)):
        assign(costs[s], orders[s], scratch)


@compiled(fastmath=STRICT)
def harden(shares):
    """Turn probabilities (S, n, K) of components into one for the most probable, all that are so, and zero."""
    for s in range(len(shares)):
        for i in range(shares.shape[1]):
            most = shares[s, i, 0]
            for j in range(1, shares.shape[2]):
                most = max(most, shares[s, i, j])
            for j in range(shares.shape[2]):
                shares[s, i, j] = 1.0 if shares[s, i, j] == most else 0.0


@compiled(fastmath=STRICT)
def add_in_order(membership, target, forbidden, orders, total):
    """Add the membership (S, n, K) of observations over draws, in the orders that fit a target.

    Parameters
    ----------
    membership : (S, n, K) array, or (S, n, K + 1)
        Of components, and of noise.
    target : (n, K) array, or (0, K)
        The orders are those in which the sum of target times membership is largest; without a target those given.
    forbidden : (K, K) array
        Added to that sum for each cluster and component that are paired.
    orders : (S, K) array
        The component of each draw that comes at each place; filled where there is a target.
    total : (n, K) array
        Is added to.
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
    for j in range(len(costs)):  # to assign an array to a slice compiles numba's message on shapes, which takes seconds
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
    """Duals of rows and of columns, and lengths of paths; four lists of columns."""
    return np.empty((3, k)), np.empty((4, k), np.int64)


@compiled(fastmath=STRICT)
def assign(cost, order, scratch):
    """Fill the column of each row, (K,), that makes the sum of costs least; the first of the scratch holds the duals.

    One row after the other by the shortest augmenting path (Crouse 2016, doi:10.1109/TAES.2016.140952).

    Of equally near columns a free one comes first, the last of those: so ties are settled as scipy settles them.
    """
    (of_row, of_column, length), (row_of, reached_from, left, seen) = scratch
    k = len(cost)
    of_row[:], of_column[:], order[:], row_of[:] = 0.0, 0.0, -1, -1
    for added in range(k):
        length[:], seen[:] = np.inf, 0  # seen: 1 for a column that a path has come through
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
            if not shortest < np.inf:  # no numbers: whatever is left
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
