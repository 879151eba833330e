"""Expected losses of partitions under draws of allocations, and the search for smaller ones."""

from __future__ import annotations

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled


@compiled(fastmath=STRICT)
def expected_loss(labels, z, f, most):
    """Sum f(n_a) + mean over draws of (sum f(m_b) - 2 sum f(n_ab)), not divided by the unit."""
    n_draws, n = z.shape
    k = int(z.max()) + 1
    own, theirs, both = np.zeros(most, np.int64), np.empty(k, np.int64), np.empty((most, k), np.int64)
    for i in range(n):
        own[labels[i]] += 1
    value = 0.0
    for s in range(n_draws):
        theirs[:], both[:] = 0, 0
        for i in range(n):
            theirs[z[s, i]] += 1
            both[labels[i], z[s, i]] += 1
        for b in range(k):
            value += f[theirs[b]]
            for a in range(most):
                value -= 2.0 * f[both[a, b]]
    value /= n_draws
    for a in range(most):
        value += f[own[a]]
    return value


@compiled(fastmath=STRICT)
def sweep(labels, z, f, most, rng):
    """Move single observations to where the expected loss is smallest, in random orders, until none moves."""
    n_draws, n = z.shape
    k = int(z.max()) + 1
    own, both = np.zeros(most, np.int64), np.zeros((most, k, n_draws), np.int32)
    for i in range(n):
        own[labels[i]] += 1
        for s in range(n_draws):
            both[labels[i], z[s, i], s] += 1
    order = np.arange(n)
    for _ in range(100):
        for i in range(n - 1, 0, -1):
            other = int(rng.random() * (i + 1))
            order[i], order[other] = order[other], order[i]
        moved = False
        for i in order:
            old = labels[i]
            own[old] -= 1
            for s in range(n_draws):
                both[old, z[s, i], s] -= 1
            best, lowest, emptied = old, np.inf, False
            for a in range(most):
                if own[a] == 0 and a != old:
                    if emptied or own[old] == 0:
                        continue  # one empty cluster is like another
                    emptied = True
                gain = 0.0
                for s in range(n_draws):
                    count = both[a, z[s, i], s]
                    gain += f[count + 1] - f[count]
                cost = f[own[a] + 1] - f[own[a]] - 2.0 * gain / n_draws
                if cost < lowest - 1e-9 or (a == old and cost <= lowest + 1e-9):
                    best, lowest = a, cost
            own[best] += 1
            for s in range(n_draws):
                both[best, z[s, i], s] += 1
            if best != old:
                labels[i], moved = best, True
        if not moved:
            break
