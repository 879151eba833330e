"""Sums that are known already, in the place of observations: where these are elsewhere, they have been summed there."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray, types

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import SUMS, c_callback, given
from bayesgmm.kernels.pointers import FLOATS, copy, pointer
from bayesgmm.kernels.rows import EXACT, Rows


def rows_of_sums(sums: FloatArray, n_features: int, total: float, *, noise: bool, student: bool) -> Rows:
    """Rows that a density takes, and that answer with these sums at whatever point they are asked.

    ``sums`` hold, one after the other, log-likelihood, N, S1, S2 and, of t distributions, the sums for nu; they may be
    filled anew for each point. The observations count ``total`` together.
    """
    nothing, nobody, labels = given([]), given(np.empty((0, n_features))), given(np.empty((0, 0)))
    address = _address(student=student)
    return Rows(nobody, given([total]), nothing, nothing, labels, int(noise), EXACT, address, 0, sums.ctypes.data)


@cache
def _address(*, student: bool) -> int:
    signature = types.float64(*[types.int64] * 10, *[FLOATS] * 10)
    return int(c_callback(signature, _copied_with_tails if student else _copied, fastmath=SUMS).address)


def _copied(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    at_first = 1 + n_c
    at_second = at_first + k * n_features
    end = at_second + k * n_features * width
    own = carray(pointer(known), (end,))
    copy(own[1:at_first], carray(counts, (n_c,)))
    copy(own[at_first:at_second], carray(first, (k * n_features,)))
    copy(own[at_second:end], carray(second, (k * n_features * width,)))
    return own[0]


def _copied_with_tails(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    at_first = 1 + n_c
    at_second = at_first + k * n_features
    at_tails = at_second + k * n_features * width
    own = carray(pointer(known), (at_tails + 2 * k,))
    copy(own[1:at_first], carray(counts, (n_c,)))
    copy(own[at_first:at_second], carray(first, (k * n_features,)))
    copy(own[at_second:at_tails], carray(second, (k * n_features * width,)))
    copy(own[at_tails:], carray(tails, (2 * k,)))
    return own[0]
