"""The data in a tree of fit or posterior_k."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import ERROR, FEATURE, LOG_NOISE, LOWER, UPPER, WEIGHT, WIDTH
from bayesgmm.arguments import spoken
from bayesgmm.data.known import Known
from bayesgmm.data.observations import Observations
from bayesgmm.families import GAUSSIAN, family_of


def observations(tree: xr.DataTree) -> Observations:
    """The data without their labels."""
    x, group = np.asarray(tree["observed_data"]["x"].values, dtype=float), tree["observed_data"]
    known: dict[str, Any] = {name: group[name].to_numpy() for name in (WEIGHT, ERROR, LOWER, UPPER, WIDTH) if name in group}
    known |= {name: each[:, None] for name, each in known.items() if name != WEIGHT and each.ndim == 1}
    noise = group[LOG_NOISE].to_numpy() if LOG_NOISE in group else None
    return Observations.made(x.reshape(len(x), -1), Known(**known, noise=noise))


def feature_names(tree: xr.DataTree) -> list[str]:
    """Names of the features; a single feature without a name is called x."""
    x = tree["observed_data"]["x"]
    return [spoken(each) for each in (x[FEATURE].to_numpy() if FEATURE in x.dims else [x.attrs.get("long_name", "x")])]


def kind_of(tree: xr.DataTree) -> str:
    """Adjective for the family of the tree's components."""
    return family_of(tree.attrs.get("family", GAUSSIAN.name)).adjective
