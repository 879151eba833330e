"""Membership probabilities averaged over all draws, one after the other."""

import numpy as np

from bayesgmm.analysis.densities import shares_given


def of_all(draws, rows, further):
    """Mean and sd of membership probabilities, (n, K). For further observations, draws are weighted by their density."""
    shares = shares_given(draws, rows) if further else np.full((len(draws.w), len(rows)), 1 / len(draws.w))
    r = np.array([rows.responsibilities(*parameters) for parameters in draws.each()])
    mean = np.einsum("sn,snk->nk", shares, r)
    return mean, np.sqrt(np.maximum(np.einsum("sn,snk->nk", shares, r**2) - mean**2, 0))
