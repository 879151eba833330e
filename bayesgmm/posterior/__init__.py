"""The log posterior on the unconstrained space, with its gradient, compiled once for any data, K, D and prior.

It states what :func:`bayesgmm.build_model` states, in the same coordinates and with the same constants; the tests hold
the two against each other. The likelihood and its gradient come from the E-step kernel.

It imports arguments, kernels, model.
"""

from __future__ import annotations

from bayesgmm.arguments import Covariance, FloatArray
from bayesgmm.model.priors import Prior
from bayesgmm.posterior.diagonal import DiagonalPosterior
from bayesgmm.posterior.log_posterior import LogPosterior
from bayesgmm.posterior.matrices import MatrixPosterior
from bayesgmm.posterior.univariate import UnivariatePosterior

__all__ = ["LogPosterior", "log_posterior"]


def log_posterior(x: FloatArray, k: int, prior: Prior, covariance: Covariance) -> LogPosterior:
    """The compiled posterior of k components for data (n,) or (n, D), under a prior that is scaled to them."""
    if x.ndim == 1:
        return UnivariatePosterior(x, k, prior, covariance)
    family = DiagonalPosterior if covariance in ("diag", "spherical") else MatrixPosterior
    return family(x, k, prior, covariance)
