"""The log posterior on the unconstrained space, with its gradient, compiled once for any data, K, D and prior.

It states what :func:`bayesgmm.build_model` states, in the same coordinates and with the same constants; the tests hold
the two against each other. The likelihood and its gradient come from the E-step kernel.
"""

from __future__ import annotations

from bayesgmm.density.diagonal import DiagonalPosterior
from bayesgmm.density.matrices import MatrixPosterior
from bayesgmm.density.posterior import LogPosterior
from bayesgmm.density.univariate import UnivariatePosterior
from bayesgmm.priors import Prior
from bayesgmm.validation import Covariance, FloatArray

__all__ = ["LogPosterior", "log_posterior"]


def log_posterior(x: FloatArray, k: int, prior: Prior, covariance: Covariance) -> LogPosterior:
    """The compiled posterior of k components for data (n,) or (n, D), under a prior that is scaled to them."""
    if x.ndim == 1:
        return UnivariatePosterior(x, k, prior, covariance)
    family = DiagonalPosterior if covariance in ("diag", "spherical") else MatrixPosterior
    return family(x, k, prior, covariance)
