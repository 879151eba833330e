"""From a prior, a covariance structure and data to the log posterior: points, their values, and the mixtures they stand for.

It imports arguments, data, families, kernels, model.
"""

from bayesgmm.posterior.log_posterior import LogPosterior, log_posterior, standardised_posterior
from bayesgmm.posterior.summed import SummedPosterior, summed_posterior

__all__ = ["LogPosterior", "SummedPosterior", "log_posterior", "standardised_posterior", "summed_posterior"]
