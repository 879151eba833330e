"""Bridge sampling: a normalising constant from draws of two distributions and both their densities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.optimize import brentq
from scipy.special import expit

from bayesgmm.validation import FloatArray

_BEYOND = 50.0  # further out than all the ratios is no normalising constant
_ROUNDS = 3  # in which the effective sample size settles


@dataclass(frozen=True)
class Bridge:
    """An estimate of log Z, Z the integral of g, from draws of p = g / Z and of a proposal q.

    Attributes
    ----------
    log_ratio : float
        log Z.
    variance : float
        Of log Z, given the proposal.
    ess : float
        Effective sample size of the draws of p.
    overlap : float
        The integral of pq / (s1 p + s2 q), between 0 and 1, where it is the same distribution; s1 and s2 are the shares of
        the two effective sample sizes.
    """

    log_ratio: float
    variance: float
    ess: float
    overlap: float


def bridge(of_p: FloatArray, of_q: FloatArray) -> Bridge:
    r"""Meng and Wong's optimal bridge between log g - log q at draws of p (chain, draw) and of q (stratum, draw).

    With n1 (effective) and n2 draws, c = log Z solves

    .. math:: \sum_q \frac{n_1 g}{n_1 g + n_2 q e^c} = \sum_p \frac{n_2 q e^c}{n_1 g + n_2 q e^c}

    and its variance is the sum of the two sides' relative ones (Frühwirth-Schnatter 2004, equation 18), that of the chains
    by their effective sample size, that of q, a mixture of which each stratum is a component, by what varies within them.

    References
    ----------
    Meng & Wong (1996), Simulating ratios of normalizing constants via a simple identity, Statistica Sinica 6, 831-860.
    """
    n2, ess = of_q.size, float(of_p.size)
    for _ in range(_ROUNDS):
        log_odds = np.log(ess / n2)
        c = _root(of_p.ravel(), of_q.ravel(), ess, log_odds)
        p_side, q_side = expit(c - of_p - log_odds), expit(of_q - c + log_odds)
        ess = _effective_size(p_side)
    share = n2 / (ess + n2)
    of_strata = q_side.var(axis=1, ddof=1).mean() if q_side.shape[1] > 1 else q_side.var()
    variance = _relative(p_side.var(), p_side.mean()) / ess + _relative(of_strata, q_side.mean()) / n2
    return Bridge(c, variance, ess, min(1.0, float(p_side.mean()) / share))


def _root(of_p: FloatArray, of_q: FloatArray, ess: float, log_odds: float) -> float:
    """The one c at which both sides are equal: what is left of one falls, of the other rises."""
    finite = np.concatenate([of_p[np.isfinite(of_p)], of_q[np.isfinite(of_q)]])

    def excess(c: float) -> float:
        return float(expit(of_q - c + log_odds).sum() - ess * expit(c - of_p - log_odds).mean())

    return float(brentq(excess, finite.min() - _BEYOND, finite.max() + _BEYOND, xtol=1e-10))


def _effective_size(values: FloatArray) -> float:
    """Of a mean over chains (chain, draw), which knows of chains that disagree; at most their number of draws."""
    if np.ptp(values) == 0:
        return float(values.size)
    return min(float(array_stats.ess(values, method="mean")), float(values.size))


def _relative(variance: float, mean: float) -> float:
    return float(variance / mean**2) if mean > 0 else math.inf
