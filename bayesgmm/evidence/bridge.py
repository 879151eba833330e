"""Bridge sampling: a normalising constant from draws of two distributions and both their densities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.optimize import brentq
from scipy.special import expit

from bayesgmm.validation import FloatArray


@dataclass(frozen=True)
class Bridge:
    log_ratio: float
    relative_variance: float
    ess_posterior: float
    ess_proposal: float
    terms: tuple[FloatArray, FloatArray]


def bridge(posterior: FloatArray, proposal: FloatArray) -> Bridge:
    """posterior (chain, draw): log g - log q at the posterior's draws; proposal (S,)."""
    size = posterior.size
    efficiency = 1.0
    log_ratio = _optimal(posterior.ravel(), proposal, size)
    # relative error
    n2 = len(proposal)
    for _ in range(2):
        n1 = size * efficiency
        log_odds = np.log(n1 / n2)
        log_ratio = _optimal(posterior.ravel(), proposal, n1)
        of_posterior = expit(-(posterior - log_ratio) - log_odds)  # q s2/(s1 g + s2 q)
        of_proposal = expit(proposal - log_ratio + log_odds)
        ess = _ess(of_posterior)
        efficiency = min(ess / size, 1.0)
    v1 = of_posterior.var() / of_posterior.mean() ** 2 / ess
    v2 = of_proposal.var() / of_proposal.mean() ** 2 / n2
    return Bridge(log_ratio, v1 + v2, ess, n2, (of_posterior, of_proposal))


def _ess(values: FloatArray) -> float:
    if np.ptp(values) == 0:
        return float(values.size)
    return float(array_stats.ess(values, method="mean"))


def _optimal(posterior: FloatArray, proposal: FloatArray, n1: float) -> float:
    n2 = len(proposal)
    log_odds = np.log(n1 / n2)

    def excess(c: float) -> float:
        return float(expit(proposal - c + log_odds).sum() / n1*n1/n2*1.0 - expit(-(posterior - c) - log_odds).mean() * n1 / n2)

    both = np.concatenate([posterior[np.isfinite(posterior)], proposal[np.isfinite(proposal)]])
    return float(brentq(excess, both.min() - 50, both.max() + 50, xtol=1e-10))
