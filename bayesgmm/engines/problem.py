"""A sampling problem: a posterior, the starts of its chains, and the conversion of its draws for the tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from bayesgmm.analysis.tree import FEATURE, FEATURE_BIS
from bayesgmm.arguments import Engine, FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.data.units import Units
from bayesgmm.em.result import EMResult
from bayesgmm.engines.compiled_target import CompiledTarget, mixture_dims
from bayesgmm.model.fixed import Fixed
from bayesgmm.model.priors import Prior
from bayesgmm.posterior import LogPosterior, standardised_posterior, summed_posterior


@dataclass(frozen=True)
class Problem:
    """A posterior to be sampled.

    ``as_contract`` turns the engine's posterior group into the tree's variables, in the posterior's units.
    ``in_data_units`` then converts them to the data's units.
    """

    target: Any  # see :class:`bayesgmm.engines.interface.Target`
    starts: list[FloatArray]  # points on the unconstrained space, the best first
    start_values: Mapping[str, FloatArray]  # the best start as values of the model's variables
    as_contract: Callable[[xr.Dataset], xr.Dataset]
    in_data_units: Callable[[xr.Dataset], xr.Dataset]
    log_unit: float = 0.0  # log density of the data in the posterior's units minus that in the data's units
    own: LogPosterior | None = None  # the compiled density, if the posterior is the package's


def own_problem(
    data: Observations, em: EMResult, prior: Prior, engine: Engine | None, chains: int, fixed: Fixed | None
) -> Problem:
    """The package's posterior of standardised data, with starts at the distinct optima of EM.

    If EM's source is read in passes, ``data`` is a sample of it, and the posterior is that of all its rows.
    """
    target: Any
    own: LogPosterior
    if isinstance(em.source, Observations):
        own, units = standardised_posterior(data, em.mixture.n_components, prior, em.covariance, em.family, fixed)
        target = CompiledTarget(own)
    else:
        from bayesgmm.engines.together import SummedTarget

        own, units = summed_posterior(data, em.source, em.mixture.n_components, prior, em.covariance, em.family, fixed)
        target = SummedTarget(own, chains=chains)
    optima = [units.standardised_mixture(each) for each in em.optima()]
    names = list(mixture_dims(own))
    if engine == "pymc":
        from bayesgmm.engines.pymc_target import PyMCTarget
        from bayesgmm.model.pymc_model import build_model

        rows: Any = own.standardised
        given: dict[str, Any] = {"prior": own.prior, "covariance": own.covariance, "family": own.family}
        known = None if own.fixed is None else own.fixed.shown
        target = PyMCTarget(build_model(rows, own.k, fixed=known, **given))
    return Problem(
        target=target,
        starts=[own.at(mixture) for mixture in optima],
        start_values=own.values_at(optima[0]),
        as_contract=lambda posterior: posterior[names],
        in_data_units=lambda posterior: rescaled(posterior, units),
        log_unit=units.log_volume(em.source.counts_known) + own.observations.sum_log_widths(units),
        own=own,
    )


def custom_problem(model: Any, data: Observations, em: EMResult) -> Problem:
    """The posterior of a user's model, in the model's units."""
    from bayesgmm.engines.custom import as_contract, start_values
    from bayesgmm.engines.pymc_target import PyMCTarget, unconstrained

    start = start_values(model, em.mixture)
    return Problem(
        target=PyMCTarget(model),
        starts=[unconstrained(model, start).data],
        start_values=start,
        as_contract=lambda posterior: as_contract(posterior, em.mixture.n_components, data.n_features),
        in_data_units=lambda posterior: posterior,
    )


def rescaled(posterior: xr.Dataset, units: Units) -> xr.Dataset:
    """The tree's variables in the data's units."""
    bare, scale = posterior.drop_vars([FEATURE, FEATURE_BIS], errors="ignore"), units.scale
    shift, unit = (_along(FEATURE, values) for values in (units.shift, scale))
    square = unit * _along(FEATURE_BIS, scale)
    of_C0 = bare["C0"].dims if "C0" in bare else ()
    factors = {"mu": unit, "sigma": unit, "cov": square}
    factors["C0"] = square if FEATURE_BIS in of_C0 else unit**2 if FEATURE in of_C0 else xr.Variable((), scale[0] ** 2)
    found = {name: bare.variables[name] * factor for name, factor in factors.items() if name in bare}
    if "mu" in found:
        found["mu"] = shift + found["mu"]
    return bare.assign({name: values.transpose(*bare.variables[name].dims) for name, values in found.items()})


def _along(dim: str, values: FloatArray) -> xr.Variable:
    """Values along the dim of features; a scalar for one feature, because the tree has no such dim then."""
    return xr.Variable(dim, values) if len(values) > 1 else xr.Variable((), values[0])
