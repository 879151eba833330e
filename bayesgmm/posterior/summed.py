"""The log posterior of observations that are stored elsewhere: a source computes their completed sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bayesgmm.arguments import Covariance, FamilyName, FloatArray
from bayesgmm.data.observations import Observations, Source
from bayesgmm.data.units import Units
from bayesgmm.kernels import student
from bayesgmm.kernels.completed import rows_of_sums
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.kernels.rows import Rows
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.priors import Prior
from bayesgmm.model.structures import Structure
from bayesgmm.posterior.log_posterior import LogPosterior


@dataclass(frozen=True, eq=False)
class SummedPosterior(LogPosterior):
    """The posterior of all observations of a source; ``observations`` holds only some of them.

    Attributes
    ----------
    source : Source
        Computes the sums, in one pass for any number of points.
    units : Units
        The posterior's units; the source's observations are not standardised.
    """

    source: Source = field(kw_only=True)
    units: Units = field(kw_only=True)

    @cached_property
    def summed(self) -> tuple[Rows, Units]:
        """Rows that hold the sums at a point in place of observations, and units that change nothing."""
        rows = rows_of_sums(self._sums, self.n_features, self.source.total, noise=self.noise, student=self.n_nu > 0)
        return rows, Units.as_they_are(self.n_features)

    @cached_property
    def _sums(self) -> FloatArray:
        """Buffer for the sums at one point."""
        entries = self.n_features if self.spread.structure.correlated else 1
        of_component = 1 + self.n_features + self.n_features * entries + (2 if self.n_nu else 0)
        return np.empty(1 + self.noise + self.k * of_component)

    def __call__(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Log posterior and its gradient; NaN if they would overflow."""
        values, gradients = self.evaluated(point[None])
        return float(values[0]), gradients[0]

    def gradients(self, points: FloatArray) -> FloatArray:
        """Gradients of the log posterior at many points, (S, n_dim)."""
        return self.evaluated(points)[1]

    def values(self, points: FloatArray) -> FloatArray:
        """Log posterior at many points (S, n_dim), shape (S,)."""
        return self.evaluated(points)[0]

    def evaluated(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log posterior (S,) and its gradients (S, n_dim) at many points, in one pass."""
        sums = self.source.sums(*self.parameters(points), units=self.units)
        values, gradients = np.empty(len(points)), np.empty(points.shape)
        for s, point in enumerate(points):
            np.concatenate([np.ravel(np.asarray(part)[s]) for part in sums], out=self._sums)
            values[s], gradients[s] = super().__call__(point)
        return values, gradients

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # at distant points, where the density is NaN anyway
    def parameters(self, points: FloatArray) -> tuple[Any, ...]:
        """Weights, means, factors and nu of the mixtures at points (S, n_dim), as arguments of the E-step."""
        log_w, spread = self.log_weights(points), self.spread
        if self.noise:
            shares = self.log_shares(points)
            log_w = np.hstack([log_w + shares[:, 1:], shares[:, :1]])
        factors = inverse_factors(spread.precision_factors(self.coordinates(points)))
        factors = np.broadcast_to(factors, (len(points), self.k, *factors.shape[2:]))
        if not spread.structure.correlated:
            factors = np.diagonal(factors, axis1=2, axis2=3)
        nu = student.nu_of(self.nu_coordinates(points)) if self.n_nu else None
        return np.exp(log_w), self.means(points), factors, nu


def summed_posterior(
    rows: Observations,
    source: Source,
    k: int,
    prior: Prior,
    covariance: Covariance,
    family: FamilyName,
    fixed: Fixed | None = None,
) -> tuple[SummedPosterior, Units]:
    """The posterior of a source's observations, and its units; ``rows`` are some of the observations."""
    units = source.units(one_unit=Structure(covariance, rows.n_features).one_unit)
    given = rows, k, prior.rescaled(units.shift, units.scale, covariance), covariance, family
    held = None if fixed is None else units.standardised_mixture(fixed)
    return SummedPosterior(*given, source=source, units=units, fixed=held), units
