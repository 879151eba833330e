"""Priors on the mixture's parameters, and on the number of its components."""

from bayesgmm.model.number_priors import BetaNegativeBinomial, Geometric, NegativeBinomial, Poisson, Probabilities, Uniform
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior

__all__ = [
    "BetaNegativeBinomial",
    "ConjugatePrior",
    "Geometric",
    "HierarchicalPrior",
    "NegativeBinomial",
    "Poisson",
    "Probabilities",
    "Uniform",
]
