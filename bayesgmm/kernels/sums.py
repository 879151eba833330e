"""The completed sums over observations, compiled once for each kind of rows, and called by address.

EM and the log posterior need the same sums. A caller that has only an address is compiled without the function itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import carray, types

from bayesgmm.kernels import errors, groups, intervals, multivariate, quadrature, student, univariate
from bayesgmm.kernels.blocks import no_unit
from bayesgmm.kernels.compiled import STRICT, SUMS, c_callback, compiled
from bayesgmm.kernels.pointers import FLOATS, at, call, pointer


def address_of_sums(known: Any, *, one_feature: bool, student: bool = False) -> int:
    """Address of the compiled function that :func:`fill_sums` calls, by the type of ``known``."""
    return _compiled_sums("Student" if student else type(known).__name__, one_feature)


@cache
def _compiled_sums(kind: str, one_feature: bool) -> int:
    signature = types.float64(*[types.int64] * 10, *[FLOATS] * 10)
    exact = _of_one_feature if one_feature else _of_several
    others = {"Errors": _of_errors, "Groups": _of_groups, "Intervals": _of_intervals, "Student": _of_student}
    function = (others | {"Nodes": _of_nodes}).get(kind, exact)
    return int(c_callback(signature, function, fastmath=SUMS).address)


@cache
def address_of_log_likelihood(kind: str) -> int:
    """Address of the compiled function that :func:`log_likelihood` calls, by the name of the kind; for one feature."""
    signature = types.float64(*[types.int64] * 8, *[FLOATS] * 3)
    of_kind: dict[str, Any] = {"Errors": _log_likelihood_of_errors, "Intervals": _log_likelihood_of_intervals}
    of_kind["Nodes"] = _log_likelihood_of_nodes
    function = of_kind.get(kind, _log_likelihood)
    return int(c_callback(signature, function, fastmath=SUMS).address)


@compiled(fastmath=STRICT)
def fill_sums(function, n, n_labels, rows, shift, inverse_scale, c, mu, h, nu, counts, first, second, tails):
    """Fill N (K), S1 (K, D) and S2 (shape of h) over standardised observations; return their log-likelihood.

    ``function`` is an address. ``rows`` are the addresses of x (n, D), weights (n), log label probabilities (n_labels, n) of
    the last components, and the known values; 0 if there are none. If observations may be noise, c and N have one more
    entry. nu (K) and ``tails`` (2, K), its sums, are empty for Gaussians.
    """
    arrays = at(shift), at(inverse_scale), at(c), at(mu), at(h), at(nu), at(counts), at(first), at(second), at(tails)
    return call(function, (n, *h.shape, len(c), n_labels, *rows, *arrays))


@compiled(fastmath=STRICT)
def fill_sums_of(function, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts, first, second, tails):
    """As :func:`fill_sums`, but with arrays, empty if there are none; ``known`` is an address."""
    rows = address_of(x), address_of(weight), address_of(log_labels), known
    rest = shift, inverse_scale, c, mu, h, nu, counts, first, second, tails
    return fill_sums(function, len(x), len(log_labels), rows, *rest)


@compiled(fastmath=STRICT)
def log_likelihood(function, x, weight, log_labels, known, c, mu, h):
    """Log-likelihood without the sums, for one feature."""
    rows = address_of(x), address_of(weight), address_of(log_labels), known
    return call(function, (len(x), len(mu), len(c), len(log_labels), *rows, at(c), at(mu), at(h)))


@compiled(fastmath=STRICT)
def address_of(array):
    """Address of an array; 0 if it is empty."""
    return numba.int64(array.ctypes.data) if array.size > 0 else 0


def _log_likelihood(n, k, n_c, n_labels, x, weight, log_labels, known, c, mu, h):
    return univariate.log_likelihood(
        carray(pointer(x), (n,)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(c, (n_c,)),
        carray(mu, (k,)),
        carray(h, (k,)),
    )


def _of_one_feature(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return univariate.accumulate(
        carray(pointer(x), (n,)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (1,))[0],
        carray(inverse_scale, (1,))[0],
        carray(c, (n_c,)),
        carray(mu, (k,)),
        carray(h, (k,)),
        carray(counts, (n_c,)),
        carray(first, (k,)),
        carray(second, (k,)),
    )


def _of_nodes(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    scale, whiteners = carray(inverse_scale, (1,))[0], carray(h, (k,))
    values, weights, labels = quadrature.take(known, n, n_labels, x, log_labels, whiteners, scale)
    return univariate.accumulate(
        values,
        weights,
        labels,
        carray(shift, (1,))[0],
        scale,
        carray(c, (n_c,)),
        carray(mu, (k,)),
        whiteners,
        carray(counts, (n_c,)),
        carray(first, (k,)),
        carray(second, (k,)),
    )


def _of_several(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return multivariate.accumulate(
        carray(pointer(x), (n, n_features)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (n_features,)),
        carray(inverse_scale, (n_features,)),
        carray(c, (n_c,)),
        carray(mu, (k, n_features)),
        carray(h, (k, n_features, width)),
        carray(counts, (n_c,)),
        carray(first, (k, n_features)),
        carray(second, (k, n_features, width)),
    )


def _log_likelihood_of_nodes(n, k, n_c, n_labels, x, weight, log_labels, known, c, mu, h):
    whiteners = carray(h, (k,))
    values, weights, labels = quadrature.take(known, n, n_labels, x, log_labels, whiteners, 1.0)
    return univariate.log_likelihood(values, weights, labels, carray(c, (n_c,)), carray(mu, (k,)), whiteners)


def _log_likelihood_of_errors(n, k, n_c, n_labels, x, weight, log_labels, known, c, mu, h):
    return errors.log_likelihood(
        carray(pointer(x), (n,)),
        carray(pointer(known), (n,)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(c, (n_c,)),
        carray(mu, (k,)),
        carray(h, (k,)),
    )


def _log_likelihood_of_intervals(n, k, n_c, n_labels, x, weight, log_labels, known, c, mu, h):
    shift, inverse_scale = no_unit(1)
    return intervals.accumulate(
        carray(pointer(known), (2, n, 1)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        shift,
        inverse_scale,
        carray(c, (n_c,)),
        carray(mu, (k, 1)),
        carray(h, (k, 1)),
        np.empty(n_c),
        np.empty((k, 1)),
        np.empty((k, 1)),
    )


def _of_errors(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return errors.accumulate(
        carray(pointer(x), (n,)),
        carray(pointer(known), (n,)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (1,))[0],
        carray(inverse_scale, (1,))[0],
        carray(c, (n_c,)),
        carray(mu, (k,)),
        carray(h, (k,)),
        carray(counts, (n_c,)),
        carray(first, (k,)),
        carray(second, (k,)),
    )


def _of_groups(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return groups.accumulate(
        known,
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (n_features,)),
        carray(inverse_scale, (n_features,)),
        carray(c, (n_c,)),
        carray(mu, (k, n_features)),
        carray(h, (k, n_features, width)),
        carray(counts, (n_c,)),
        carray(first, (k, n_features)),
        carray(second, (k, n_features, width)),
    )


def _of_intervals(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return intervals.accumulate(
        carray(pointer(known), (2, n, n_features)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (n_features,)),
        carray(inverse_scale, (n_features,)),
        carray(c, (n_c,)),
        carray(mu, (k, n_features)),
        carray(h, (k, n_features)),
        carray(counts, (n_c,)),
        carray(first, (k, n_features)),
        carray(second, (k, n_features)),
    )


def _of_student(
    n, k, n_features, width, n_c, n_labels, x, weight, log_labels, known, shift, inverse_scale, c, mu, h, nu, counts,
    first, second, tails,
):  # fmt: skip
    return student.accumulate(
        carray(pointer(x), (n, n_features)),
        carray(pointer(weight), (n if weight != 0 else 0,)),
        carray(pointer(log_labels), (n_labels, n)),
        carray(shift, (n_features,)),
        carray(inverse_scale, (n_features,)),
        carray(c, (n_c,)),
        carray(mu, (k, n_features)),
        carray(h, (k, n_features, width)),
        carray(nu, (k,)),
        carray(counts, (n_c,)),
        carray(first, (k, n_features)),
        carray(second, (k, n_features, width)),
        carray(tails, (2, k)),
    )
