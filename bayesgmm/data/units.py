"""Where data are moved, and what they are divided by, before anything is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels.estep import e_step
from bayesgmm.words import about


def standardisation(x: FloatArray, weight: FloatArray | None = None, *, one_unit: bool) -> tuple[Any, Any]:
    """Mean and standard deviation of each feature, or one standard deviation for all: floats, or (D,) arrays."""
    if x.ndim == 1:
        return location_and_scale(x, weight)
    shift, scale = np.array([location_and_scale(np.ascontiguousarray(column), weight) for column in x.T]).T
    if one_unit and x.shape[1] > 1:
        largest = scale.max()
        scale = np.full_like(scale, largest * np.sqrt(np.mean((scale / largest) ** 2)))
    return shift, scale


def location_and_scale(x: FloatArray, weight: FloatArray | None = None) -> tuple[float, float]:
    """Mean and standard deviation of one feature, safe for any legal scale and offset."""
    used = x if weight is None else x[weight > 0]
    low, high = float(used.min()), float(used.max())
    if low == high:
        raise ValueError(about("x", "must vary among the observations with positive sample_weight, got a constant"))
    middle, half = low + (high - low) / 2, (high - low) / 2
    one = np.ones(1)
    sums = e_step(x, one, np.zeros(1), one, weight, shift=middle, scale=half)
    mean = sums.first / sums.counts
    sums = e_step(x, one, mean, one, weight, shift=middle, scale=half)
    variance = float((sums.second / sums.counts)[0])
    return float(middle + half * mean[0]), half * math.sqrt(variance)
