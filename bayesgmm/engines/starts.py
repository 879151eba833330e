"""Where chains begin: at the optima that EM found, in proportion to their mass.

Near a Gaussian each is drawn from Laplace's approximation; elsewhere a short Gibbs run leaves the optimum.
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

MOST_DIMENSIONS = 3_000  # of which a Laplace approximation takes half a minute
_NEAR_GAUSSIAN = 0.25  # nats per square root of the number of parameters, up to which knowing the correlations pays
_ALL_BUT_ONE = 0.9  # share of the posterior that makes a solution as good as the only one
_MOST_OPTIMA = 4  # that are weighed, those of the highest likelihood
_NO_WEIGHT = 1e-6
_JITTER = 0.1  # on the unconstrained scale of standardised data
_TRIES = 20
_ROUNDING = 1e-3  # of the log density where NUTS begins, by the rounding of a coordinate of standardised data
_MOST_SWEEPS = 1_000
_OPERATIONS = 200_000  # observations x components x features, which the sweeps before a start may take together
NO_START = Words(
    "NUTS cannot begin: at the starting points the log posterior density or its gradient is not finite, or the gradient is "
    "zero, perhaps because a component has shrunk onto equal observations; use ",
    Words(Argument("method", "gibbs"), ", ", Argument("covariance", "tied"), ", or a smaller k"),
)


@dataclass(frozen=True)
class Optimum:
    """A solution to begin at: an optimum of EM.

    Its ``mass`` is its share of the posterior, among the optima, by Laplace's approximation near it, which is a rough one;
    equal shares where that is not needed, or where there are too many parameters for it.
    """

    which: int  # place among EM's optima
    point: FloatArray  # EM's estimate on the unconstrained space
    approximation: Gaussian | None
    mass: float


def weigh(own: LogPosterior, points: Sequence[FloatArray]) -> list[Optimum]:
    """The solutions near these points with their shares of the posterior, the largest first; each mode once.

    The mass of a mode is that of its Laplace approximation. All have as many mirror images by their labels.
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
    """How far the posterior is from Laplace's approximation at its main mode, in nats per square root of its dimension.

    Infinite where it has several solutions, and of very many parameters, of which it is not measured.
    """

    distance: float
    approximation: Gaussian | None

    @property
    def near(self) -> bool:
        """Whether the approximation is one."""
        return self.approximation is not None and self.distance < _NEAR_GAUSSIAN


def nearness(own: LogPosterior, optima: Sequence[Optimum]) -> Nearness:
    """That of a posterior whose optima are weighed."""
    main = optima[0].approximation
    if own.n_dim > MOST_DIMENSIONS or optima[0].mass < _ALL_BUT_ONE:
        return Nearness(np.inf, main)
    main = main or laplace(own, optima[0].point)
    return Nearness(departure(own, main) / np.sqrt(own.n_dim), main)


def deal(optima: Sequence[Optimum], chains: int) -> list[int]:
    """Which optimum each chain begins at: as many chains as its share demands, what is left by the largest remainders."""
    wanted = np.array([each.mass for each in optima]) * chains
    counts = np.floor(wanted + 1e-9).astype(int)
    for i in np.argsort(counts - wanted, kind="stable")[: chains - counts.sum()]:
        counts[i] += 1
    return [i for i, count in enumerate(counts) for _ in range(count)]


def after_sweeps(own: LogPosterior, point: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Where a short Gibbs run from a point ends; the labels are the point's, as far as the run does not exchange them.

    A run that ends where NUTS cannot begin gives way to a place near the point.
    """
    many = int(np.clip(_OPERATIONS // (own.work * own.k), 1, _MOST_SWEEPS))
    state = point.copy()
    sweeps(own)(rng, state, many, np.empty((1, own.n_dim)))
    if can_begin(own, state) and np.exp(own.log_weights(state[None])).min() > _NO_WEIGHT:
        return state
    return near(own, point, rng)


def about_mode(own: LogPosterior, mode: Gaussian, spread: float, rng: np.random.Generator) -> FloatArray:
    """A draw from a Laplace approximation, ``spread`` times as wide; a place near its mode if NUTS cannot begin there."""
    point = mode.mean + spread * mode.factor @ rng.standard_normal(own.n_dim)
    return point if can_begin(own, point) else near(own, mode.mean, rng)


def near(own: LogPosterior, point: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A place near the point where NUTS can begin."""
    for _ in range(_TRIES):
        place = point + rng.uniform(-_JITTER, _JITTER, own.n_dim)
        if can_begin(own, place):
            return place
    raise ValueError(NO_START)


def can_begin(own: LogPosterior, point: FloatArray) -> bool:
    """Whether NUTS can begin at a point: nutpie wants every slope finite and none exactly zero.

    A component without weight has no slopes. Of one that has shrunk onto equal observations they are so steep that the
    rounding of a mean decides them.
    """
    value, slopes = own(point)
    with np.errstate(invalid="ignore", over="ignore"):
        rounding = np.abs(slopes) * np.spacing(np.maximum(np.abs(point), 1.0))
    return bool(np.isfinite(value) and slopes.all() and (rounding < _ROUNDING).all())
