"""Standardisation: shift and scale of the data before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.arguments import FloatArray


@dataclass(frozen=True, eq=False)
class Units:
    """Units of standardised data z: data = shift + scale * z.

    Attributes
    ----------
    shift, scale : (D,) array
        Mean and standard deviation of each feature. If all features share one unit, they have the same scale.
    """

    shift: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, x: FloatArray, weight: FloatArray | None = None, *, one_unit: bool) -> Units:
        """Units in which the known values of data (n, D) have mean zero and standard deviation one."""
        shift, scale = np.array([_of_known(column, weight) for column in x.T]).T
        return cls.with_moments(shift, scale, one_unit=one_unit)

    @classmethod
    def as_they_are(cls, n_features: int) -> Units:
        """The units of the data: no shift, and a scale of one."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def with_moments(cls, shift: FloatArray, scale: FloatArray, *, one_unit: bool) -> Units:
        """Units in which data with these means and standard deviations (D,) have mean zero and standard deviation one."""
        if one_unit and len(scale) > 1:
            largest = scale.max()
            scale = np.full_like(scale, largest * np.sqrt(np.mean((scale / largest) ** 2)))
        return cls(shift, scale)

    def standardised(self, x: FloatArray) -> FloatArray:
        """Data in these units."""
        z = np.subtract(x, self.shift, order="C")
        z /= self.scale
        return z

    def standardised_mixture(self, mixture: Any) -> Any:
        """A mixture in these units."""
        return mixture.rescaled(-self.shift / self.scale, 1 / self.scale)

    def log_volume(self, counts: float | FloatArray) -> float:
        """Log density of data in these units minus that in the data's units.

        ``counts`` is the number of values of every feature, or (D,) of each.
        """
        return float(np.sum(counts * np.log(self.scale)))


def _of_known(column: FloatArray, weight: FloatArray | None) -> tuple[float, float]:
    known = ~np.isnan(column)
    if known.all():
        return location_and_scale(column, weight)
    return location_and_scale(column[known], None if weight is None else weight[known])


@np.errstate(under="ignore")
def location_and_scale(x: FloatArray, weight: FloatArray | None = None) -> tuple[float, float]:
    """Mean and standard deviation of one feature, without overflow for any allowed scale and offset."""
    low, high = float(x.min()), float(x.max())
    middle, half = low + (high - low) / 2, (high - low) / 2
    z = np.subtract(x, middle, dtype=float)
    z /= half
    total = len(x) if weight is None else weight.sum()
    mean = (z if weight is None else weight * z).sum() / total
    z -= mean
    z *= z
    variance = (z if weight is None else np.multiply(weight, z, out=z)).sum() / total
    return middle + half * float(mean), half * math.sqrt(variance)
