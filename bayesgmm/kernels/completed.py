"""Completed sums in place of observations, for data that are stored elsewhere and have been summed there."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray, types

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, SUMS, c_callback, compiled, given
from bayesgmm.kernels.pointers import FLOATS, copy, pointer
from bayesgmm.kernels.rows import EXACT, Rows


def rows_of_sums(sums: FloatArray, n_features: int, total: float, *, noise: bool, student: bool) -> Rows:
    """Rows for a density that return the given sums at any point.

    ``sums`` holds the log-likelihood, N, S1, S2 and, for t distributions, the sums for nu, in this order. The caller may
    overwrite it for each point. ``total`` is the sum of the observations' weights.
    """
    nobody, labels = given(np.empty((0, n_features))), given(np.empty((0, 0)))
    address = _address(student=student)
    return Rows(nobody, given([total]), None, None, labels, int(noise), EXACT, address, 0, 0, sums.ctypes.data)


@cache
def _address(*, student: bool) -> int:
    signature = types.float64(*[types.int64] * 10, *[FLOATS] * 10)
    return int(c_callback(signature, _copied_with_tails if student else _copied, fastmath=SUMS).address)


def _copied(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    at = _fill(known, 1, counts, n_c)
    at = _fill(known, at, first, k * n_features)
    _fill(known, at, second, k * n_features * width)
    return carray(pointer(known), (1,))[0]


def _copied_with_tails(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    at = _fill(known, 1, counts, n_c)
    at = _fill(known, at, first, k * n_features)
    at = _fill(known, at, second, k * n_features * width)
    _fill(known, at, tails, 2 * k)
    return carray(pointer(known), (1,))[0]


@compiled(fastmath=STRICT)
def _fill(known, begin, target, length):
    """Copy ``length`` numbers, from index ``begin`` of the sums at an address; return the index after them."""
    end = begin + length
    copy(carray(pointer(known), (end,))[begin:end], carray(target, (length,)))
    return end
