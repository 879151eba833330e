"""What is sampled: a posterior in its own units, where its chains start, and how its draws become those of the tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.analysis.tree import FEATURE, FEATURE_BIS
from bayesgmm.arguments import Engine, FloatArray
from bayesgmm.data.reading import Data
from bayesgmm.em.result import EMResult
from bayesgmm.engines.compiled_target import CompiledTarget, mixture_dims
from bayesgmm.model.priors import Prior
from bayesgmm.posterior import LogPosterior, standardised_posterior


@dataclass(frozen=True)
class Problem:
    """A posterior to be sampled.

    Attributes
    ----------
    target : Target
    starts : list of arrays
        Points on the unconstrained space, the best first.
    start_values : mapping
        The best start as values of the model's variables.
    x : array
        The data in the posterior's units.
    as_contract : callable
        From the engine's posterior group to the tree's variables, in the posterior's units.
    in_data_units : callable
        From there to the data's units.
    log_unit : float
        The log density of the data in the posterior's units less that in the data's.
    own : LogPosterior or None
        The compiled density, if the posterior is the package's own.
    """

    target: Any
    starts: list[FloatArray]
    start_values: Mapping[str, FloatArray]
    x: FloatArray
    as_contract: Callable[[xr.Dataset], xr.Dataset]
    in_data_units: Callable[[xr.Dataset], xr.Dataset]
    log_unit: float = 0.0
    own: LogPosterior | None = None


def own_problem(data: Data, em: EMResult, prior: Prior, engine: Engine | None) -> Problem:
    """The package's own posterior of standardised data, started at the distinct optima of EM."""
    own, units = standardised_posterior(data.values, em.mixture.n_components, prior, em.covariance, data.known)
    shift, scale = units.shift, units.scale
    optima = [each.rescaled(-shift / scale, 1 / scale) for each in em.optima()]
    names = list(mixture_dims(own))
    return Problem(
        x=own.x,
        target=CompiledTarget(own) if engine != "pymc" else _stated_by_pymc(own),
        starts=[own.at(mixture) for mixture in optima],
        start_values=own.values_at(optima[0]),
        as_contract=lambda posterior: posterior[names],
        in_data_units=lambda posterior: _rescaled(posterior, shift, scale),
        log_unit=units.log_volume(data.total),
        own=own,
    )


def custom_problem(model: Any, data: Data, em: EMResult) -> Problem:
    """A user's model as it stands."""
    from bayesgmm.engines.custom import as_contract, start_values
    from bayesgmm.engines.pymc_target import PyMCTarget, unconstrained

    start = start_values(model, em.mixture)
    return Problem(
        target=PyMCTarget(model),
        starts=[unconstrained(model, start).data],
        start_values=start,
        x=data.values,
        as_contract=lambda posterior: as_contract(posterior, em.mixture.n_components, data.n_features),
        in_data_units=lambda posterior: posterior,
    )


def _stated_by_pymc(own: LogPosterior) -> Any:
    from bayesgmm.engines.pymc_target import PyMCTarget
    from bayesgmm.model.pymc_model import build_model

    rows = Data(own.x, None, known=own.known)
    return PyMCTarget(build_model(rows, own.k, prior=own.prior, covariance=own.covariance))  # type: ignore[arg-type]


def _rescaled(posterior: xr.Dataset, shift: Any, scale: Any) -> xr.Dataset:
    """The variables of the mixture of ``shift + scale * x``."""
    if np.ndim(scale) == 0:
        C0 = {"C0": scale**2 * posterior["C0"]} if "C0" in posterior else {}
        return posterior.assign(mu=shift + scale * posterior["mu"], sigma=scale * posterior["sigma"], **C0)
    unit = xr.DataArray(scale, dims=FEATURE)
    units = unit * xr.DataArray(scale, dims=FEATURE_BIS)
    bare = posterior.drop_vars([name for name in (FEATURE, FEATURE_BIS) if name in posterior.coords])
    found = {"mu": xr.DataArray(shift, dims=FEATURE) + unit * bare["mu"], "cov": bare["cov"] * units}
    if "C0" in bare:
        dims = bare["C0"].dims
        found["C0"] = bare["C0"] * (units if FEATURE_BIS in dims else unit**2 if FEATURE in dims else scale[0] ** 2)
    return bare.assign({name: values.transpose(*bare[name].dims) for name, values in found.items()})
