"""The data in any tree of the package, whatever its posterior holds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import FEATURE
from bayesgmm.arguments import FloatArray, spoken


def observations(tree: xr.DataTree) -> FloatArray:
    """The data, (n,) or (n, D)."""
    return np.asarray(tree["observed_data"]["x"].values, dtype=float)


def feature_names(tree: xr.DataTree) -> list[str]:
    """What the features are called; a single one without a name is x."""
    x = tree["observed_data"]["x"]
    return [spoken(each) for each in (x[FEATURE].to_numpy() if FEATURE in x.dims else [x.attrs.get("long_name", "x")])]
