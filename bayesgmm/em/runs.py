"""EM from one start to a local maximum of the likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import both_classes
from bayesgmm.data.observations import Summable
from bayesgmm.data.units import Units
from bayesgmm.em.ascent import FREEDOM, Climb, Pairs, Parameters, ascend
from bayesgmm.em.penalty import Penalty
from bayesgmm.em.result import Restart
from bayesgmm.em.starts import Start
from bayesgmm.families import Family
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.mixture import Mixture, with_share
from bayesgmm.model.structures import Structure, for_each, per_component, squares

_STEPS = 5  # EM steps at the start and between quasi-Newton climbs
_NOISE = 0.1  # share of noise at the start
_HALVINGS = 50  # bisections of the interval for log nu
_SHARES = 1e-300, 1 - 1e-15  # bounds of the share of noise, which must lie strictly between 0 and 1


@dataclass(frozen=True)
class Settings:
    """How to fit and when to stop; parameters are those of the standardised data, (x - shift) / scale.

    Labels and fixed values tell components of different ``classes`` (K,) apart.
    """

    classes: NDArray[np.int64]
    units: Units
    structure: Structure
    tol: float
    max_iter: int
    variance_floor: float
    noise: bool
    family: Family
    fixed: Fixed | None = None
    penalty: Penalty | None = None

    @property
    def apart(self) -> NDArray[np.int64]:
        """Class of each component, (K,), if those with different priors are told apart, too."""
        return self.classes if self.penalty is None else both_classes(self.classes, self.penalty.classes)

    @property
    def interchangeable(self) -> bool:
        """Whether neither fixed values nor the prior tell components apart."""
        return self.fixed is None and (self.penalty is None or not self.penalty.classes.any())

    def for_standardised(self) -> Settings:
        """These settings for data that have been standardised and hold no noise, without prior and fixed parameters."""
        d = self.structure.n_features
        return replace(self, units=Units(np.zeros(d), np.ones(d)), noise=False, fixed=None, penalty=None)


@dataclass(frozen=True)
class Run:
    """A finished run: its end, log-likelihoods, which components are on the floor or empty, and curvature pairs."""

    end: Restart
    history: list[float]
    fallen: NDArray[np.bool_]
    pairs: Pairs

    @property
    def where(self) -> Start:
        """The start at which another run continues."""
        return Start(self.end.start, self.end.mixture, self.pairs, self.end.found)


def run_em(source: Summable, settings: Settings, start: Start, keep: Callable[[Start], None] | None = None) -> Run:
    """Alternate a few EM steps with a quasi-Newton climb until convergence.

    ``keep`` is called with the current state after each step. If the start has curvature pairs, the climb comes first.
    """

    def told(climb: Climb) -> None:
        if keep is not None:
            keep(start._replace(mixture=_mixture(settings, climb.now), pairs=climb.pairs))

    climb = Climb(source, settings.units, _parameters(settings, start.mixture), start.pairs, told, settings.penalty)
    tol, max_iter = settings.tol, settings.max_iter
    converged, fallen = False, np.zeros(start.mixture.n_components, bool)
    steps = 0 if start.pairs else _STEPS
    while not converged and climb.passes < max_iter:
        for _ in range(min(steps, max_iter - climb.passes)):
            before = climb.height
            there, fallen = _m_step(settings, climb.sums, climb.now)
            climb.go(there, *climb.look(there))
            converged = climb.near_enough(climb.height - before, tol, bent=False)
            if converged:
                break
        if not converged and not fallen.any() and settings.fixed is None:
            converged = ascend(climb, settings.structure, tol=tol, max_iter=max_iter, floor=settings.variance_floor)
        if not converged:
            steps, climb.pairs = _STEPS, ()
    mixture = _mixture(settings, climb.now)
    log_prior = 0.0 if settings.penalty is None else settings.penalty.log_density(*climb.now)
    collapsed, log_likelihood = bool(fallen.any()), climb.history[-1] - log_prior
    end = Restart(start.name, log_likelihood, climb.passes, converged, collapsed, mixture, start.found, log_prior)
    return Run(end, climb.history, fallen, climb.pairs)


def _parameters(settings: Settings, start: Mixture) -> Parameters:
    """The parameters at which EM begins, from a mixture."""
    structure = settings.structure
    start = start if settings.fixed is None else settings.fixed.holding(start)
    share = _NOISE if start.noise is None and settings.noise else start.noise
    weights = with_share(start.weights, share if settings.noise else None)
    factors, _ = structure.factors(structure.of_mixture(start.weights, start.cov), settings.variance_floor)
    if not settings.family.n_nu(start.n_components):
        return weights, start.mu, factors
    nu = settings.family.expected_nu(start.n_components) if start.nu is None else np.clip(start.nu, *FREEDOM)
    return weights, start.mu, factors, nu


def _mixture(settings: Settings, parameters: Parameters) -> Mixture:
    """The mixture with these parameters."""
    weights, means, factors, *tails = parameters
    k = len(means)
    share = float(np.clip(weights[k], *_SHARES)) if settings.noise else None
    covariances = settings.structure.matrices(factors)
    return Mixture(weights[:k] / weights[:k].sum(), means, covariances, noise=share, nu=tails[0] if tails else None)


def _m_step(settings: Settings, sums: ESums, now: Parameters) -> tuple[Parameters, NDArray[np.bool_]]:
    """New weights, means, factors and nu, and which components have collapsed (onto the floor, or empty)."""
    structure, (_, means, factors, *tails) = settings.structure, now
    all_counts, total = sums.counts, sums.counts.sum()
    sums = sums._replace(counts=all_counts[: len(means)])
    alive = sums.counts > 1e-12 * total
    steps = per_component(sums.first, np.where(alive, sums.tails[0] if tails else sums.counts, np.inf))
    scales = sums.tails[0] if tails else sums.counts
    if tails:  # second moments about the new means, with the weights u of the t distribution
        second = sums.second - for_each(sums.tails[0] - sums.counts, sums.second) * squares(steps, sums.second)
        sums, tails = sums._replace(second=second), [_freedom(sums, tails[0], means.shape[1], settings.penalty)]
    if settings.fixed is not None or settings.penalty is not None:
        return _constrained(
            settings, sums._replace(counts=all_counts), steps, scales, alive, (now[0], means, factors, *tails)
        )
    moments = structure.estimate(sums, steps, structure.second_moments(factors), alive)
    factors, on_floor = structure.factors(moments, settings.variance_floor)
    return (all_counts / total, means + steps, factors, *tails), on_floor | ~alive


def _constrained(
    settings: Settings, sums: ESums, steps: FloatArray, scales: FloatArray, alive: NDArray[np.bool_], now: Parameters
) -> tuple[Parameters, NDArray[np.bool_]]:
    """As :func:`_m_step`, with fixed parameters, or under a prior.

    Means are maximised given the old covariances, then covariances given the means (Meng & Rubin 1993,
    doi:10.1093/biomet/80.2.267). ``steps`` lead to the means of the observations, which have the weight ``scales`` (K,) in
    ``sums``.
    """
    fixed, penalty, structure, (_, means, factors, *tails) = settings.fixed, settings.penalty, settings.structure, now
    k = len(means)
    moved = _constrained_means(settings, means + steps, scales, structure.matrices(factors))
    off = moved - means - steps
    counts, second = sums.counts[:k], sums.second + for_each(scales, sums.second) * squares(off, sums.second)
    second = second - for_each(counts, second) * squares(steps, second)
    if penalty is not None:
        worth = penalty.worth(factors)
        counts, second, alive = counts + worth.counts, second + worth.second, alive | (worth.counts > 0)
    own = sums._replace(counts=counts, second=second)
    moments = structure.estimate(own, np.zeros_like(steps), structure.second_moments(factors), alive)
    suffers = np.ones(k, bool)
    if fixed is not None:
        known = fixed.cov if moments.ndim == 3 else np.diagonal(fixed.cov, axis1=1, axis2=2)
        moments, suffers = np.where(for_each(~fixed.free_cov, moments), known, moments), fixed.free_cov | fixed.free_w
    factors, on_floor = structure.factors(moments, settings.variance_floor)
    return (_constrained_weights(settings, sums.counts, k), moved, factors, *tails), (on_floor | ~alive) & suffers


def _constrained_means(settings: Settings, means: FloatArray, scales: FloatArray, covariances: FloatArray) -> FloatArray:
    """Means (K, D), given those of the observations, which weigh ``scales`` (K,)."""
    fixed, penalty, moved = settings.fixed, settings.penalty, means.copy()
    for j, covariance in enumerate(covariances):
        free = np.ones(means.shape[1], bool) if fixed is None else fixed.free_mu[j]
        if fixed is not None and not free.all():
            gain = np.linalg.solve(covariance[np.ix_(~free, ~free)], covariance[np.ix_(~free, free)]).T
            moved[j, free] += gain @ (fixed.mu[j] - moved[j])[~free]
            moved[j, ~free] = fixed.mu[j, ~free]
            covariance = covariance[np.ix_(free, free)] - gain @ covariance[np.ix_(~free, free)]
        if penalty is not None and free.any():
            prior = covariance @ penalty.precision[j][np.ix_(free, free)]
            off = penalty.b0[j, free] - moved[j, free]
            moved[j, free] += np.linalg.solve(scales[j] * np.eye(len(off)) + prior, prior @ off)
    return moved


def _constrained_weights(settings: Settings, counts: FloatArray, k: int) -> FloatArray:
    """Weights, from counts, with that of noise last."""
    own, share = counts[:k], counts[k:] / counts.sum()
    if settings.penalty is not None:
        own = np.maximum(own + settings.penalty.pseudo_counts, 0.0)
        share = (counts[k:] + OF_NOISE[0] - 1) / (counts.sum() + sum(OF_NOISE) - 2)
    w = own / own.sum() if settings.fixed is None else settings.fixed.weights(own)
    return np.append(w * (1 - share.sum()), share)


def _freedom(sums: ESums, old: FloatArray, n_features: int, penalty: Penalty | None) -> FloatArray:
    """Degrees of freedom (K,) that maximise the expected height of the complete data (Peel & McLachlan 2000)."""
    half, count = (old + n_features) / 2, np.maximum(sums.counts, 1e-300)
    known = 1 + np.log((old + n_features) / old) + digamma(half) - np.log(half) - (sums.tails[0] + sums.tails[1]) / count
    low, high = (np.full(len(old), np.log(end)) for end in FREEDOM)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        half_nu = np.exp(middle) / 2
        slope = known + np.log(half_nu) - digamma(half_nu)
        rising = slope + (0.0 if penalty is None else 2 * penalty.slope_of_nu(2 * half_nu) / count) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.exp((low + high) / 2)
