"""The prior as Gibbs sweeps take it: hyperparameters that all components share, or those of each component."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.compiled import STRICT, compiled

_NOTHING = np.empty(0)


class Prior(NamedTuple):
    """Hyperparameters in arrays whose first axis has one entry for all components, or one for each.

    ``alpha`` (K,), ``b0`` (K, D), ``precision`` (K, D, D), the inverse of B0, and ``c0`` (m,); the number ``g0``; and
    ``rate``: G0, or the C0 of each covariance block if it is given, (m, V) or (m, D, D). :func:`of_component` reads them.

    What is fixed has no prior: alpha is 0 for a fixed weight, c0 for a fixed block. Rows and columns of ``precision`` are 0
    for fixed entries of a mean, which b0 then holds. ``held`` are the weights as
    :func:`bayesgmm.kernels.points.log_weights` takes them.
    """

    alpha: FloatArray
    b0: FloatArray
    precision: FloatArray
    c0: FloatArray
    g0: float
    rate: FloatArray
    held: FloatArray


def compiled_prior(hyper: Any, held: FloatArray = _NOTHING) -> Prior:
    """The prior of :class:`bayesgmm.model.hyperparameters.Hyperparameters`, for compiled code."""
    arrays = hyper.alpha, hyper.b0, hyper.precision_of_means, hyper.c0, hyper.rate
    alpha, b0, precision, c0, rate = map(np.ascontiguousarray, arrays)
    return Prior(alpha, b0, precision, c0, hyper.g0, rate, held)


@compiled(fastmath=STRICT, inline=True)
def of_component(values, j):
    """The entry of component or block j in an array that has one entry for all, or one for each."""
    return values[j if len(values) > 1 else 0]


@compiled(fastmath=STRICT)
def sum_over(values, n):
    """Sum over n components or blocks of an array that has one entry for all, or one for each."""
    return n * values[0] if len(values) == 1 else values[:n].sum()
