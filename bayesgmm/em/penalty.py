"""A prior in EM, which then finds the mode of the posterior instead of the maximum of the likelihood.

The E-step stays as it is. In the M-step the priors of weights and covariances are worth further observations, and the mean
of a component is drawn to its prior mean. C0 is unknown like the labels, so its expected value given the covariances stands
for it, and the mode is that of the posterior without C0.

References
----------
Green (1990), On use of the EM algorithm for penalized likelihood estimation, Journal of the Royal Statistical Society:
Series B 52, 443-452. doi:10.1111/j.2517-6161.1990.tb01798.x

Fraley & Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering, Journal of
Classification 24, 155-181. doi:10.1007/s00357-007-0004-5
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels import student
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.prior_densities import of_covariances, of_means, of_places, of_scale, of_weights
from bayesgmm.model.priors import Prior
from bayesgmm.model.structures import Structure, for_each

_FORBIDDEN = -1e300
_TINY, _ROUNDED = np.finfo(float).tiny, 1e-15


class Worth(NamedTuple):
    """What the prior of the covariances is worth: further counts (K,), and second moments shaped as those of EM's sums."""

    counts: FloatArray
    second: FloatArray


class Penalty:
    """The log prior density of a mixture's parameters, and what it adds to EM's steps.

    Parameters
    ----------
    prior : HierarchicalPrior or ConjugatePrior
        In the units of the parameters.
    structure : Structure
    k : int
        Number of components.
    fixed : Fixed, optional
        Parameters that have no prior, because they are known.
    """

    def __init__(self, prior: Prior, structure: Structure, k: int, fixed: Fixed | None) -> None:
        self._structure, self._blocks = structure, structure.n_blocks(k)
        self._rest = 1.0 if fixed is None else max(fixed.rest, _TINY)
        self._whole = Hyperparameters.of(prior, structure.covariance).of_each(k, self._blocks)
        self._given = self._whole.given(fixed, k, self._blocks)
        self._has_prior = self._given.c0 > 0
        self.classes = self._whole.classes(k)
        self.pseudo_counts = np.where(self._given.alpha > 0, self._given.alpha - 1, 0.0)
        self.b0, self.precision = self._given.b0, self._given.precision_of_means

    def log_density(self, weights: FloatArray, means: FloatArray, factors: FloatArray, *nu: FloatArray) -> float:
        """Log prior density of weights, means, variances or covariance matrices, the share of noise, and nu.

        Parameters as EM's E-step takes them: the share of noise, if any, is the last weight.
        """
        given, whole, k = self._given, self._whole, len(means)
        lower = factors if factors.ndim == 3 else factors[:, :, None] * np.eye(means.shape[1])
        scale = self._expected_scale(factors)
        of_spread = of_covariances(whole, lower[None], scale[None], self._structure.covariance)[0]
        free = given.alpha > 0
        shares = np.maximum(weights[:k][free] / weights[:k].sum() / self._rest, _TINY)
        found = of_weights(whole.alpha[free], shares[None]).sum() + np.trace(of_means(given, means[None])[0])
        found += np.broadcast_to(np.diagonal(np.atleast_2d(of_spread)), self._blocks)[self._has_prior].sum()
        if given.learnt:  # p(Sigma) = p(Sigma | C0) p(C0) / p(C0 | Sigma)
            found += of_scale(given.g0, given.rate[0], scale[None])[0]
            found -= of_scale(*given.scale_given(self._blocks, self._sum_of_precisions(factors)), scale[None])[0]
        if len(weights) > k:
            found += stats.beta.logpdf(np.clip(weights[k], _TINY, 1 - _ROUNDED), *OF_NOISE)
        for each in nu:
            shape, rate = student.PRIOR
            found += (student.log_normaliser() + (shape - 1) * np.log(each) - rate * each).sum()
        return float(found)

    def worth(self, factors: FloatArray) -> Worth:
        """What the prior of the covariances is worth if the last covariances have these factors."""
        given, structure, m = self._given, self._structure, self._blocks
        scale = np.broadcast_to(self._expected_scale(factors), (m, *given.rate.shape[1:]))
        size = structure.n_features if structure.correlated else 1
        counts = np.where(self._has_prior, 2 * given.c0 + size + 1, 0.0)
        second = np.where(for_each(self._has_prior, scale), 2 * scale, 0.0)
        if not structure.correlated and scale.shape[1] < structure.n_features:  # one variance for all features
            counts, second = counts / structure.n_features, np.repeat(second / structure.n_features, structure.n_features, 1)
        k = len(given.alpha) / m  # components that share a covariance share what its prior is worth
        return Worth(np.repeat(counts / k, int(k)), np.repeat(second / k, int(k), axis=0))

    def slope_of_weights(self, weights: FloatArray) -> FloatArray:
        """Gradient of the log density by the logarithms of weights, which are scaled to add to one."""
        k = len(self.pseudo_counts)
        share, own = weights[k:], weights[:k] / weights[:k].sum()
        of_noise = (OF_NOISE[0] - 1) * (1 - share) - (OF_NOISE[1] - 1) * share
        return np.append(self.pseudo_counts - (self.pseudo_counts.sum() + of_noise.sum()) * own, of_noise)

    @staticmethod
    def slope_of_nu(nu: FloatArray) -> FloatArray:
        """Derivative of the log density by nu."""
        return (student.PRIOR[0] - 1) / nu - student.PRIOR[1]

    def suited(self, mixture: Mixture, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The order (K,) of a mixture's components with the highest prior; only those of one class are exchanged."""
        scale = self._expected_scale(mixture.factors)
        w, mu, factors = np.maximum(mixture.weights, _TINY)[None], mixture.mu[None], mixture.factors[None]
        gain = of_places(self._whole, w, mu, factors, scale[None], self._structure.covariance)[0]
        gain[classes[:, None] != classes] = _FORBIDDEN
        return np.asarray(linear_sum_assignment(-gain.T)[1])

    def _expected_scale(self, factors: FloatArray) -> FloatArray:
        """C0 (p, V) or (p, D, D), with p = 1 or m; if it is learnt, its mean given the covariances."""
        if not self._given.learnt:
            return self._whole.rate
        shape, rate = self._given.scale_given(self._blocks, self._sum_of_precisions(factors))
        return (shape * np.linalg.inv(rate) if rate.ndim == 2 else shape / rate)[None]

    def _sum_of_precisions(self, factors: FloatArray) -> FloatArray:
        """Sum over the covariances that have a prior, (V,) or (D, D)."""
        own = factors[: self._blocks][self._has_prior]
        if self._structure.correlated:
            inverse = np.linalg.inv(own)
            return (inverse.swapaxes(1, 2) @ inverse).sum(axis=0)
        sd = own if own.ndim == 2 else np.diagonal(own, axis1=1, axis2=2)
        return (1 / sd[:, : self._structure.n_variances] ** 2).sum(axis=0)
