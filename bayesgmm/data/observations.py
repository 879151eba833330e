"""Observations and what they answer for: the sums that EM and the log posterior are made of, and the density of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.data.known import NOTHING, Known
from bayesgmm.data.units import Units
from bayesgmm.kernels import estep
from bayesgmm.kernels.compiled import given
from bayesgmm.kernels.errors import Errors
from bayesgmm.kernels.estep import ESums
from bayesgmm.kernels.groups import Groups, groups_of
from bayesgmm.kernels.rows import EXACT, Kind, Rows, rows_of


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
        error = self.known.error
        if error is not None:
            error = error / (units.scale if error.ndim == 2 else np.outer(units.scale, units.scale))
        return Observations(units.standardised(self.x), replace(self.known, error=error))

    @cached_property
    def kind(self) -> Kind:
        """What is known of the values, as compiled code takes it."""
        error = self.known.error
        if self.n_features == 1:
            return (
                EXACT if error is None else Errors(given(error.reshape(-1) ** 2 if error.ndim == 2 else error.reshape(-1)))
            )
        if error is None and not np.isnan(self.x.min(initial=0.0)):
            return EXACT
        if error is not None and error.ndim == 2:
            error = error[:, :, None] ** 2 * np.eye(self.n_features)
        return groups_of(self.x, error)

    def __getstate__(self) -> dict[str, Any]:
        """Without the addresses that belong to one process."""
        return {"x": self.x, "known": self.known}

    def _in_order(self, k: int) -> tuple[FloatArray | None, FloatArray | None]:
        """Weights and logarithms of labels in the order in which compiled code takes the rows."""
        weight, log_labels = self.known.weight, self.known.log_labels(k)
        if not isinstance(self.kind, Groups):
            return weight, log_labels
        order = self.kind.order
        return None if weight is None else weight[order], None if log_labels is None else log_labels[:, order]

    def rows(self, k: int) -> Rows:
        """As compiled code takes them, for K components."""
        x = self.x[self.kind.order] if isinstance(self.kind, Groups) else self.x
        return rows_of(x, *self._in_order(k), self.kind)

    def log_density(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Log density of each, (n,), or (S, n) of S mixtures, over the components that its label allows."""
        return estep.log_density(self.x, weights, means, factors, self._in_order(weights.shape[-1])[1], self.kind)

    def responsibilities(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> FloatArray:
        """Probability of each component given each of them and its label, (n, K)."""
        return estep.responsibilities(self.x, weights, means, factors, self._in_order(len(weights))[1], self.kind)

    def log_likelihood(self, weights: FloatArray, means: FloatArray, factors: FloatArray) -> float:
        """Log density of all, each counted as often as it counts."""
        return float(self.counts @ self.log_density(weights, means, factors))

    def sums(self, weights: FloatArray, means: FloatArray, factors: FloatArray, units: Units | None = None) -> ESums:
        """Completed sums for a mixture, in whose units the rows are standardised in passing."""
        standardise: Any = {} if units is None else {"shift": units.shift, "scale": units.scale}
        order = self._in_order(weights.shape[-1])
        return estep.e_step(self.x, weights, means, factors, *order, self.kind, **standardise)
