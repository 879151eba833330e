"""The log posterior of data under a prior and a covariance structure: points, their values, and their mixtures.

It imports arguments, data, families, kernels, model.
"""

from bayesgmm.posterior.log_posterior import LogPosterior, log_posterior, standardised_posterior
from bayesgmm.posterior.summed import SummedPosterior, summed_posterior

__all__ = ["LogPosterior", "SummedPosterior", "log_posterior", "standardised_posterior", "summed_posterior"]
