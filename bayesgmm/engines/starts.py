"""Starts of the chains: at EM's optima, in proportion to their mass.

If the posterior is near a Gaussian, each start is drawn from Laplace's approximation. Otherwise a short Gibbs run leads away
from the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.em.result import are_one
from bayesgmm.engines.interface import Gaussian
from bayesgmm.engines.laplace import departure, laplace, log_mass
from bayesgmm.engines.sweeps import sweeps
from bayesgmm.model.mixture import Mixture
from bayesgmm.posterior import LogPosterior
from bayesgmm.words import Argument, Words

MOST_DIMENSIONS = 3_000  # parameters for which a Laplace approximation takes half a minute
_NEAR_GAUSSIAN = 0.25  # nats per square root of the number of parameters: up to here knowing the correlations pays
_ALL_BUT_ONE = 0.9  # share of the posterior at which a solution counts as the only one
_MOST_OPTIMA = 4  # optima that are weighed, those of the highest likelihood
_NO_WEIGHT = 1e-6
_JITTER = 0.1  # on the unconstrained scale of standardised data
_TRIES = 20
_ROUNDING = 1e-3  # largest change of the log density at a start of NUTS by the rounding of a coordinate
_MOST_SWEEPS = 1_000
_OPERATIONS = 200_000  # observations x components x features for all sweeps before a start
NO_START = Words(
    "NUTS cannot begin: at the starting points the log posterior density or its gradient is not finite, or the gradient is "
    "zero, perhaps because a component has shrunk onto equal observations; use ",
    Words(Argument("method", "gibbs"), ", ", Argument("covariance", "tied"), ", or a smaller k"),
)


@dataclass(frozen=True)
class Optimum:
    """A solution to begin at: an optimum of EM.

    Its ``mass`` is its share of the posterior among the optima, roughly, by Laplace's approximation near it. Shares are
    equal if there is only one optimum, or if there are too many parameters for the approximation.
    """

    which: int  # place among EM's optima
    point: FloatArray  # EM's estimate on the unconstrained space
    approximation: Gaussian | None
    mass: float


def weigh(own: LogPosterior, points: Sequence[FloatArray]) -> list[Optimum]:
    """The solutions near these points, each mode once, with their shares of the posterior, the largest first.

    The mass of a mode is that of its Laplace approximation. All modes have the same number of relabellings.
    """
    if len(points) == 1 or own.n_dim > MOST_DIMENSIONS:
        return [Optimum(i, point, None, 1 / len(points)) for i, point in enumerate(points)]
    found: list[tuple[int, Gaussian, Mixture]] = []
    for i, point in enumerate(points[:_MOST_OPTIMA]):
        approximation = laplace(own, point)
        mixture = own.mixture_at(approximation.mean)
        if not any(are_one(mixture, other, own.classes) for _, _, other in found):
            found.append((i, approximation, mixture))
    log_masses = np.array([log_mass(own, approximation) for _, approximation, _ in found])
    masses = np.exp(log_masses - log_masses.max())
    masses /= masses.sum()
    order = np.argsort(-masses, kind="stable")
    return [Optimum(found[i][0], points[found[i][0]], found[i][1], float(masses[i])) for i in order]


class Nearness(NamedTuple):
    """Distance of the posterior from Laplace's approximation at its main mode, in nats per square root of its dimension.

    The distance is infinite if there are several solutions, or too many parameters to measure it.
    """

    distance: float
    approximation: Gaussian | None

    @property
    def near(self) -> bool:
        """Whether the posterior is near the approximation."""
        return self.approximation is not None and self.distance < _NEAR_GAUSSIAN


def nearness(own: LogPosterior, optima: Sequence[Optimum]) -> Nearness:
    """Distance of a posterior from its Laplace approximation, given its weighed optima."""
    main = optima[0].approximation
    if own.n_dim > MOST_DIMENSIONS or optima[0].mass < _ALL_BUT_ONE:
        return Nearness(np.inf, main)
    main = main or laplace(own, optima[0].point)
    return Nearness(departure(own, main) / np.sqrt(own.n_dim), main)


def deal(optima: Sequence[Optimum], chains: int) -> list[int]:
    """The optimum at which each chain begins, in proportion to the masses, by the largest remainders."""
    wanted = np.array([each.mass for each in optima]) * chains
    counts = np.floor(wanted + 1e-9).astype(int)
    for i in np.argsort(counts - wanted, kind="stable")[: chains - counts.sum()]:
        counts[i] += 1
    return [i for i, count in enumerate(counts) for _ in range(count)]


def after_sweeps(own: LogPosterior, point: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The end of a short Gibbs run from a point. It keeps the labels of the point unless the run exchanges them.

    If NUTS cannot begin there, the result is a random place near the point instead.
    """
    many = int(np.clip(_OPERATIONS // (own.work * own.k), 1, _MOST_SWEEPS))
    state = point.copy()
    sweeps(own)(rng, state, many, np.empty((1, own.n_dim)))
    if can_begin(own, state) and np.exp(own.log_weights(state[None])).min() > _NO_WEIGHT:
        return state
    return near(own, point, rng)


def about_mode(own: LogPosterior, mode: Gaussian, spread: float, rng: np.random.Generator) -> FloatArray:
    """A draw from a Laplace approximation with its standard deviations times ``spread``.

    If NUTS cannot begin at the draw, the result is a place near the mode instead.
    """
    point = mode.mean + spread * mode.factor @ rng.standard_normal(own.n_dim)
    return point if can_begin(own, point) else near(own, mode.mean, rng)


def near(own: LogPosterior, point: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A random place near the point at which NUTS can begin."""
    for _ in range(_TRIES):
        place = point + rng.uniform(-_JITTER, _JITTER, own.n_dim)
        if can_begin(own, place):
            return place
    raise ValueError(NO_START)


def can_begin(own: LogPosterior, point: FloatArray) -> bool:
    """Whether NUTS can begin at a point: nutpie needs a gradient with finite entries, none exactly zero.

    The gradient is zero for a component without weight. For a component on equal observations it is so steep that the
    rounding of a mean decides it.
    """
    value, slopes = own(point)
    with np.errstate(invalid="ignore", over="ignore"):
        rounding = np.abs(slopes) * np.spacing(np.maximum(np.abs(point), 1.0))
    return bool(np.isfinite(value) and slopes.all() and (rounding < _ROUNDING).all())
