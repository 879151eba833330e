"""A user's own ``pm.Model``: what it must be, and its draws brought to the tree's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.blocking import DictToArrayBijection, RaveledVars

from bayesgmm.inference.pymc_target import unconstrained
from bayesgmm.mixture import Mixture
from bayesgmm.tree import CLUSTER, PARAMETERS
from bayesgmm.validation import Covariance, FloatArray


def read_model(model: Any, x: FloatArray, k: int, prior: Any) -> Covariance:
    """Check that the model is a Gaussian mixture of these data in w, mu and sigma; return its covariance structure."""
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pm.Model, got {type(model).__name__}")
    if prior is not None:
        raise ValueError("give either prior or model: a model states its own priors")
    missing = [name for name in PARAMETERS if name not in model.named_vars]
    if missing:
        raise ValueError(
            f"model must have variables w, mu and sigma, got {sorted(model.named_vars)}; "
            f"name them so, or add pm.Deterministic for {', '.join(missing)}"
        )
    if len(model.observed_RVs) != 1:
        raise ValueError(f"model must have one observed variable, got {[v.name for v in model.observed_RVs]}")
    observed = model.observed_RVs[0]
    values = np.asarray(model.rvs_to_values[observed].eval(), dtype=float)
    if values.shape != x.shape or not np.array_equal(values, x):
        raise ValueError(
            f"model must observe the same data as x, got {values.shape} in {observed.name!r} against {x.shape} or other "
            "values; pass the same array to both"
        )
    return "tied" if _check_likelihood(model, observed, x, k) else "full"


def start_values(model: pm.Model, mixture: Mixture) -> dict[str, FloatArray]:
    """The EM estimate as values of those of w, mu and sigma that the model draws itself; one common sigma as the mean."""
    estimates = {"w": np.maximum(mixture.weights, 1e-6), "mu": mixture.means, "sigma": mixture.sigma}
    estimates["w"] = estimates["w"] / estimates["w"].sum()
    free = {variable.name: variable for variable in model.free_RVs if variable.name in estimates}
    start = {
        name: np.asarray(estimates[name].mean() if variable.ndim == 0 else estimates[name])
        for name, variable in free.items()
    }
    log_posterior = model.compile_logp(mode="FAST_COMPILE")
    own, ours = (log_posterior(DictToArrayBijection.rmap(unconstrained(model, each))) for each in ({}, start))
    if not np.isfinite(own) and not np.isfinite(ours):
        raise ValueError("model must have a finite log density at its initial point or at the EM estimate, got neither")
    return start if np.isfinite(ours) else {}  # EM's estimate may lie where the model's priors allow nothing


def as_contract(posterior: xr.Dataset, k: int) -> xr.Dataset:
    """Draws of a user's model with the cluster dimension of w, mu and sigma under its name in the tree."""
    own_names = {posterior[name].dims[-1]: CLUSTER for name in PARAMETERS if posterior[name].ndim == 3}
    for name, values in posterior.data_vars.items():  # a variable of the user's own over the clusters, dims not named
        if values.ndim == 3 and values.dims[-1] == f"{name}_dim_0" and values.sizes[values.dims[-1]] == k:
            own_names[values.dims[-1]] = CLUSTER
    coords = [name for name in own_names if name in posterior.coords]
    result = posterior.drop_vars(coords)
    # dimensions named apart (w_dim_0, mu_dim_0) become one, which a renaming of the whole data set cannot do
    result = xr.Dataset(
        {
            name: values.rename({old: new for old, new in own_names.items() if old in values.dims})
            for name, values in result.data_vars.items()
        }
    )
    like = result["w"]
    return result.assign({name: result[name].broadcast_like(like).transpose(*like.dims) for name in PARAMETERS})


def _check_likelihood(model: pm.Model, observed: Any, x: FloatArray, k: int) -> bool:
    """Compare the density of the data with the Gaussian mixture's at random points; true if sigma is one number."""
    variables = [model.named_vars[name] for name in PARAMETERS]
    [log_density] = model.logp(vars=[observed], sum=False)
    function = model.compile_fn(
        [*model.replace_rvs_by_values(variables), log_density],
        inputs=model.value_vars,
        mode="FAST_COMPILE",
        on_unused_input="ignore",
        point_fn=True,
    )
    centre = unconstrained(model, {})
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(20):
        point = RaveledVars(centre.data + rng.normal(0, 0.5, size=centre.data.shape), centre.point_map_info)
        w, mu, sigma, stated = function(DictToArrayBijection.rmap(point))
        if np.shape(w) != (k,) or np.shape(mu) != (k,) or np.shape(sigma) not in ((), (k,)):
            raise ValueError(
                f"model must have k = {k} components, got shapes w {np.shape(w)}, mu {np.shape(mu)}, sigma {np.shape(sigma)}"
            )
        if not all(np.isfinite(values).all() for values in (w, mu, sigma, stated)) or np.min(sigma) <= 0:
            continue
        if not np.allclose(stated, Mixture(w, mu, sigma=sigma).log_density(x), rtol=1e-6, atol=1e-6):
            raise ValueError(
                "model must be a Gaussian mixture with weights w, means mu and standard deviations sigma, but its log "
                "density of the data is another one; write it with pm.NormalMixture('x', w=w, mu=mu, sigma=sigma)"
            )
        compared += 1
        if compared == 3:
            break
    if not compared:
        raise ValueError("model must have finite w, mu, sigma and log density near its initial point, got none")
    return np.ndim(sigma) == 0
