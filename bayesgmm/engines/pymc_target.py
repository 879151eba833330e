"""A PyMC model as a target of the engines: a user's model, or the reference for the compiled posterior."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from pymc.blocking import DictToArrayBijection, RaveledVars
from pymc.initial_point import make_initial_point_fn
from pymc.pytensorf import compile as compile_function

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.interface import LogDensity, Loss, Start


class PyMCTarget:
    """See :class:`bayesgmm.engines.interface.Target`."""

    compiling = "compiling the posterior by PyMC (up to half a minute)"

    def __init__(self, model: pm.Model) -> None:
        self.model = model

    def for_advi(self, family: str, seed: int) -> tuple[LogDensity, Loss]:
        """PyMC's log density and its ADVI objective, with one draw in each evaluation."""
        self._compiled = self.model.logp_dlogp_function(ravel_inputs=True)
        self._compiled.set_extra_values({})
        return self._log_density, _objective(self.model, family, seed)

    def _log_density(self, point: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = self._compiled(point)
        return float(value), np.asarray(gradient)

    def log_densities(self, points: FloatArray) -> FloatArray:
        """The log density at points (S, n_dim)."""
        return np.array([self._log_density(point)[0] for point in points])

    def for_nuts(self, start: Start) -> Any:
        """The model as nutpie compiles it, compiled only once."""
        if start.whitening is not None:
            raise ValueError("a model that PyMC states is sampled in its own coordinates")
        return replace(self._nutpie_model, initial_point_func=start.initial)

    @cached_property
    def _nutpie_model(self) -> Any:
        import nutpie

        return nutpie.compile_pymc_model(self.model, jitter_rvs=set())

    def sampled(self, posterior: xr.Dataset) -> xr.Dataset:
        """The model's variables from nutpie's posterior."""
        return posterior

    def constrained(self, points: FloatArray) -> xr.Dataset:
        """The model's variables at points (chain, draw, n_dim)."""
        model, shape = self.model, points.shape[:2]
        variables = model.unobserved_RVs
        with without_blas_advice():
            function = model.compile_fn(
                model.replace_rvs_by_values(variables), inputs=model.value_vars, mode="FAST_COMPILE", point_fn=True
            )
        layout = unconstrained(model, {}).point_map_info
        rows = [function(DictToArrayBijection.rmap(RaveledVars(p, layout))) for p in points.reshape(-1, points.shape[-1])]
        data = {}
        for variable, *values in zip(variables, *rows, strict=True):
            array = np.array(values)
            dims = model.named_vars_to_dims.get(variable.name) or [f"{variable.name}_dim_{j}" for j in range(array.ndim - 1)]
            data[variable.name] = (("chain", "draw", *dims), array.reshape(*shape, *array.shape[1:]))
        return xr.Dataset(data, coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])})


def unconstrained(model: pm.Model, start: Mapping[str, FloatArray]) -> RaveledVars:
    """One vector of the model's value variables; a variable without a start gets the model's initial value."""
    with without_blas_advice():
        point = make_initial_point_fn(model=model, overrides=dict(start), jitter_rvs=set(), return_transformed=True)(0)
    return DictToArrayBijection.map({value.name: point[value.name] for value in model.value_vars})


@contextmanager
def without_blas_advice() -> Iterator[None]:
    """Silence PyTensor's advice to install BLAS, which a model does not need for a few evaluations."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS installation", category=UserWarning)
        yield


def _objective(model: pm.Model, family: str, seed: int) -> Loss:
    """PyMC's negative evidence lower bound and its gradient for the mean and the factor."""
    seed = seed % 2**30
    inference = (pm.FullRankADVI if family == "fullrank" else pm.ADVI)(model=model, random_seed=seed)
    parameters = {p.name: p for p in inference.approx.params}
    mean_parameter = parameters["mu"]
    shape_parameter = parameters["L_tril" if family == "fullrank" else "rho"]
    loss = inference.objective(1)
    gradients = pytensor.grad(loss, [mean_parameter, shape_parameter])
    function = compile_function([], [loss, *gradients], random_seed=seed)
    size = inference.approx.ddim
    entries = np.tril_indices(size) if family == "fullrank" else np.diag_indices(size)
    on_diagonal = entries[0] == entries[1]

    def objective(mean: FloatArray, factor: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        # PyMC keeps the diagonal of the factor as softplus of its parameter
        raw = factor[entries]
        diagonal = raw[on_diagonal]
        raw[on_diagonal] = diagonal + np.log(-np.expm1(-diagonal))
        mean_parameter.set_value(mean)
        shape_parameter.set_value(raw)
        value, mean_gradient, raw_gradient = function()
        raw_gradient = np.array(raw_gradient)
        raw_gradient[on_diagonal] /= -np.expm1(-diagonal)
        factor_gradient = np.zeros((size, size))
        factor_gradient[entries] = raw_gradient
        return float(value), np.asarray(mean_gradient), factor_gradient

    return objective
