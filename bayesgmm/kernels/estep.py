"""The E-step: one pass over the data gives the log-likelihood and responsibility-weighted sums.

The sums serve EM's M-step and the gradient of the log-likelihood. Their scratch memory grows with K and D, not with n. The
same blocks give the pointwise log density and the responsibilities.

A covariance is passed as its ``factor``: the standard deviations if it is diagonal, otherwise the lower Cholesky factor L
with Sigma = L L'.
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
    """Sums over observations, weighted by the observation weights ``c_i`` if there are any.

    If observations may be noise, the last count is that of noise. For S mixtures each array has a leading axis S.

    Attributes
    ----------
    log_likelihood : float
        sum_i c_i log p(x_i)
    counts : (K,) array
        N_k = sum_i c_i r_ik
    first : (K, D) array
        S1_k = sum_i c_i r_ik (x_i - mu_k)
    second : (K, D) or (K, D, D) array
        S2_k = sum_i c_i r_ik (x_i - mu_k)(x_i - mu_k)', only the diagonals for diagonal covariances.
    tails : (2, K) array, or (2, 0)
        For t distributions, sum_i c_i r_ik u_ik and sum_i c_i r_ik log(1 + d_ik / nu_k). S1 and S2 are then also weighted
        by u_ik. See :mod:`bayesgmm.kernels.student`.
    """

    log_likelihood: float
    counts: FloatArray
    first: FloatArray
    second: FloatArray
    tails: FloatArray = np.empty((2, 0))

    @classmethod
    def stacked(cls, each: Iterable[ESums]) -> ESums:
        """Stack the sums of several mixtures along a new first axis."""
        parts: Any = map(np.stack, zip(*each, strict=True))
        return cls(*parts)

    def plus(self, other: ESums) -> ESums:
        """Add the sums of further observations."""
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
    """Sums of the E-step over z = (x - shift) / scale; means and factors are in the units of z.

    Parameters
    ----------
    x : (n, D) array
    weights : (K,) array, or (K + 1,)
        With K + 1 weights, the last is the share of noise; its log densities are the last row of ``log_labels``.
    means : (K, D) array
    factors : (K, D) or (K, D, D) array
        Standard deviations, or lower Cholesky factors of the covariances.
    sample_weight : (n,) array, optional
        Frequency weights, not negative.
    log_labels : (K, n) array, optional
        Log label probabilities. With fewer rows than components, they belong to the last components.
    known : Exact, Errors, Groups, Intervals or Nodes
        What is known of the values, or quadrature nodes that replace them. For groups and intervals, weights and labels
        must be in their ``order``.
    nu : (K,) array, optional
        Degrees of freedom, if components are t distributions; values must be exact.
    shift, scale : float or (D,) array
        The data are standardised block by block, without a copy.

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
    """Log sum_k a_ik w_k N(x_i; mu_k, Sigma_k), with label probabilities a_ik: (n,), or (S, n) for S sets of parameters."""
    result = np.empty((*weights.shape[:-1], len(x)))
    none = np.empty((0, len(x), weights.shape[-1]))
    _fill_log_densities(x, weights, means, factors, log_labels, known, nu, result.reshape(-1, len(x)), none)
    return result


def responsibilities(
    x: FloatArray, weights: FloatArray, means: FloatArray, factors: FloatArray, log_labels: FloatArray | None = None,
    known: Kind = EXACT, nu: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """Probability of each component given each observation: (n, K), or (S, n, K) for S sets of parameters.

    With K + 1 weights, the last column is the probability of noise.
    """
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
    """Inverses of lower triangular matrices (..., D, D) by forward substitution."""
    size = factors.shape[-1]
    inverse = np.zeros(factors.shape)
    for d in range(size):
        known = -np.einsum("...e,...ef->...f", factors[..., d, :d], inverse[..., :d, :])
        known[..., d] += 1.0
        inverse[..., d, :] = known / factors[..., d, d, None]
    return inverse


def without_zeros(means: FloatArray, factors: FloatArray) -> FloatArray:
    """Cholesky factors, or only their diagonals if all factors are diagonal."""
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

    For t distributions c_k is also the log joint density at x = mu_k.
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
