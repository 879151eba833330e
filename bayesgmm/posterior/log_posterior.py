"""The log posterior on the unconstrained space, with its gradient, compiled once for any data, K, D and prior.

It is the density of :func:`bayesgmm.build_model`, in the same coordinates and with the same constants. The tests compare
the two.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit, gammaln, logit

from bayesgmm.arguments import Covariance, FamilyName, FloatArray
from bayesgmm.data.known import NOTHING, Known, both_classes
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.units import Units
from bayesgmm.families import Family, family_of
from bayesgmm.kernels import density, student
from bayesgmm.kernels.points import OF_NOISE
from bayesgmm.kernels.rows import EXACT, Rows
from bayesgmm.kernels.spread import Factors
from bayesgmm.model.fixed import Fixed, classes_with
from bayesgmm.model.hyperparameters import Hyperparameters
from bayesgmm.model.mixture import NOISE, NU, Mixture
from bayesgmm.model.priors import Prior
from bayesgmm.model.structures import Structure
from bayesgmm.posterior.spread import Spread, spread_of

Point = Mapping[str, FloatArray]
_EXPECTED = OF_NOISE[0] / sum(OF_NOISE)
_LEAST_NU = student.LEAST + 0.01  # smallest nu at which a chain can start
_LITTLE = 2_000_000  # points x observations x components x features that take a few milliseconds
_SHARES = np.finfo(float).tiny, 1 - np.finfo(float).epsneg


def log_posterior(
    x: FloatArray,
    k: int,
    prior: Prior,
    covariance: Covariance,
    known: Known = NOTHING,
) -> LogPosterior:
    """The posterior of k components for data (n, D), under a prior in the data's units."""
    return LogPosterior(Observations.made(np.ascontiguousarray(x, dtype=float), known), k, prior, covariance)


def standardised_posterior(
    rows: Observations,
    k: int,
    prior: Prior,
    covariance: Covariance,
    family: FamilyName = "gaussian",
    fixed: Fixed | None = None,
) -> tuple[LogPosterior, Units]:
    """The posterior of standardised data, from prior and fixed parameters in the data's units, and its units."""
    units = rows.units(one_unit=Structure(covariance, rows.n_features).one_unit)
    held = None if fixed is None else units.standardised_mixture(fixed)
    return LogPosterior(
        rows, k, prior.rescaled(units.shift, units.scale, covariance), covariance, family, units, held
    ), units


@dataclass(frozen=True, eq=False)
class LogPosterior:
    """Log density of data and parameters plus the log Jacobian of the transformation to the unconstrained space.

    A point holds, in this order: K - 1 coordinates of the weights, the means (K, D), the coordinates of C0 if it is learnt,
    and those of the covariances. If observations may be noise, the logit of the share of noise follows. For t distributions,
    log(nu - 1) (K) comes last. Coordinates of fixed parameters are left out.

    Attributes
    ----------
    observations : Observations
        Their arrays must be contiguous, because compiled code finds them by address.
    k : int
    prior : HierarchicalPrior or ConjugatePrior
        In the posterior's units.
    covariance : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}
    family : {"gaussian", "t"}
    units : Units or None
        The posterior's units; None if they are those of the observations. The density standardises exact values block by
        block, without a copy.
    fixed : Fixed or None
        Fixed parameters, in the posterior's units.
    """

    observations: Observations
    k: int
    prior: Prior
    covariance: Covariance
    family: FamilyName = "gaussian"
    units: Units | None = None
    fixed: Fixed | None = None

    @property
    def x(self) -> FloatArray:
        """The observations' values in their own units, (n, D)."""
        return self.observations.x

    @cached_property
    def standardised(self) -> Observations:
        """The observations in the posterior's units: a copy, unless ``units`` is None."""
        return self.observations if self.units is None else self.observations.standardised(self.units)

    @cached_property
    def rows(self) -> Rows:
        """The observations in the posterior's units, prepared for compiled code."""
        return self.standardised.rows(self.k, student=self.n_nu > 0)

    @cached_property
    def summed(self) -> tuple[Rows, Units]:
        """Rows that the density sums over, and the units that standardise them.

        Only exact rows stay in the data's units, because squares of errors could overflow in them.
        """
        if self.units is None or self.observations.kind is not EXACT:
            return self.rows, Units.as_they_are(self.n_features)
        return self.observations.rows(self.k, student=self.n_nu > 0, units=self.units), self.units

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """Which components are exchangeable, (K,): those that neither labels, the prior nor fixed values tell apart."""
        classes = both_classes(self.observations.known.classes(self.k), self.hyper.classes(self.k))
        return classes_with(self.fixed, classes)

    @cached_property
    def hyper(self) -> Hyperparameters:
        """The hyperparameters of the prior of the free parameters, given the fixed ones."""
        n_blocks = Structure(self.covariance, self.n_features).n_blocks(self.k)
        return Hyperparameters.of(self.prior, self.covariance).given(self.fixed, self.k, n_blocks)

    @cached_property
    def spread(self) -> Spread:
        """The covariances of the components, in the coordinates of a point."""
        return spread_of(self.k, Structure(self.covariance, self.n_features), self.hyper)

    @property
    def hierarchical(self) -> bool:
        """Whether C0 is learnt."""
        return self.hyper.learnt

    @property
    def noise(self) -> bool:
        """Whether observations may be noise."""
        return self.observations.known.noise is not None

    @property
    def distribution(self) -> Family:
        """All that depends on the family."""
        return family_of(self.family)

    @property
    def n_nu(self) -> int:
        """Number of degrees-of-freedom parameters: K for t distributions, 0 for Gaussians."""
        return self.distribution.n_nu(self.k)

    @property
    def work(self) -> int:
        """Cost of a Gibbs sweep for each component: ``Observations.work``, times a factor for the family."""
        return self.distribution.work * self.observations.work

    @property
    def n_features(self) -> int:
        """Number of features, D."""
        return self.x.shape[1]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of coordinates of each variable, in the order of a point with all coordinates."""
        more = ({NOISE: 1} if self.noise else {}) | ({NU: self.n_nu} if self.n_nu else {})
        return {"w": self.k - 1, "mu": self.k * self.n_features} | self.spread.sizes | more

    @property
    def n_dim(self) -> int:
        """Number of unconstrained coordinates, without those of fixed parameters."""
        return sum(self.sizes.values()) if self.held is None else len(self.held.free)

    @cached_property
    def places(self) -> dict[str, slice]:
        """The slice of a point with all coordinates that holds each variable."""
        ends = np.cumsum(list(self.sizes.values()))
        return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(self.sizes.items(), ends, strict=True)}

    @cached_property
    def header(self) -> FloatArray:
        """The array that compiled code needs: see :func:`bayesgmm.kernels.density.header`."""
        constant = self._log_constants() + self.spread.log_constant
        size = sum(self.sizes.values())
        return density.header(*self.summed, self.spread.compiled, self.hyper, constant, self.n_nu, self.held, size)

    @cached_property
    def held(self) -> density.Held | None:
        """The fixed coordinates; None if nothing is fixed."""
        if self.fixed is None:
            return None
        fixed, place, k = self.fixed, self.places, self.k
        some = Mixture(np.full(k, 1 / k), np.zeros((k, self.n_features)), np.tile(np.eye(self.n_features), (k, 1, 1)))
        base = self._all_coordinates(self._values_at(fixed.holding(some)))
        free = np.ones(len(base), bool)
        free[place["mu"]] = fixed.free_mu.ravel()
        free[place[self.spread.name]] = np.repeat(fixed.free_cov[: self.spread.n_blocks], self.spread.size)
        of_weights = np.flatnonzero(fixed.free_w)
        free[: k - 1] = False
        free[of_weights[:-1]] = True
        last = int(of_weights[-1]) if len(of_weights) else k - 1
        base[: k - 1] = 0.0
        with np.errstate(divide="ignore"):
            log_w = np.append(np.log(fixed.w), np.log(fixed.rest))
        dependent = last if last < k - 1 else -1
        return density.Held(log_w, base, np.flatnonzero(free), max(0, len(of_weights) - 1), dependent)

    @property
    def beside_scale(self) -> NDArray[np.int64]:
        """Places in a point of all coordinates except those of C0."""
        place = self.places[self.spread.scale_name]
        where = np.arange(self.n_dim) if self.held is None else self.held.free
        return np.flatnonzero((where < place.start) | (where >= place.stop))

    def expanded(self, points: FloatArray) -> FloatArray:
        """Points (..., n) with all coordinates, from points (..., n_dim)."""
        return points if self.held is None else self.held.expanded(points)

    def reduced(self, points: FloatArray) -> FloatArray:
        """Points (..., n_dim), from points (..., n) with all coordinates."""
        return points if self.held is None else points[..., self.held.free]

    @property
    def density(self) -> Any:
        """The compiled density; there is one for each kind of spread."""
        return density.density(correlated=self.spread.kind is Factors)

    def __call__(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Log posterior and its gradient; NaN if they would overflow."""
        gradient = np.empty(self.n_dim)
        return density.value(self.density, np.ascontiguousarray(point, dtype=float), self.header, gradient), gradient

    def gradients(self, points: FloatArray) -> FloatArray:
        """Gradients of the log posterior at many points, (S, n_dim)."""
        return np.array([self(point)[1] for point in points])

    def values(self, points: FloatArray) -> FloatArray:
        """Log posterior at many points (S, n_dim), shape (S,), computed on all cores unless it is little work."""
        result, given, every = np.empty(len(points)), np.ascontiguousarray(points, dtype=float), np.arange(len(points))
        function, header = self.density, self.header
        if len(points) * self.work * self.k < _LITTLE:
            density.values(function, given, header, every, result)
            return result
        parts = np.array_split(every, os.cpu_count() or 1)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda part: density.values(function, given[part], header, part, result), parts))
        return result

    def at(self, mixture: Mixture) -> FloatArray:
        """The point of a mixture, with C0 at its conditional mean given the covariances."""
        return self.unconstrained(self.values_at(mixture))

    def mixture_at(self, point: FloatArray) -> Mixture:
        """The mixture that a point represents, the inverse of :meth:`at`."""
        values = self.constrained(point)
        noise = float(values[NOISE]) if self.noise else None
        return Mixture(values["w"], values["mu"], values["cov"], noise=noise, nu=values.get(NU))

    def constrained(self, points: FloatArray) -> dict[str, FloatArray]:
        """The model's variables at points (..., n_dim), with ``cov``, repeated K times if tied, and ``C0`` if learnt."""
        points = self.expanded(points)
        mu = points[..., self.places["mu"]]
        w = np.maximum(np.exp(self._log_weights(points)), np.finfo(float).tiny)  # a weight may underflow
        values = {"w": w, "mu": as_shown(mu.reshape(*mu.shape[:-1], self.k, self.n_features))}
        if self.hierarchical:
            values |= self.spread.scale_values(points[..., self.places[self.spread.scale_name]])
        if self.noise:
            values[NOISE] = np.clip(expit(points[..., self.places[NOISE].start]), *_SHARES)
        if self.n_nu:
            values[NU] = student.nu_of(points[..., self.places[NU]])
        return values | self.spread.values(points[..., self.places[self.spread.name]])

    def log_weights(self, points: FloatArray) -> FloatArray:
        """Log weights (S, K) at points (S, n_dim)."""
        return self._log_weights(self.expanded(points))

    def _log_weights(self, points: FloatArray) -> FloatArray:
        """Log weights (..., K) at points with all coordinates."""
        y, held = points[..., self.places["w"]], self.held
        logits = np.concatenate([y, -y.sum(axis=-1, keepdims=True)], axis=-1)
        if held is None:
            logits -= logits.max(axis=-1, keepdims=True)
            return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        free = np.isnan(held.log_w[:-1])
        log_w = np.broadcast_to(held.log_w[:-1], logits.shape).copy()
        if free.any():
            some = logits[..., free]
            some = some - some.max(axis=-1, keepdims=True)
            log_w[..., free] = some - np.log(np.exp(some).sum(axis=-1, keepdims=True)) + held.log_w[-1]
        return log_w

    def log_shares(self, points: FloatArray) -> FloatArray:
        """Log shares (S, 2) of noise and of the rest at points (S, n_dim); (S, 0) if no observation may be noise."""
        points = self.expanded(points)
        logits = points[:, self.places[NOISE]] if self.noise else points[:, :0]
        return np.hstack([-np.logaddexp(0, -logits), -np.logaddexp(0, logits)])

    def nu_coordinates(self, points: FloatArray) -> FloatArray:
        """Log(nu - 1), (S, K), at points (S, n_dim); (S, 0) for Gaussians."""
        points = self.expanded(points)
        return points[:, self.places[NU]] if self.n_nu else points[:, :0]

    def means(self, points: FloatArray) -> FloatArray:
        """Means (S, K, D) at points (S, n_dim)."""
        return self.expanded(points)[:, self.places["mu"]].reshape(len(points), self.k, self.n_features)

    def coordinates(self, points: FloatArray) -> FloatArray:
        """Coordinates (S, m, size) of the covariances at points (S, n_dim)."""
        return self.spread.blocks(self.expanded(points)[:, self.places[self.spread.name]])

    def scales(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """C0 of each covariance for points (S, n_dim), (S, p, V) or (S, p, D, D) with p = 1 if it is the same for all.

        It is drawn given the covariances, or the prior's if it is fixed.
        """
        rate = self.hyper.rate
        if not self.hierarchical:
            return np.broadcast_to(rate, (len(points), *rate.shape))
        drawn = self.spread.scale_values(self.spread.draw_scale(self.coordinates(points), rng)[0])["C0"]
        return drawn.reshape(len(points), *rate.shape)

    def unconstrained(self, values: Point) -> FloatArray:
        """The point at which the model's free variables have these values."""
        return self.reduced(self._all_coordinates(values))

    def _all_coordinates(self, values: Point) -> FloatArray:
        free = np.ones(self.k, bool) if self.fixed is None else self.fixed.free_w
        parts = [_weight_coordinates(values["w"], free), np.ravel(values["mu"])]
        parts += [self.spread.coordinates(values[name]) for name in self.spread.sizes]
        parts += [np.atleast_1d(logit(values[NOISE]))] if self.noise else []
        parts += [student.coordinates_of(values[NU])] if self.n_nu else []
        return np.concatenate(parts)

    def values_at(self, mixture: Mixture) -> Point:
        """Values of the model's free variables for a mixture, with C0 at its conditional mean given the covariances.

        Fixed parameters have their values, whatever the mixture has.
        """
        return self._values_at(mixture if self.fixed is None else self.fixed.holding(mixture))

    def _values_at(self, mixture: Mixture) -> Point:
        w = np.maximum(mixture.weights, 1e-6)  # zero has no logarithm
        values = {"w": w / w.sum(), "mu": mixture.means} | self.spread.of_mixture(mixture)
        if self.noise:
            share = _EXPECTED if mixture.noise is None else np.clip(mixture.noise, 1e-6, 1 - 1e-6)
            values[NOISE] = np.array(share)
        if self.n_nu:
            known = self.distribution.expected_nu(self.k) if mixture.nu is None else mixture.nu
            values[NU] = np.maximum(known, _LEAST_NU)
        return values

    def with_exact_scale(self, points: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points with C0 redrawn from its conditional given the covariances, and the log density of the redrawn C0."""
        drawn, log_q = self.spread.draw_scale(self.coordinates(points), rng)
        points = self.expanded(points).copy()
        points[:, self.places[self.spread.scale_name]] = drawn
        return self.reduced(points), log_q

    def _log_constants(self) -> float:
        """Log normalising constants of the priors of weights, means, share of noise and nu, and of the simplex Jacobian."""
        k, own = self.k, self.hyper.of_each(self.k, self.spread.n_blocks)
        means = np.broadcast_to(own.log_normaliser_of_means, k).sum()
        more = (-betaln(*OF_NOISE) if self.noise else 0.0) + self.distribution.log_normaliser(k)
        alpha = own.alpha[own.alpha > 0]
        if len(alpha) == 0:
            return float(means + more)
        log_rest = 0.0 if self.held is None else self.held.log_w[-1]
        of_weights = gammaln(alpha.sum()) - gammaln(alpha).sum() + math.log(len(alpha)) - alpha.sum() * log_rest
        return float(of_weights + means + more)


def _weight_coordinates(w: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """The K - 1 coordinates y: free weights are in proportion to softmax([y, -sum y]), and y is 0 for fixed ones."""
    log_weights = np.log(w)
    return np.where(free, log_weights - log_weights[free].mean() if free.any() else 0.0, 0.0)[:-1]
