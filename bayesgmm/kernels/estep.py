"""The E-step: one pass over the data gives the log-likelihood and its responsibility-weighted sums.

EM needs them for its M-step, and the gradient of the log-likelihood is made of the same numbers. The same blocks give
the pointwise log density and the responsibilities. Scratch is (K + D) x block, never n x K.

A covariance comes as its ``factor``: the standard deviations of all features, where it is diagonal, or the lower triangular
Cholesky factor L with Sigma = L L'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels import errors, groups, intervals, multivariate, student, univariate
from bayesgmm.kernels.blocks import HALF_LOG_2PI, ROOT_HALF
from bayesgmm.kernels.compiled import given
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.groups import Groups
from bayesgmm.kernels.intervals import Intervals
from bayesgmm.kernels.quadrature import Nodes
from bayesgmm.kernels.rows import EXACT, Kind
from bayesgmm.kernels.sums import address_of_sums, fill_sums_of

__all__ = ["ESums", "e_step", "inverse_factors", "log_density", "responsibilities", "without_zeros"]

_NOTHING = given([])


class ESums(NamedTuple):
    """The four sums over observations, each weighted by ``c_i`` where observation weights are given.

    Where observations may be noise, its count is the last. Of S mixtures each has S in front.

    Attributes
    ----------
    log_likelihood : float
        sum_i c_i log p(x_i)
    counts : (K,) array
        N_k = sum_i c_i r_ik
    first : (K, D) array
        S1_k = sum_i c_i r_ik (x_i - mu_k)
    second : (K, D) or (K, D, D) array
        S2_k = sum_i c_i r_ik (x_i - mu_k)(x_i - mu_k)', of diagonal covariances the diagonals.
    tails : (2, K) array, or (2, 0)
        Of t distributions, in which S1 and S2 are weighted by u_ik: sum_i c_i r_ik u_ik, and sum_i c_i r_ik
        log(1 + d_ik / nu_k). See :mod:`bayesgmm.kernels.student`.
    """

    log_likelihood: float
    counts: FloatArray
    first: FloatArray
    second: FloatArray
    tails: FloatArray = np.empty((2, 0))

    @classmethod
    def stacked(cls, each: Iterable[ESums]) -> ESums:
        """Those of several mixtures, one behind the other."""
        parts: Any = map(np.stack, zip(*each, strict=True))
        return cls(*parts)

    def plus(self, other: ESums) -> ESums:
        """Those of further observations added."""
        return ESums(*(np.add(one, more) for one, more in zip(self, other, strict=True)))  # type: ignore[call-overload]


def e_step(
    x: FloatArray,
    weights: FloatArray,
    means: FloatArray,
    factors: FloatArray,
    sample_weight: FloatArray | None = None,
    log_labels: FloatArray | None = None,
    known: Kind | Nodes = EXACT,
    nu: FloatArray | None = None,
    *,
    shift: float | FloatArray = 0.0,
    scale: float | FloatArray = 1.0,
) -> ESums:
    """Sums of the E-step over z = (x - shift) / scale, which is the unit of means and factors.

    Parameters
    ----------
    x : (n, D) array
    weights : (K,) array, or (K + 1,)
        One more is the share of noise, whose log densities are the last row of the labels.
    means : (K, D) array
    factors : (K, D) or (K, D, D) array
        Standard deviations, or lower Cholesky factors of the covariances.
    sample_weight : (n,) array, optional
        Observation weights, not negative.
    log_labels : (K, n) array, optional
        Logarithms of what is known of each observation's component; if of fewer components, of the last ones.
    known : Exact, Errors, Groups, Intervals or Nodes
        What is known of the values, or nodes in their place. Weights and labels of groups and intervals are in their order.
    nu : (K,) array, optional
        Degrees of freedom, of t distributions; their values must be known as they are.
    shift, scale : float or (D,) array
        The data are standardised in passing, without a copy.

    Returns
    -------
    ESums

    Notes
    -----
    Tested property: within 1e-11 of extended-precision sums, relative to the sums of absolute values.
    """
    c, mu, h = _coefficients(weights, means, factors, nu)
    tails = np.empty((2, 0 if nu is None else len(nu)))
    ones, counts, first, second = np.ones(mu.shape[1]), np.empty(len(c)), np.empty(mu.shape), np.empty(h.shape)
    log_likelihood = fill_sums_of(
        address_of_sums(known, one_feature=mu.shape[1] == 1, student=nu is not None),
        given(x),
        _NOTHING if sample_weight is None else given(sample_weight),
        _labels(log_labels, x),
        known.address,
        shift * ones,
        ones / scale,
        c,
        mu,
        h,
        _NOTHING if nu is None else given(nu),
        counts,
        first,
        second,
        tails,
    )
    return ESums(log_likelihood, counts, first, second.reshape(factors.shape), tails)


def log_density(
    x: FloatArray, weights: FloatArray, means: FloatArray, factors: FloatArray, log_labels: FloatArray | None = None,
    known: Kind = EXACT, nu: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """Log sum_k a_ik w_k N(x_i; mu_k, Sigma_k) of rows (n, D) for one set of parameters or many (S, ...): (n,) or (S, n)."""
    result = np.empty((*weights.shape[:-1], len(x)))
    none = np.empty((0, len(x), weights.shape[-1]))
    _fill_log_densities(x, weights, means, factors, log_labels, known, nu, result.reshape(-1, len(x)), none)
    return result


def responsibilities(
    x: FloatArray, weights: FloatArray, means: FloatArray, factors: FloatArray, log_labels: FloatArray | None = None,
    known: Kind = EXACT, nu: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """Probability of each component given each observation for one set of parameters or many: (n, K) or (S, n, K)."""
    result = np.empty((*weights.shape[:-1], len(x), weights.shape[-1]))
    each = result.reshape(-1, *result.shape[-2:])
    _fill_log_densities(x, weights, means, factors, log_labels, known, nu, np.empty((len(each), len(x))), each)
    return result


def _fill_log_densities(
    x: FloatArray, weights: FloatArray, means: FloatArray, factors: FloatArray, log_labels: FloatArray | None,
    known: Kind, nu: FloatArray | None, out: FloatArray, shares: FloatArray,
) -> None:  # fmt: skip
    c, mu, h = _coefficients(weights, means, without_zeros(means, factors), nu)
    if c.ndim == 1:
        c, mu, h = c[None], mu[None], h[None]
    labels = _labels(log_labels, x)
    if nu is not None:
        student.log_densities(given(x), labels, c, mu, h, given(nu.reshape(len(c), -1)), out, shares)
    elif isinstance(known, Intervals):
        intervals.log_densities(known.ends, known.order, labels, c, mu, h[..., 0], out, shares)
    elif isinstance(known, Groups):
        groups.log_densities(known.address, known.order, labels, c, mu, h, out, shares)
    elif isinstance(known, Errors):
        errors.log_densities(given(x[:, 0]), known.variances, labels, c, mu[..., 0], h[..., 0, 0], out, shares)
    elif x.shape[1] == 1:
        univariate.log_densities(given(x[:, 0]), labels, c, mu[..., 0], h[..., 0, 0], out, shares)
    else:
        multivariate.log_densities(given(x), labels, c, mu, h, out, shares)


def _labels(log_labels: FloatArray | None, x: FloatArray) -> FloatArray:
    return given(np.empty((0, len(x))) if log_labels is None else log_labels)


def inverse_factors(factors: FloatArray) -> FloatArray:
    """Inverses of lower triangular matrices (..., D, D), row after row by substitution."""
    size = factors.shape[-1]
    inverse = np.zeros(factors.shape)
    for d in range(size):
        known = -np.einsum("...e,...ef->...f", factors[..., d, :d], inverse[..., :d, :])
        known[..., d] += 1.0
        inverse[..., d, :] = known / factors[..., d, d, None]
    return inverse


def without_zeros(means: FloatArray, factors: FloatArray) -> FloatArray:
    """Cholesky factors, or their diagonals where there is nothing else in any of them."""
    if factors.ndim == means.ndim:
        return factors
    matrices = factors.reshape(-1, *factors.shape[-2:])
    if np.tril(matrices[0], -1).any() or np.tril(matrices, -1).any():
        return factors
    return np.diagonal(factors, axis1=-2, axis2=-1)


def _coefficients(
    weights: FloatArray, means: FloatArray, factors: FloatArray, nu: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """c, mu and H of the kernels: log w_k N(x; mu_k, Sigma_k) = c_k - |H_k (x - mu_k)|^2; a diagonal H is (D, 1).

    Of t distributions c_k is the log density at the centre, too.
    """
    are_matrices = factors.ndim > means.ndim
    scales = np.diagonal(factors, axis1=-2, axis2=-1) if are_matrices else factors
    with np.errstate(divide="ignore", invalid="ignore"):
        offsets, k = np.log(weights), means.shape[-2]
        offsets[..., :k] -= np.log(scales).sum(axis=-1) + scales.shape[-1] * HALF_LOG_2PI
        if nu is not None:
            offsets[..., :k] += student.log_constants(nu, means.shape[-1])
        whiteners = ROOT_HALF * inverse_factors(factors) if are_matrices else ROOT_HALF / factors[..., None]
    return given(offsets), given(means), given(whiteners)
