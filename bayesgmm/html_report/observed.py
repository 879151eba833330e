"""The data in any tree of the package, whatever its posterior holds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import FEATURE, WEIGHT
from bayesgmm.arguments import FloatArray, spoken


def observations(tree: xr.DataTree) -> FloatArray:
    """The data, (n, D)."""
    values = np.asarray(tree["observed_data"]["x"].values, dtype=float)
    return values.reshape(len(values), -1)


def weights(tree: xr.DataTree) -> FloatArray | None:
    """How often each of the data counts, (n,), where that is not once."""
    observed = tree["observed_data"]
    return np.asarray(observed[WEIGHT].values, dtype=float) if WEIGHT in observed else None


def feature_names(tree: xr.DataTree) -> list[str]:
    """What the features are called; a single one without a name is x."""
    x = tree["observed_data"]["x"]
    return [spoken(each) for each in (x[FEATURE].to_numpy() if FEATURE in x.dims else [x.attrs.get("long_name", "x")])]
