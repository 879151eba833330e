"""Triangular factors F of precisions F'F in the coordinates of :mod:`bayesgmm.model.wishart`, and their gradients."""

from __future__ import annotations

import math

from bayesgmm.kernels.compiled import STRICT, compiled


@compiled(fastmath=STRICT)
def fill_factor(coordinates, factor):
    """Fill F (D, D) from its coordinates; return log det F = sum_i l_i."""
    log_determinant, at = 0.0, 0
    for i in range(len(factor)):
        diagonal = math.exp(coordinates[at + i])
        log_determinant += coordinates[at + i]
        for j in range(i):
            factor[i, j] = coordinates[at + j] * diagonal
        factor[i, i] = diagonal
        for j in range(i + 1, len(factor)):
            factor[i, j] = 0.0
        at += i + 1
    return log_determinant


@compiled(fastmath=STRICT)
def add_gram(factor, gram):
    """Gram += F'F."""
    size = len(factor)
    for i in range(size):
        for a in range(i + 1):
            for b in range(i + 1):
                gram[a, b] += factor[i, a] * factor[i, b]


@compiled(fastmath=STRICT)
def add_slopes(factor, product, times, coordinates_slopes):
    """Add the gradient of times * tr(S F'F) / 2 by the coordinates: d/dF = times * F S (lower part).

    S, which is symmetric, is ``product``.
    """
    size, at = len(factor), 0
    for i in range(size):
        for j in range(i + 1):
            slope = 0.0
            for e in range(i + 1):
                slope += factor[i, e] * product[e, j]
            slope *= times
            coordinates_slopes[at + i] += factor[i, j] * slope
            if j < i:
                coordinates_slopes[at + j] += factor[i, i] * slope
        at += i + 1


@compiled(fastmath=STRICT)
def trace(one, other):
    """tr(A B) for symmetric matrices A and B."""
    result = 0.0
    for i in range(len(one)):
        for j in range(len(one)):
            result += one[i, j] * other[i, j]
    return result


@compiled(fastmath=STRICT)
def add_powers(coordinates, slopes, size, power):
    """Return sum_i (power - D - 1 + 2i) l_i, i = 1..D; add its gradient."""
    value, at = 0.0, 0
    for i in range(size):
        exponent = power - size - 1 + 2 * (i + 1)
        value += exponent * coordinates[at + i]
        slopes[at + i] += exponent
        at += i + 1
    return value
