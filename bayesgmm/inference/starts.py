"""Starts: values of a model's variables as points of its unconstrained space."""

from __future__ import annotations

from collections.abc import Mapping

import pymc as pm
from pymc.blocking import DictToArrayBijection, RaveledVars
from pymc.initial_point import make_initial_point_fn

from bayesgmm.validation import FloatArray

Start = Mapping[str, FloatArray]


def unconstrained(model: pm.Model, start: Start) -> RaveledVars:
    """One vector of the model's value variables; a variable without a start gets the model's own initial value."""
    point = make_initial_point_fn(model=model, overrides=dict(start), jitter_rvs=set(), return_transformed=True)(0)
    return DictToArrayBijection.map({value.name: point[value.name] for value in model.value_vars})
