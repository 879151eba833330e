"""Probability and moments of a normal distribution within an interval, with sixty digits."""

import mpmath as mp
import numpy as np


def interval_moments(a, b):
    """Log P(a < t < b), E[t | a < t < b] and E[t^2 | a < t < b] of a standard normal t, as mpmath numbers."""
    with mp.workdps(60):
        a, b = mp.mpf(float(a)), mp.mpf(float(b))
        of_a, of_b = (mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi) for t in (a, b))
        above = lambda t: mp.erfc(t / mp.sqrt(2)) / 2  # noqa: E731
        p = above(a) - above(b) if mp.isinf(b) or a + b > 0 else above(-b) - above(-a)
        products = [mp.mpf(0) if mp.isinf(t) else t * density for t, density in ((a, of_a), (b, of_b))]
        return mp.log(p), (of_a - of_b) / p, 1 + (products[0] - products[1]) / p


def row_by_row(lower, upper, weights, means, sd):
    """Log joint densities (n, K), and mean and mean square (n, K, D) of the true rows' deviation from mu."""
    (n, d), k = lower.shape, len(weights)
    joint, first, second = np.log(weights) * np.ones((n, 1)), np.empty((n, k, d)), np.empty((n, k, d))
    for i, j, f in np.ndindex(n, k, d):
        a, b = ((end[i, f] - means[j, f]) / sd[j, f] for end in (lower, upper))
        if a == b:
            found = -a * a / 2 - np.log(sd[j, f]) - np.log(2 * np.pi) / 2, a, a * a
        else:
            found = [float(each) for each in interval_moments(a, b)]
        joint[i, j] += found[0]
        first[i, j, f], second[i, j, f] = sd[j, f] * found[1], sd[j, f] ** 2 * found[2]
    return joint, first, second
