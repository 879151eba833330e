"""The result of EM: the estimate, the end of every run, and criteria that compare estimates over k."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from bayesgmm.arguments import Covariance, FamilyName, FloatArray
from bayesgmm.data.known import Known, sorting
from bayesgmm.data.observations import Observations, Source
from bayesgmm.data.reading import as_shown
from bayesgmm.data.units import Units
from bayesgmm.em.starts import Start
from bayesgmm.families import name_of
from bayesgmm.kernels.blocks import HALF_LOG_2PI
from bayesgmm.kernels.estep import ESums, inverse_factors
from bayesgmm.kernels.rows import EXACT
from bayesgmm.model.mixture import Mixture
from bayesgmm.model.priors import Prior
from bayesgmm.model.structures import Structure, per_component

# two solutions are the same if weights, and means and sds in units of the sd within clusters, differ by less
_SAME_WEIGHT, _SAME_PLACE = 0.05, 0.15
_AS_HIGH = 0.01  # log-likelihood by which a run that reached the estimate may differ
_SINGULAR = 1e-12  # standardised variance up to which the observations of a cluster do not determine its covariance


@dataclass(frozen=True)
class Restart:
    """How one run of EM from one start ended; in an EMResult ``mixture`` is in the data's units, sorted by means.

    ``found`` is the number of starts that this run continues: on a sample of the observations they ended in one place.
    ``log_prior`` is the log prior density if EM maximised the posterior's density, else 0.
    """

    start: str
    log_likelihood: float
    n_iter: int
    converged: bool
    collapsed: bool
    mixture: Mixture = field(repr=False, compare=False)
    found: int = 1
    log_prior: float = 0.0

    @property
    def height(self) -> float:
        """What EM maximised: the log-likelihood, or, under a prior, its sum with the log prior density."""
        return self.log_likelihood + self.log_prior


@dataclass(frozen=True)
class EMResult:
    """The best of several EM runs.

    Attributes
    ----------
    mixture : Mixture
        The estimate in the units of the data, with components in increasing order of their means; those that labels tell
        apart keep their numbers.
    log_likelihood : float
        Log-likelihood at the estimate (natural logarithm, units of the data; weighted by ``sample_weight`` if given).
    history : (n_iter + 1,) array
        What EM maximised, the log-likelihood or its sum with the log prior density, before each iteration and at the end; it
        never decreases.
    converged, n_iter : bool, int
        Whether the best run converged, and its number of iterations.
    collapsed : bool
        Whether a component of the estimate sits on the variance floor or holds no observation.
    restarts : tuple of Restart
        How every run ended, the best one first.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
    n_observations : float
        n, or the sum of the weights.
    rows : (n, D) array
        The data that were fitted: a read-only copy, or the rows of the Observations that were passed.
    known : Known
        What else is known of these rows: weights, labels, errors, intervals, noise.
    source : Source
        Where the observations are. If they are read in parts, ``rows`` is a sample of them.
    ends : tuple of Start
        Where the runs ended, from which an interrupted call continues.
    n_fixed : int
        Number of fixed parameters.
    prior : HierarchicalPrior, ConjugatePrior or None
        The prior, scaled to the data, if the posterior's density was maximised instead of the likelihood.
    log_prior : float
        Log prior density at the estimate, in the data's units: that of weights, means, variances or covariance matrices, the
        share of noise, and nu. C0 is integrated out. 0 without a prior.
    """

    mixture: Mixture
    log_likelihood: float
    history: FloatArray = field(repr=False)
    converged: bool
    n_iter: int
    collapsed: bool
    restarts: tuple[Restart, ...] = field(repr=False)
    covariance: Covariance
    n_observations: float
    rows: FloatArray = field(repr=False)
    known: Known = field(repr=False)
    source: Source = field(repr=False, compare=False)
    ends: tuple[Start, ...] = field(repr=False, compare=False)
    n_fixed: int = field(default=0, repr=False)
    prior: Prior | None = field(default=None, repr=False, compare=False)
    log_prior: float = field(default=0.0, repr=False)

    @property
    def x(self) -> FloatArray:
        """The data that were fitted: (n,) for one feature, (n, D) otherwise."""
        return as_shown(self.rows)

    @property
    def sample_weight(self) -> FloatArray | None:
        """The weight of each observation, (n,); None if no weights were given."""
        return self.known.weight

    @property
    def n_found(self) -> int:
        """How many starts came within 0.01 of the maximum's logarithm. If only one did, raise ``n_init``."""
        as_high = (end for end in self.restarts if self.restarts[0].height - end.height <= _AS_HIGH)
        return sum(end.found for end in as_high if end.collapsed == self.collapsed)

    def optima(self, within: float = 5.0) -> tuple[Mixture, ...]:
        """Distinct solutions that the restarts found, the best first.

        Parameters
        ----------
        within : float
            Leave out solutions whose log-likelihood, with the log prior under a prior, is more than this below the best.

        Returns
        -------
        tuple of Mixture
            Collapsed solutions are left out, unless every run collapsed. Two solutions are distinct if, in every order of
            their components, some weight differs by more than 0.05, or some mean or entry of a covariance's Cholesky factor
            (for one feature, the standard deviation) differs by more than 0.15 standard deviations within clusters.
        """
        found: list[Mixture] = []
        classes = self.known.classes(self.mixture.n_components)
        for end in self.restarts:
            near = end.height >= self.restarts[0].height - within and end.collapsed == self.collapsed
            if near and not any(are_one(end.mixture, other, classes) for other in found):
                found.append(end.mixture)
        return tuple(found)

    @property
    def family(self) -> FamilyName:
        """Family of the components' distributions."""
        return name_of(self.mixture.nu)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: K - 1 weights, K x D means, the covariances, the share of noise, and K nu."""
        return n_parameters(self.mixture, self.covariance) - self.n_fixed

    def bic(self) -> float:
        """Bayesian information criterion, -2 log L + p log n; lower is better (mclust's has the opposite sign).

        L is the likelihood at the estimate, under a prior, too (Fraley & Raftery 2007, doi:10.1007/s00357-007-0004-5).
        """
        return -2 * self.log_likelihood + self.n_parameters * float(np.log(self.n_observations))

    def aic(self) -> float:
        """Akaike information criterion, -2 log L + 2 p; lower is better."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    def icl(self) -> float:
        r"""Integrated completed likelihood; lower is better.

        It is :math:`-2 \max_\theta \log p(x, z \mid \theta) + p \log n` with z the most probable label of each observation.
        The parameters maximise the likelihood of observations and labels together, as the approximation of the integral
        requires. mclust uses EM's estimate instead (BIC - 2 sum_i log max_k r_ik). That gives a larger number, especially if
        many observations lie where components overlap. For observations with gaps, errors or intervals, or that may be
        noise, and for t distributions, mclust's formula is used here, too.

        Notes
        -----
        Tested property: it differs from the exact integral under conjugate priors (Bertoletti, Friel & Rastelli 2015) by a
        number that does not grow with n. The difference of mclust's formula does grow. A component without enough
        observations to determine its covariance keeps the covariance of EM.

        References
        ----------
        Biernacki, Celeux & Govaert (2000), Assessing a mixture model for clustering with the integrated completed
        likelihood, IEEE Transactions on Pattern Analysis and Machine Intelligence 22, 719-725. doi:10.1109/34.865189

        Bertoletti, Friel & Rastelli (2015), Choosing the number of clusters in a finite mixture model using an exact
        integrated completed likelihood criterion, METRON 73, 177-199. arXiv:1411.4257
        """
        return -2 * self._completed() + self.n_parameters * float(np.log(self.n_observations))

    def _completed(self) -> float:
        """The highest log-likelihood of the observations with their most probable labels."""
        rows, source = Observations.made(self.rows, self.known), self.source
        if rows.kind is not EXACT or self.mixture.noise is not None or self.mixture.nu is not None:
            certain = partial(_log_certainty, self.mixture)
            return self.log_likelihood + sum(source.over_blocks(certain))
        structure = Structure(self.covariance, self.mixture.n_features)
        units = source.units(one_unit=structure.one_unit)
        mixture = units.standardised_mixture(self.mixture)
        of_blocks = source.over_blocks(partial(_hard_sums, mixture, units))
        counts, first, second = (sum(each) for each in zip(*of_blocks, strict=True))
        used, steps = counts > 0, per_component(first, np.maximum(counts, 1e-300))
        scatter = second - per_component(steps[:, :, None] * steps[:, None, :], 1 / np.maximum(counts, 1e-300))
        old = structure.of_mixture(mixture.weights, mixture.cov)
        moments = scatter if old.ndim == 3 else np.diagonal(scatter, axis1=1, axis2=2)
        sums, nowhere = ESums(0.0, counts, np.zeros_like(first), moments), np.zeros_like(first)
        _, fallen = structure.factors(structure.estimate(sums, nowhere, old, used), _SINGULAR)
        factors, _ = structure.factors(structure.estimate(sums, nowhere, old, used & ~fallen), _SINGULAR)
        inverse = inverse_factors(np.linalg.cholesky(structure.matrices(factors)))
        constants = np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1) - structure.n_features * HALF_LOG_2PI
        squares = ((inverse @ scatter) * inverse).sum(axis=(1, 2))
        shares = xlogy(counts, counts / counts.sum())
        return float((shares + counts * constants - squares / 2)[used].sum() - units.log_volume(counts.sum()))

    @property
    def spurious(self) -> tuple[int, ...]:
        """Components that hold hardly more observations than are needed to determine their covariances.

        Such a component is narrow. It raises the likelihood, and so every criterion rewards it, but it says little about the
        data.

        References
        ----------
        McLachlan & Peel (2000), Finite Mixture Models, section 3.10. doi:10.1002/0471721182
        """
        return spurious(self.mixture, self.covariance, self.n_observations)

    @cached_property
    def responsibilities(self) -> FloatArray:
        """Probability of each component given each observation and its label, (n, K); noise, if any, is one more column."""
        return Observations.made(self.rows, self.known).responsibilities(*self.mixture.parameters)


def _log_certainty(mixture: Mixture, rows: Observations) -> float:
    """Weighted sum of the log responsibilities of each observation's most probable component."""
    return float(rows.counts @ np.log(rows.responsibilities(*mixture.parameters).max(axis=1)))


def _hard_sums(mixture: Mixture, units: Units, rows: Observations) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Counts, first and second moments about the means, with each observation in its most probable component."""
    k, n_features = mixture.mu.shape
    counts, first, second = np.zeros(k), np.zeros((k, n_features)), np.zeros((k, n_features, n_features))
    part = rows.standardised(units)
    best = part.responsibilities(*mixture.parameters).argmax(axis=1)
    for j in range(k):
        own, c = part.x[best == j] - mixture.mu[j], part.counts[best == j]
        counts[j] = c.sum()
        first[j] = c @ own
        second[j] = (c[:, None] * own).T @ own
    return counts, first, second


def n_parameters(mixture: Mixture, covariance: Covariance) -> int:
    """Number of free parameters of a mixture with covariances of a given structure."""
    k, n_features = mixture.n_components, mixture.n_features
    more = (mixture.noise is not None) + (0 if mixture.nu is None else k)
    return k - 1 + k * n_features + Structure(covariance, n_features).n_parameters(k) + more


def spurious(mixture: Mixture, covariance: Covariance, n_observations: float) -> tuple[int, ...]:
    """Components with less than half an observation more than are needed to determine their covariances."""
    fewest = Structure(covariance, mixture.n_features).determined_by
    held = mixture.weights * n_observations * (1 - (mixture.noise or 0.0))
    return tuple(np.flatnonzero(held < fewest + 0.5).tolist()) if fewest else ()


def order_within(classes: NDArray[np.int64], mixture: Mixture) -> NDArray[np.int64]:
    """The order (K,) that sorts the components of each class by their means, within the places of that class."""
    return sorting(classes, *mixture.mu.T[::-1])


def sorted_within(classes: NDArray[np.int64], mixture: Mixture) -> Mixture:
    """The mixture with the components of each class sorted by their means."""
    return mixture.reordered(order_within(classes, mixture))


def are_one(one: Mixture, other: Mixture, classes: NDArray[np.int64] | None = None) -> bool:
    """Whether two estimates differ by little, up to the order of the components of each class (by default one class)."""
    k = one.n_components
    unit = np.sqrt(np.average(one.sd**2, axis=0, weights=one.weights))
    apart = np.abs(one.weights[:, None] - other.weights) > _SAME_WEIGHT
    if abs((one.noise or 0.0) - (other.noise or 0.0)) > _SAME_WEIGHT:
        return False
    if classes is not None:
        apart |= classes[:, None] != classes
    for each, *pair in zip((unit, unit[:, None]), (one.mu, one.factors), (other.mu, other.factors), strict=True):
        first, second = (values / each for values in pair)
        apart |= (np.abs(first[:, None] - second) > _SAME_PLACE).reshape(k, k, -1).any(axis=2)
    return not apart[linear_sum_assignment(apart)].any()
