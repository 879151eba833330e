"""Bridge sampling: a normalising constant from draws of two distributions and both their densities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.optimize import brentq
from scipy.special import expit

from bayesgmm.arguments import FloatArray
from bayesgmm.words import Argument, Words

_BEYOND = 50.0  # the root lies no further than this beyond the log ratios
_STEPS = 10_000  # iterations at most: ratios may lie anywhere within a float's range
_FEWEST = 4  # draws of a chain needed to estimate its autocorrelation
_ROUNDS = 3  # iterations in which the effective sample size settles


@dataclass(frozen=True)
class Bridge:
    """An estimate of log Z, where Z is the integral of g, from draws of p = g / Z and of a proposal q.

    ``overlap`` is the integral of p q / (s1 p + s2 q), where s1 and s2 are the shares of the two effective sample sizes. It
    is 1 if p = q, and 0 if they have nothing in common.
    """

    log_ratio: float  # log Z
    variance: float  # of log Z, given the proposal
    ess: float  # effective sample size of the draws of p
    overlap: float


def bridge(of_p: FloatArray, of_q: FloatArray, *, stratified: bool = False) -> Bridge:
    r"""Meng and Wong's (1996) optimal bridge estimate, from log g - log q at draws of p and of q, both (chain, draw).

    With n1 and n2 (effective) draws, c = log Z solves

    .. math:: \sum_q \frac{n_1 g}{n_1 g + n_2 q e^c} = \sum_p \frac{n_2 q e^c}{n_1 g + n_2 q e^c}

    Its variance is the sum of the relative variances of the two sides (Frühwirth-Schnatter 2004, equation 18), with
    effective sample sizes for chains. A ``stratified`` q is a mixture: each row holds independent draws of one component,
    and only the variance within rows counts. References are in :func:`bayesgmm.loo` and :func:`bayesgmm.log_evidence`.
    """
    _require_common_ground(of_p, of_q)
    n1, n2 = float(of_p.size), float(of_q.size)
    for _ in range(_ROUNDS):
        c = _root(of_p.ravel(), of_q.ravel(), n1, n2)
        log_odds = np.log(n1 / n2)
        p_side, q_side = expit(c - of_p - log_odds), expit(of_q - c + log_odds)
        n1 = effective_size(p_side)
        n2 = n2 if stratified else effective_size(q_side)
    within = q_side.var(axis=1, ddof=1).mean() if stratified and q_side.shape[1] > 1 else q_side.var()
    variance = _relative(p_side.var(), p_side.mean()) / n1 + _relative(within, q_side.mean()) / n2
    return Bridge(c, variance, n1, min(1.0, float(p_side.mean()) / (n2 / (n1 + n2))))


def _root(of_p: FloatArray, of_q: FloatArray, n1: float, n2: float) -> float:
    """The c at which both sides are equal. It is unique: one side falls with c, the other rises."""
    finite = np.concatenate([of_p, of_q[of_q > -np.inf]])  # g may be 0 at a draw of q
    log_odds = np.log(n1 / n2)

    def excess(c: float) -> float:
        return float(n2 * expit(of_q - c + log_odds).mean() - n1 * expit(c - of_p - log_odds).mean())

    return float(brentq(excess, finite.min() - _BEYOND, finite.max() + _BEYOND, xtol=1e-10, maxiter=_STEPS))


def _require_common_ground(of_p: FloatArray, of_q: FloatArray) -> None:
    """Refuse ratios g / q without a root: zero at a draw of p, infinite at any draw, or zero at all draws of q."""
    lost = int(np.count_nonzero(~np.isfinite(of_p)) + np.count_nonzero(~(of_q < np.inf)))
    if lost:
        got = f"{lost} of {of_p.size + of_q.size} points where they are not, because a component has nearly collapsed"
        rule = f"bridge sampling needs densities within the range of a float, got {got}; fit a smaller k or "
        raise ValueError(Words(rule, Argument("covariance", "tied")))
    if not (of_q > -np.inf).any():
        raise ValueError(
            "bridge sampling needs a proposal that overlaps the posterior, got one with no point where the posterior "
            "density is positive; fit with more draws, or a smaller k"
        )


def effective_size(values: FloatArray) -> float:
    """Effective sample size of a mean over (chain, draw), at most their number. It is small if chains disagree."""
    if np.ptp(values) == 0 or values.shape[1] < _FEWEST:
        return float(values.size)
    return min(float(array_stats.ess(values, method="mean")), float(values.size))


def _relative(variance: float, mean: float) -> float:
    return float(variance / mean**2) if mean > 0 else math.inf
