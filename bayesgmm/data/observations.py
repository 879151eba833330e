"""Observations and what they answer for: the sums that EM and the log posterior are made of, and the density of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import NOTHING, Known
from bayesgmm.data.units import Units
from bayesgmm.kernels import estep
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.rows import Rows, rows_of


class Source(Protocol):
    """Where observations are does not matter to those who ask for no more than this."""

    def sums(self, weights: FloatArray, means: FloatArray, factors: FloatArray, units: Units | None = None) -> ESums:
        """Completed sums for a mixture with K components: :func:`bayesgmm.kernels.estep.e_step`."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Rows in memory, and what is known of each beside its values.

    Attributes
    ----------
    x : (n, D) array
    known : Known
    """

    x: FloatArray
    known: Known = NOTHING

    def __len__(self) -> int:
        """The number of rows, n."""
        return len(self.x)

    @property
    def n_features(self) -> int:
        """D."""
        return self.x.shape[1]

    @property
    def total(self) -> float:
        """n, or the sum of the weights."""
        return self.known.total(len(self))

    @property
    def counts(self) -> FloatArray:
        """How often each counts, (n,)."""
        return self.known.counts(len(self))

    def of(self, rows: Any) -> Observations:
        """Some of them."""
        return Observations(self.x[rows], self.known.of(rows))

    def weighing(self, weight: FloatArray | None) -> Observations:
        """The same with other weights."""
        return Observations(self.x, replace(self.known, weight=weight))

    def standardised(self, units: Units) -> Observations:
        """The same in these units."""
        return Observations(units.standardised(self.x), self.known)

    def rows(self, k: int) -> Rows:
        """As compiled code takes them, for K components."""
        return rows_of(self.x, self.known.weight, self.known.log_labels(k))

    def log_density(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Log density of each, (n,), or (S, n) of S mixtures, over the components that its label allows."""
        return estep.log_density(self.x, weights, means, factors, self.known.log_labels(weights.shape[-1]))

    def responsibilities(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Probability of each component given each of them and its label, (n, K)."""
        return estep.responsibilities(self.x, weights, means, factors, self.known.log_labels(len(weights)))

    def log_likelihood(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> float:
        """Log density of all, each counted as often as it counts."""
        return float(self.counts @ self.log_density(weights, means, factors))

    def sums(self, weights: FloatArray, means: FloatArray, factors: FloatArray, units: Units | None = None) -> ESums:
        """Completed sums for a mixture, in whose units the rows are standardised in passing."""
        standardise: Any = {} if units is None else {"shift": units.shift, "scale": units.scale}
        return estep.e_step(
            self.x, weights, means, factors, self.known.weight, self.known.log_labels(weights.shape[-1]), **standardise
        )
