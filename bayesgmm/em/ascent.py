"""Quasi-Newton steps between EM steps, because EM is slow if components overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.special import digamma, polygamma

from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Summable
from bayesgmm.data.units import Units
from bayesgmm.em.penalty import Penalty
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.student import LEAST
from bayesgmm.model.structures import Structure

Parameters = tuple[FloatArray, ...]  # weights (noise last), means, factors, nu of t distributions
Pairs = Sequence[tuple[FloatArray, FloatArray]]  # curvature pairs: steps and the changes of the gradient

FREEDOM = LEAST, 200.0  # bounds of the degrees of freedom
_ROUNDED = 1e-14  # relative rounding error of the log-likelihood
_PAIRS = 40  # curvature pairs that are kept
_FEW = 3  # pairs needed to know the curvature
_UNKNOWN = 1e-4  # factor on tol without them: the gain may be far larger than one EM step
_LONGEST = 1.0  # longest step: one standard deviation, or a factor of e
_FAR = 3.0  # distance from the origin at which the coordinates no longer suit
_TRIALS = 6  # step lengths that backtracking tries
_RISES = 1e-4  # share of the promised gain that a step must bring (Armijo)
_BENT = 1e-8  # least cosine between a step and the change of the gradient: smaller ones may be rounding
_EMPTY = 1e-12  # weight of a component that counts as empty


class Climb:
    """State of the maximisation: current parameters, and the height after each pass over the observations.

    The height is the log-likelihood, with the log prior added if a penalty is given.

    Attributes
    ----------
    now : tuple of arrays
        Parameters of the standardised data.
    sums : ESums
        Expected sufficient statistics at these parameters.
    height : float
    history : list of float
        The greatest height so far, at the start and after each pass.
    pairs : sequence of pairs of arrays
        Curvature pairs of BFGS, in coordinates of a :class:`Chart`.
    """

    def __init__(
        self,
        source: Summable,
        units: Units,
        start: Parameters,
        pairs: Pairs = (),
        told: Callable[[Climb], None] | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        self._source, self._units, self._told, self.penalty = source, units, told, penalty
        self.now, self.pairs = start, pairs
        self.sums = source.sums(*start, units=units)
        self.height = self.height_of(start, self.sums)
        self.history = [self.height]

    @property
    def passes(self) -> int:
        """Number of passes after the first."""
        return len(self.history) - 1

    @property
    def rounding(self) -> float:
        """Rounding error of the height."""
        return _ROUNDED * abs(self.history[-1])

    def height_of(self, there: Parameters, sums: ESums) -> float:
        """The height of parameters with these sums."""
        return float(sums.log_likelihood) + (0.0 if self.penalty is None else self.penalty.log_density(*there))

    def look(self, there: Parameters) -> tuple[float, ESums]:
        """Height and expected sufficient statistics at other parameters, by one pass over the observations."""
        sums = self._source.sums(*there, units=self._units)
        height = self.height_of(there, sums)
        self.history.append(float(np.fmax(self.history[-1], height)))
        return height, sums

    def go(self, there: Parameters, height: float, sums: ESums) -> None:
        """Move to these parameters."""
        self.now, self.height, self.sums = there, height, sums
        if self._told is not None:
            self._told(self)

    def near_enough(self, gain: float, tol: float, *, bent: bool) -> bool:
        """Whether the gain still expected is small enough to stop. ``bent`` says that the curvature is known."""
        return bool(gain <= max(tol if bent else _UNKNOWN * tol, self.rounding))


def ascend(climb: Climb, structure: Structure, *, tol: float, max_iter: int, floor: float) -> bool:
    """Climb by limited-memory BFGS; return whether the maximum is reached, within ``tol`` of log-likelihood.

    The gain still expected is half the gradient's product with the Newton step. The climb ends before the maximum if the
    coordinates no longer suit, if a step leads onto the variance floor or empties a component, or if no step leads up. EM
    then goes on.

    References
    ----------
    Jamshidian & Jennrich (1997), Acceleration of the EM algorithm by using quasi-Newton methods, Journal of the Royal
    Statistical Society: Series B 59, 569-587. doi:10.1111/1467-9868.00083

    Nocedal & Wright (2006), Numerical optimization, algorithms 3.1 and 7.4. doi:10.1007/978-0-387-40065-5
    """
    chart = Chart(structure, climb.now, climb.sums)
    at = np.zeros(chart.size)
    slope = chart.slope(climb.now, climb.sums, climb.penalty)
    while climb.passes < max_iter:
        step = _newton_step(slope, climb.pairs)
        promised = float(slope @ step)
        if promised <= 0 and climb.pairs:  # the pairs are spoilt by rounding
            climb.pairs = ()
            continue
        if climb.near_enough(promised / 2, tol, bent=len(climb.pairs) >= _FEW):
            return True
        length = min(1.0, _LONGEST / chart.extent(step))
        for _ in range(_TRIALS):
            there = chart.parameters(at + length * step)
            if climb.passes >= max_iter or not chart.reaches(there, floor):
                return False
            height, sums = climb.look(there)
            gain = height - climb.height
            if gain >= _RISES * length * promised:
                break
            short = length * promised  # a parabola through both points gives the next length
            length *= float(np.clip(short / (2 * (short - gain)), 0.1, 0.5)) if np.isfinite(gain) else 0.1
        else:
            if not climb.pairs:
                return False
            climb.pairs = ()
            continue
        before, at, old = at, at + length * step, slope
        climb.go(there, height, sums)
        slope = chart.slope(there, sums, climb.penalty)
        moved, bent = at - before, old - slope
        if moved @ bent > _BENT * math.sqrt(moved @ moved) * math.sqrt(bent @ bent):
            climb.pairs = [*climb.pairs, (moved, bent)][-_PAIRS:]
        if chart.extent(at) > _FAR:
            return False
    return False


def _newton_step(slope: FloatArray, pairs: Pairs) -> FloatArray:
    """The gradient times the inverse Hessian that the pairs define; without pairs the gradient, which is EM's step."""
    if not pairs:
        return slope
    curved, shares, step = [moved @ bent for moved, bent in pairs], [], slope
    for (moved, bent), curvature in zip(reversed(pairs), reversed(curved), strict=True):
        shares.append(moved @ step / curvature)
        step = step - shares[-1] * bent
    step = step * (curved[-1] / (pairs[-1][1] @ pairs[-1][1]))
    for (moved, bent), curvature, share in zip(pairs, curved, reversed(shares), strict=True):
        step = step + (share - bent @ step / curvature) * moved
    return step


class Chart:
    """Coordinates around given parameters, in which the complete-data information there is the identity.

    They hold the logarithms of the weights and of nu, and steps of the means in standard deviations of their components.
    Cholesky factors become L T with T lower triangular and the logarithms of its diagonal as coordinates; standard
    deviations become logarithms. EM's step is then the gradient itself.
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
        self._held = self._weights <= _EMPTY  # an empty share of noise is held fixed
        parts[0] = np.where(self._held, np.inf, counts)
        self._roots = np.sqrt(np.concatenate(parts))
        self._places = list(pairwise([0, *np.cumsum([len(part) for part in parts])]))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self._roots)

    @property
    def _matrices(self) -> bool:
        """Whether factors are matrices."""
        return self._factors.ndim > self._means.ndim

    def reaches(self, parameters: Parameters, floor: float) -> bool:
        """Whether the coordinates suit these parameters: no component is empty, on the variance floor or not finite."""
        weights, _, factors, *_ = parameters
        scales = np.diagonal(factors, axis1=-2, axis2=-1) if self._matrices else factors
        return bool(((weights > _EMPTY) | self._held).all() and scales.min() ** 2 > floor)

    def extent(self, coordinates: FloatArray) -> float:
        """Largest change of any parameter, in standard deviations and logarithms."""
        return float(np.abs(coordinates / self._roots).max())

    def parameters(self, at: FloatArray) -> Parameters:
        """Parameters at these coordinates."""
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

    def slope(self, there: Parameters, sums: ESums, penalty: Penalty | None = None) -> FloatArray:
        """Gradient of the height at these parameters, from their sums (Fisher's identity)."""
        weights, means, factors, *nu = there
        k, n_features = means.shape
        counts, second, logs = sums.counts[:k], sums.second, sums.counts - sums.counts.sum() * weights
        if penalty is not None:
            worth = penalty.worth(factors)
            counts, second, logs = counts + worth.counts, second + worth.second, logs + penalty.slope_of_weights(weights)
        if self._matrices:
            inverse, diagonal = np.linalg.inv(factors), np.arange(n_features)
            back = (inverse @ self._factors).swapaxes(1, 2)
            steps = (back @ inverse @ sums.first[:, :, None])[:, :, 0]
            excess = inverse @ second @ inverse.swapaxes(1, 2)
            excess[:, diagonal, diagonal] -= counts[:, None]
            spreads = back @ excess
            spreads[:, diagonal, diagonal] *= factors[:, diagonal, diagonal] / self._factors[:, diagonal, diagonal]
        else:
            steps = self._factors * sums.first / factors**2
            spreads = second / factors**2 - counts[:, None]
        if penalty is not None:
            pull = (penalty.precision @ (penalty.b0 - means)[:, :, None])[:, :, 0]
            steps = steps + (np.einsum("kij,ki->kj", self._factors, pull) if self._matrices else self._factors * pull)
        freedoms = [self._slope_of_freedom(sums, each, n_features, penalty) for each in nu]
        return np.concatenate([logs, steps.ravel(), self._packed(spreads), *freedoms]) / self._roots

    def _packed(self, spreads: FloatArray) -> FloatArray:
        """Entries of the factors that the structure leaves free, summed over those that it makes equal."""
        if self._matrices:
            spreads = spreads[:, *self._entries]
        elif self._structure.n_variances < spreads.shape[1]:
            spreads = spreads.sum(axis=1, keepdims=True)
        return (spreads.sum(axis=0) if self._structure.shared else spreads).ravel()

    def _slope_of_freedom(self, sums: ESums, nu: FloatArray, n_features: int, penalty: Penalty | None) -> FloatArray:
        """Derivative by log nu; 0 where it points beyond a bound."""
        half, share = (nu + n_features) / 2, (nu + n_features) / nu
        known = sums.counts[: len(nu)] * (digamma(half) - digamma(nu / 2) - n_features / nu + share)
        slope = nu / 2 * (known - sums.tails[0] - sums.tails[1]) + (0.0 if penalty is None else penalty.slope_of_nu(nu) * nu)
        return np.where((nu <= FREEDOM[0]) & (slope < 0) | (nu >= FREEDOM[1]) & (slope > 0), 0.0, slope)
