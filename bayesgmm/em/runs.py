"""EM from one start to a local maximum of the likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Summable
from bayesgmm.data.units import Units
from bayesgmm.em.ascent import FREEDOM, Climb, Pairs, Parameters, ascend
from bayesgmm.em.result import Restart
from bayesgmm.em.starts import Start
from bayesgmm.families import Family
from bayesgmm.kernels.estep import ESums
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.mixture import Mixture, with_share
from bayesgmm.model.structures import Structure, per_component

_STEPS = 5  # EM steps at the start and between quasi-Newton climbs
_NOISE = 0.1  # share of noise at the start
_HALVINGS = 50  # bisections of the interval for log nu
_SHARES = 1e-300, 1 - 1e-15  # bounds of the share of noise, which must lie strictly between 0 and 1


@dataclass(frozen=True)
class Settings:
    """How to fit and when to stop; parameters are those of the standardised data, (x - shift) / scale."""

    classes: NDArray[np.int64]
    units: Units
    structure: Structure
    tol: float
    max_iter: int
    variance_floor: float
    noise: bool
    family: Family
    fixed: Fixed | None = None

    def for_standardised(self) -> Settings:
        """These settings for data that have been standardised and hold no noise, without fixed parameters."""
        d = self.structure.n_features
        return replace(self, units=Units(np.zeros(d), np.ones(d)), noise=False, fixed=None)


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

    climb = Climb(source, settings.units, _parameters(settings, start.mixture), start.pairs, told)
    tol, max_iter = settings.tol, settings.max_iter
    converged, fallen = False, np.zeros(start.mixture.n_components, bool)
    steps = 0 if start.pairs else _STEPS
    while not converged and climb.passes < max_iter:
        for _ in range(min(steps, max_iter - climb.passes)):
            before = climb.sums.log_likelihood
            there, fallen = _m_step(settings, climb.sums, climb.now)
            climb.go(there, climb.look(there))
            converged = climb.near_enough(climb.sums.log_likelihood - before, tol, bent=False)
            if converged:
                break
        if not converged and not fallen.any() and settings.fixed is None:
            converged = ascend(climb, settings.structure, tol=tol, max_iter=max_iter, floor=settings.variance_floor)
        if not converged:
            steps, climb.pairs = _STEPS, ()
    mixture = _mixture(settings, climb.now)
    end = Restart(start.name, climb.history[-1], climb.passes, converged, bool(fallen.any()), mixture, start.found)
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
        squares = steps[:, :, None] * steps[:, None, :] if sums.second.ndim == 3 else steps**2
        excess = (sums.tails[0] - sums.counts).reshape((-1,) + (1,) * (squares.ndim - 1))
        second = sums.second - excess * squares
        sums, tails = sums._replace(second=second), [_freedom(sums, tails[0], means.shape[1])]
    if settings.fixed is not None:
        return _with_fixed(
            settings, sums._replace(counts=all_counts), steps, scales, alive, (now[0], means, factors, *tails)
        )
    moments = structure.estimate(sums, steps, structure.second_moments(factors), alive)
    factors, on_floor = structure.factors(moments, settings.variance_floor)
    return (all_counts / total, means + steps, factors, *tails), on_floor | ~alive


def _with_fixed(
    settings: Settings, sums: ESums, steps: FloatArray, scales: FloatArray, alive: NDArray[np.bool_], now: Parameters
) -> tuple[Parameters, NDArray[np.bool_]]:
    """As :func:`_m_step`, with fixed parameters.

    Free entries of a mean are maximised given the fixed ones and the old covariance, then the covariance given the mean
    (Meng & Rubin 1993, doi:10.1093/biomet/80.2.267). ``steps`` lead to the means of the observations, which have the weight
    ``scales`` (K,) in ``sums``.
    """
    fixed, structure, (_, means, factors, *tails) = settings.fixed, settings.structure, now
    assert fixed is not None
    k, moved = len(means), means + steps
    for j in range(k):
        free = fixed.free_mu[j]
        if factors.ndim == 3 and free.any() and not free.all():
            covariance = factors[j] @ factors[j].T
            gain = np.linalg.solve(covariance[np.ix_(~free, ~free)], covariance[np.ix_(~free, free)]).T
            moved[j, free] += gain @ (fixed.mu[j] - moved[j])[~free]
        moved[j, ~free] = fixed.mu[j, ~free]
    off = moved - means - steps
    about = off[:, :, None] * off[:, None, :] if sums.second.ndim == 3 else off**2
    second = sums.second + about * scales.reshape((-1,) + (1,) * (about.ndim - 1))
    own = sums._replace(counts=sums.counts[:k], second=second)
    moments = structure.estimate(own, steps, structure.second_moments(factors), alive)
    held = ~fixed.free_cov
    known = fixed.cov if moments.ndim == 3 else np.diagonal(fixed.cov, axis1=1, axis2=2)
    moments = np.where(held.reshape((-1,) + (1,) * (moments.ndim - 1)), known, moments)
    factors, on_floor = structure.factors(moments, settings.variance_floor)
    share = sums.counts[k:] / sums.counts.sum()
    w = fixed.weights(sums.counts[:k]) * (1 - share.sum())
    return (np.append(w, share), moved, factors, *tails), (on_floor | ~alive) & (fixed.free_cov | fixed.free_w)


def _freedom(sums: ESums, old: FloatArray, n_features: int) -> FloatArray:
    """Degrees of freedom (K,) that maximise the expected complete-data likelihood (Peel & McLachlan 2000)."""
    half, count = (old + n_features) / 2, np.maximum(sums.counts, 1e-300)
    known = 1 + np.log((old + n_features) / old) + digamma(half) - np.log(half) - (sums.tails[0] + sums.tails[1]) / count
    low, high = (np.full(len(old), np.log(end)) for end in FREEDOM)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        nu = np.exp(middle) / 2
        rising = known + np.log(nu) - digamma(nu) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.exp((low + high) / 2)
