"""The data in any tree of the package, whatever its posterior holds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import ERROR, FEATURE, WEIGHT
from bayesgmm.arguments import FloatArray, spoken
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations


def observations(tree: xr.DataTree) -> FloatArray:
    """The data, (n, D), NaN where a value is missing."""
    values = np.asarray(tree["observed_data"]["x"].values, dtype=float)
    return values.reshape(len(values), -1)


def weights(tree: xr.DataTree) -> FloatArray | None:
    """How often each of the data counts, (n,), where that is not once."""
    observed = tree["observed_data"]
    return np.asarray(observed[WEIGHT].values, dtype=float) if WEIGHT in observed else None


def errors(tree: xr.DataTree) -> FloatArray | None:
    """Standard deviations (n, D) of the errors of values that are known, where there are errors."""
    if ERROR not in tree["observed_data"]:
        return None
    x, error = observations(tree), np.asarray(tree["observed_data"][ERROR].values)
    return Observations.made(x, Known(error=error[:, None] if error.ndim == 1 else error)).error_sd


def feature_names(tree: xr.DataTree) -> list[str]:
    """What the features are called; a single one without a name is x."""
    x = tree["observed_data"]["x"]
    return [spoken(each) for each in (x[FEATURE].to_numpy() if FEATURE in x.dims else [x.attrs.get("long_name", "x")])]
