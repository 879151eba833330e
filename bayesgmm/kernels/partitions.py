"""Losses of partitions under draws of allocations, and a greedy search that reduces their mean."""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled


@compiled(fastmath=STRICT)
def _of(f, entropic, size):
    """F(size): looked up in ``f``, or n log2 n, or n^2 (:func:`bayesgmm.partition`)."""
    if len(f) > 0:
        return f[int(size)]
    if entropic:
        return size * math.log2(size) if size > 0 else 0.0
    return float(size) * float(size)


@compiled(fastmath=STRICT)
def losses(labels, z, counts, f, entropic, most):
    """Sum f(n_a) + sum f(m_b) - 2 sum f(n_ab) for each draw z (S, n), not normalised: see :func:`bayesgmm.partition`.

    ``counts`` (n) are the weights of the observations. Labels are below ``most``.
    """
    n_draws, n = z.shape
    k = int(z.max()) + 1
    own, theirs, both = np.zeros(most, counts.dtype), np.empty(k, counts.dtype), np.empty((most, k), counts.dtype)
    for i in range(n):
        own[labels[i]] += counts[i]
    of_labels = 0.0
    for a in range(most):
        of_labels += _of(f, entropic, own[a])
    result = np.full(n_draws, of_labels)
    for s in range(n_draws):
        theirs[:], both[:] = 0, 0
        for i in range(n):
            theirs[z[s, i]] += counts[i]
            both[labels[i], z[s, i]] += counts[i]
        for b in range(k):
            result[s] += _of(f, entropic, theirs[b])
            for a in range(most):
                result[s] -= 2.0 * _of(f, entropic, both[a, b])
    return result


@compiled(fastmath=STRICT)
def sweep(labels, z, counts, f, entropic, most, rng):
    """Move single observations, in random order, to where the expected loss is smallest; at most 100 rounds."""
    n_draws, n = z.shape
    k = int(z.max()) + 1
    own, members = np.zeros(most, counts.dtype), np.zeros(most, np.int64)
    both = np.zeros((most, k, n_draws), counts.dtype)
    for i in range(n):
        own[labels[i]] += counts[i]
        members[labels[i]] += 1
        for s in range(n_draws):
            both[labels[i], z[s, i], s] += counts[i]
    order = np.arange(n)
    for _ in range(100):
        for i in range(n - 1, 0, -1):
            other = int(rng.random() * (i + 1))
            order[i], order[other] = order[other], order[i]
        moved = False
        for i in order:
            old, many = labels[i], counts[i]
            own[old] -= many
            members[old] -= 1
            for s in range(n_draws):
                both[old, z[s, i], s] -= many
            best, lowest, emptied = old, np.inf, False
            for a in range(most):
                if members[a] == 0 and a != old:
                    if emptied or members[old] == 0:
                        continue  # all empty clusters are equivalent
                    emptied = True
                gain = 0.0
                for s in range(n_draws):
                    count = both[a, z[s, i], s]
                    gain += _of(f, entropic, count + many) - _of(f, entropic, count)
                cost = _of(f, entropic, own[a] + many) - _of(f, entropic, own[a]) - 2.0 * gain / n_draws
                if cost < lowest - 1e-9 or (a == old and cost <= lowest + 1e-9):
                    best, lowest = a, cost
            own[best] += many
            members[best] += 1
            for s in range(n_draws):
                both[best, z[s, i], s] += many
            if best != old:
                labels[i], moved = best, True
        if not moved:
            break
