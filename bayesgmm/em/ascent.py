"""Quasi-Newton steps between those of EM, which crawls where components overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.special import digamma, polygamma

from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Summable
from bayesgmm.data.units import Units
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.student import LEAST
from bayesgmm.model.structures import Structure

Parameters = tuple[FloatArray, ...]  # weights, of noise last; means; factors; nu of t distributions
Pairs = Sequence[tuple[FloatArray, FloatArray]]  # steps and changes of the slope, which tell of the curvature

FREEDOM = LEAST, 200.0  # degrees of freedom, between which EM looks for them
_ROUNDED = 1e-14  # of the log-likelihood: what the sum over observations is known to
_PAIRS = 40  # that are remembered
_FEW = 3  # with fewer of them little is known of it,
_UNKNOWN = 1e-4  # and the gain may be so much larger than EM's next step promises
_LONGEST = 1.0  # step: a standard deviation, or a factor of e
_FAR = 3.0  # from the middle of the coordinates, where they are no longer the right ones
_TRIALS = 6  # of ever shorter steps
_RISES = 1e-4  # part of what the slope promises, that a step has to bring
_BENT = 1e-8  # least cosine between a step and the change of the slope, where both are told apart from rounding
_EMPTY = 1e-12  # share of a component that is gone


class Climb:
    """The way up the likelihood: where it has come to, and how high after each pass over the observations.

    Attributes
    ----------
    now : tuple of arrays
        Parameters of the standardised data.
    sums : ESums
        There.
    history : list of float
        The highest log-likelihood so far, at the start and after each pass.
    pairs : sequence of pairs of arrays
        What is known of the curvature, in coordinates of a :class:`Chart`.
    """

    def __init__(
        self,
        source: Summable,
        units: Units,
        start: Parameters,
        pairs: Pairs = (),
        told: Callable[[Climb], None] | None = None,
    ) -> None:
        self._source, self._units, self._told = source, units, told
        self.now, self.pairs = start, pairs
        self.sums = source.sums(*start, units=units)
        self.history = [self.sums.log_likelihood]

    @property
    def passes(self) -> int:
        """How many there were after the first."""
        return len(self.history) - 1

    @property
    def rounding(self) -> float:
        """A difference of log-likelihoods that is none."""
        return _ROUNDED * abs(self.history[-1])

    def look(self, there: Parameters) -> ESums:
        """What the observations say of other parameters: a pass over them."""
        sums = self._source.sums(*there, units=self._units)
        self.history.append(float(np.fmax(self.history[-1], sums.log_likelihood)))
        return sums

    def go(self, there: Parameters, sums: ESums) -> None:
        """On from these parameters."""
        self.now, self.sums = there, sums
        if self._told is not None:
            self._told(self)

    def near_enough(self, gain: float, tol: float, *, bent: bool) -> bool:
        """Whether so little is to be gained, where the curvature is known, that this is the maximum."""
        return bool(gain <= max(tol if bent else _UNKNOWN * tol, self.rounding))


def ascend(climb: Climb, structure: Structure, *, tol: float, max_iter: int, floor: float) -> bool:
    """Climb by limited-memory BFGS; whether the maximum is reached, within ``tol`` of log-likelihood.

    What is still to be gained is half the slope along the Newton step. The steps end, without the maximum, where their
    coordinates are no longer right, where one leads onto the variance floor, and where none leads up: EM goes on from there.

    References
    ----------
    Jamshidian & Jennrich (1997), Acceleration of the EM algorithm by using quasi-Newton methods, Journal of the Royal
    Statistical Society: Series B 59, 569-587. doi:10.1111/1467-9868.00083

    Nocedal & Wright (2006), Numerical optimization, algorithms 3.1 and 7.4. doi:10.1007/978-0-387-40065-5
    """
    chart = Chart(structure, climb.now, climb.sums)
    at = np.zeros(chart.size)
    slope = chart.slope(climb.now, climb.sums)
    while climb.passes < max_iter:
        step = _newton_step(slope, climb.pairs)
        promised = float(slope @ step)
        if promised <= 0 and climb.pairs:  # rounding has bent what they tell
            climb.pairs = ()
            continue
        if climb.near_enough(promised / 2, tol, bent=len(climb.pairs) >= _FEW):
            return True
        length = min(1.0, _LONGEST / chart.extent(step))
        for _ in range(_TRIALS):
            there = chart.parameters(at + length * step)
            if climb.passes >= max_iter or not chart.reaches(there, floor):
                return False
            sums = climb.look(there)
            gain = sums.log_likelihood - climb.sums.log_likelihood
            if gain >= _RISES * length * promised:
                break
            short = length * promised  # of a parabola through both, where this one has its top
            length *= float(np.clip(short / (2 * (short - gain)), 0.1, 0.5)) if np.isfinite(gain) else 0.1
        else:
            if not climb.pairs:
                return False
            climb.pairs = ()
            continue
        before, at, old = at, at + length * step, slope
        climb.go(there, sums)
        slope = chart.slope(there, sums)
        moved, bent = at - before, old - slope
        if moved @ bent > _BENT * np.linalg.norm(moved) * np.linalg.norm(bent):
            climb.pairs = [*climb.pairs, (moved, bent)][-_PAIRS:]
        if chart.extent(at) > _FAR:
            return False
    return False


def _newton_step(slope: FloatArray, pairs: Pairs) -> FloatArray:
    """The slope times the inverse of the curvature, as the pairs tell it; EM's step where there are none.

    References
    ----------
    Byrd, Nocedal & Schnabel (1994), Representations of quasi-Newton matrices and their use in limited memory methods,
    Mathematical Programming 63, 129-156, theorem 2.2. doi:10.1007/BF01582063
    """
    if not pairs:
        return slope
    moved, bent = map(np.array, zip(*pairs, strict=True))
    products = moved @ bent.T
    upper, curved = np.triu(products), np.diagonal(products)
    scale = curved[-1] / (bent[-1] @ bent[-1])
    along = np.linalg.solve(upper, moved @ slope)
    across = np.linalg.solve(upper.T, curved * along + scale * bent @ (along @ bent - slope))
    return scale * (slope - along @ bent) + across @ moved


class Chart:
    """Coordinates around parameters, in which the information of observations and allocations together is 1 there.

    These are logarithms of the weights, steps of the means in standard deviations of their components, factors as multiples
    of what they are, L T with T lower triangular, of positive numbers the logarithms. So EM's step is the slope itself.
    """

    def __init__(self, structure: Structure, middle: Parameters, sums: ESums) -> None:
        self._structure = structure
        self._weights, self._means, self._factors, *self._nu = middle
        k, n_features = self._means.shape
        self._entries = np.tril_indices(n_features)
        counts = sums.counts.sum() * self._weights
        own = counts[:k, None]
        spreads = own[:, :, None] * (1 + np.eye(n_features)) if self._matrices else np.repeat(2 * own, n_features, axis=1)
        freedoms = [counts[:k] * nu**2 / 4 * (polygamma(1, nu / 2) - 2 / nu) for nu in self._nu]
        parts = [counts, np.repeat(own, n_features, axis=1).ravel(), self._packed(spreads), *freedoms]
        self._held = self._weights <= _EMPTY  # noise of which there is none is let be
        parts[0] = np.where(self._held, np.inf, counts)
        self._roots = np.sqrt(np.concatenate(parts))
        self._places = list(pairwise([0, *np.cumsum([len(part) for part in parts])]))

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return len(self._roots)

    @property
    def _matrices(self) -> bool:
        """Whether factors are matrices."""
        return self._factors.ndim > self._means.ndim

    def reaches(self, parameters: Parameters, floor: float) -> bool:
        """Whether the coordinates serve there: no component is empty, or on the variance floor, or not finite."""
        weights, _, factors, *_ = parameters
        scales = np.diagonal(factors, axis1=-2, axis2=-1) if self._matrices else factors
        return bool(((weights > _EMPTY) | self._held).all() and scales.min() ** 2 > floor)

    def extent(self, coordinates: FloatArray) -> float:
        """The farthest that anything moves, in standard deviations and logarithms."""
        return float(np.abs(coordinates / self._roots).max())

    def parameters(self, at: FloatArray) -> Parameters:
        """Those at the coordinates."""
        values = at / self._roots
        logs, steps, spreads, *nu = (values[begin:end] for begin, end in self._places)
        k, n_features = self._means.shape
        steps = steps.reshape(k, n_features)
        spreads = spreads.reshape(self._structure.n_blocks(k), -1)
        if self._matrices:
            multiples, diagonal = np.zeros((len(spreads), n_features, n_features)), np.arange(n_features)
            multiples[:, *self._entries] = spreads
            multiples[:, diagonal, diagonal] = np.exp(multiples[:, diagonal, diagonal])
            means = self._means + (self._factors @ steps[:, :, None])[:, :, 0]
            factors = self._factors @ multiples
        else:
            means, factors = self._means + self._factors * steps, self._factors * np.exp(spreads)
        weights = self._weights * np.exp(logs - logs.max())
        return weights / weights.sum(), means, factors, *(np.clip(self._nu[0] * np.exp(each), *FREEDOM) for each in nu)

    def slope(self, there: Parameters, sums: ESums) -> FloatArray:
        """Of the log-likelihood, where parameters and sums are these (Fisher's identity)."""
        weights, means, factors, *nu = there
        k, n_features = means.shape
        counts = sums.counts[:k]
        if self._matrices:
            inverse, diagonal = np.linalg.inv(factors), np.arange(n_features)
            back = (inverse @ self._factors).swapaxes(1, 2)
            steps = back @ inverse @ sums.first[:, :, None]
            excess = inverse @ sums.second @ inverse.swapaxes(1, 2)
            excess[:, diagonal, diagonal] -= counts[:, None]
            spreads = back @ excess
            spreads[:, diagonal, diagonal] *= factors[:, diagonal, diagonal] / self._factors[:, diagonal, diagonal]
        else:
            steps = self._factors * sums.first / factors**2
            spreads = sums.second / factors**2 - counts[:, None]
        freedoms = [self._slope_of_freedom(sums, each, n_features) for each in nu]
        logs = sums.counts - sums.counts.sum() * weights
        return np.concatenate([logs, steps.ravel(), self._packed(spreads), *freedoms]) / self._roots

    def _packed(self, spreads: FloatArray) -> FloatArray:
        """Of all factors what the structure leaves free, summed over what it makes one."""
        if self._matrices:
            spreads = spreads[:, *self._entries]
        elif self._structure.n_variances < spreads.shape[1]:
            spreads = spreads.sum(axis=1, keepdims=True)
        return (spreads.sum(axis=0) if self._structure.shared else spreads).ravel()

    def _slope_of_freedom(self, sums: ESums, nu: FloatArray, n_features: int) -> FloatArray:
        """By log nu, none where a bound stands in its way."""
        half, share = (nu + n_features) / 2, (nu + n_features) / nu
        known = sums.counts[: len(nu)] * (digamma(half) - digamma(nu / 2) - n_features / nu + share)
        slope = nu / 2 * (known - sums.tails[0] - sums.tails[1])
        return np.where((nu <= FREEDOM[0]) & (slope < 0) | (nu >= FREEDOM[1]) & (slope > 0), 0.0, slope)
