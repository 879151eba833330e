"""Draw the sums of true rows from the sums of measured rows, if all rows have the same measurement error.

Let d_i be the deviation of a measured row from the mean mu of its component. The true row deviates from mu by

    A d_i + e_i,    e_i ~ N(0, M M'),    M M' = Sigma - A Sigma,    A = Sigma T^-1,    T = Sigma + E = C C'

(:mod:`.groups`). The N deviations d (N, D) of a component have the sums s = d'1 and S = d'd. Let [1, d] = Q R with rank r
and R = [R_1, R_d]. The rows e (N, D) have e'Q = M Z with Z (D, r) standard normal. Independently, e'(I - QQ')e = M W M',
where W is a Wishart matrix with N - r degrees of freedom. The sums of the true rows are therefore

    A s + M Z R_1,    A S A' + (M Z R_d) A' + A (M Z R_d)' + M (Z Z' + W) M'.

R'R is the matrix of N, s and S, so the rows are not needed again.

References
----------
Mardia, Kent & Bibby (1979), Multivariate Analysis, section 3.4. ISBN 978-0-12-471252-2
"""

from __future__ import annotations

import math

import numpy as np

from bayesgmm.kernels.compiled import STRICT, compiled

_FLAT = 1e-12  # a pivot below this part of its diagonal entry is rounding error


@compiled(fastmath=STRICT)
def draw_sums(rng, count, inverse, gain, cov, first, second):
    """Replace one component's S1 (D) and S2 (D, D) (lower triangle) of measured rows by those of true rows.

    ``inverse`` is C^-1, ``gain`` is G = C^-1 Sigma, so that A = G' C^-1, and ``cov`` is Sigma.
    """
    size = len(first)
    towards, root = np.empty((size, size)), np.empty((size, size))  # A, M
    for a in range(size):
        for b in range(size):
            towards[a, b] = 0.0
            for e in range(b, size):
                towards[a, b] += gain[e, a] * inverse[e, b]
            root[a, b] = cov[a, b]
            for e in range(size):
                root[a, b] -= gain[e, a] * gain[e, b]
    _factorise(root, size)
    of_rows = np.empty((size + 1, size + 1))  # R'
    of_rows[0, 0] = count
    for a in range(size):
        of_rows[a + 1, 0] = first[a]
        for b in range(a + 1):
            of_rows[a + 1, b + 1] = second[a, b]
    rank = _factorise(of_rows, int(count))
    z, squares = np.zeros((size, size + 1)), np.zeros((size, size))
    for b in range(size + 1):
        for a in range(size if of_rows[b, b] > 0.0 else 0):
            z[a, b] = rng.standard_normal()
    _add_wishart(rng, int(count) - rank, squares)
    for a in range(size):
        for b in range(a + 1):
            for e in range(size + 1):
                squares[a, b] += z[a, e] * z[b, e]
    of_errors = root @ z @ of_rows.T  # M Z R, (D, 1 + D)
    crossed = np.ascontiguousarray(of_errors[:, 1:]) @ towards.T
    known = np.empty((size, size))
    for a in range(size):
        for b in range(a + 1):
            known[a, b] = known[b, a] = second[a, b]
            squares[b, a] = squares[a, b]
    total = towards @ known @ towards.T + root @ squares @ root.T
    behind = towards @ first
    for a in range(size):
        first[a] = behind[a] + of_errors[a, 0]
        for b in range(a + 1):
            second[a, b] = total[a, b] + crossed[a, b] + crossed[b, a]


@compiled(fastmath=STRICT)
def _factorise(matrix, most):
    """Replace a matrix that may be singular by its lower Cholesky factor; return its rank, at most ``most``."""
    size, rank = len(matrix), 0
    for b in range(size):
        left, whole = matrix[b, b], matrix[b, b]
        for e in range(b):
            left -= matrix[b, e] * matrix[b, e]
        pivot = math.sqrt(left) if left > _FLAT * whole and rank < most else 0.0
        rank += pivot > 0.0
        for a in range(b + 1, size):
            rest = matrix[a, b]
            for e in range(b):
                rest -= matrix[a, e] * matrix[b, e]
            matrix[a, b] = rest / pivot if pivot > 0.0 else 0.0
        matrix[b, b] = pivot
        matrix[b, b + 1 :] = 0.0
    return rank


@compiled(fastmath=STRICT)
def _add_wishart(rng, degrees, out):
    """Add a Wishart matrix to a lower triangle; its integer degrees of freedom may be fewer than D."""
    size = len(out)
    factor = np.zeros((size, min(size, degrees)))  # Bartlett's decomposition
    for a in range(size):
        for b in range(min(a + 1, degrees)):
            if a == b:
                factor[a, a] = math.sqrt(2.0 * rng.standard_gamma(0.5 * (degrees - a)))
            else:
                factor[a, b] = rng.standard_normal()
        for b in range(a + 1):
            for e in range(min(b + 1, degrees)):
                out[a, b] += factor[a, e] * factor[b, e]
