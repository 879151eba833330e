"""A user's ``pm.Model``: checks of the model, and its draws under the tree's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.blocking import DictToArrayBijection, RaveledVars

from bayesgmm.analysis.tree import CLUSTER, parameter_dims
from bayesgmm.arguments import Covariance, FloatArray
from bayesgmm.data.reading import as_shown
from bayesgmm.engines.pymc_target import unconstrained, without_blas_advice
from bayesgmm.model.mixture import Mixture
from bayesgmm.words import about


def read_model(model: Any, x: FloatArray, k: int, prior: Any, covariance: Any) -> Covariance:
    """Check that the model is a Gaussian mixture of these data in w, mu and sigma or cov; return its structure.

    ``covariance`` is the user's argument. The default "full" accepts any structure.
    """
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pm.Model, got {type(model).__name__}")
    if prior is not None:
        raise ValueError("give either prior or model: a model states its own priors")
    n_features, shown = x.shape[1], as_shown(x)
    names = _names(model.named_vars, n_features)
    missing = [name for name in names.values() if name not in model.named_vars]
    if missing:
        wanted = "w, mu and sigma" if n_features == 1 else f"w, mu and cov (or chol) for {n_features} features"
        raise ValueError(
            f"model must have variables {wanted}, got {sorted(model.named_vars)}; "
            f"name them so, or add pm.Deterministic for {', '.join(missing)}"
        )
    if len(model.observed_RVs) != 1:
        raise ValueError(f"model must have one observed variable, got {[v.name for v in model.observed_RVs]}")
    observed = model.observed_RVs[0]
    values = np.asarray(model.rvs_to_values[observed].eval(), dtype=float)
    if not np.array_equal(values, shown):
        raise ValueError(
            f"model must observe the same data as x, got other shapes or other values: {observed.name!r} has shape "
            f"{values.shape}, x has {shown.shape}; pass the same array to both"
        )
    found = _check_likelihood(model, observed, shown, k, names)
    if covariance not in ("full", found):
        rule = f"must be left out beside model, whose covariances are {found!r}"
        raise ValueError(about("covariance", f"{rule}, got {covariance!r}"))
    return found


def start_values(model: pm.Model, mixture: Mixture) -> dict[str, FloatArray]:
    """The EM estimate as values of the model's free parameters. A tied one gets the mean over components."""
    weights = np.maximum(mixture.weights, 1e-6)
    estimates = {"w": weights / weights.sum(), "mu": mixture.means, "sigma": mixture.sigma}
    if mixture.n_features > 1:
        estimates |= {"cov": mixture.cov, "chol": mixture.factors}
    start = {}
    for variable in model.free_RVs:
        if variable.name in estimates:
            estimate = estimates[variable.name]
            value = np.asarray(estimate.mean(axis=0) if variable.ndim < estimate.ndim else estimate)
            if value.shape == tuple(variable.shape.eval()):  # PyMC packs the Cholesky factors that it draws
                start[variable.name] = value
    with without_blas_advice():
        log_posterior = model.compile_logp(mode="FAST_COMPILE")
        own, ours = (log_posterior(DictToArrayBijection.rmap(unconstrained(model, each))) for each in ({}, start))
    if not np.isfinite(own) and not np.isfinite(ours):
        raise ValueError("model must have a finite log density at its initial point or at the EM estimate, got neither")
    return start if np.isfinite(ours) else {}  # the model's priors may exclude EM's estimate


def as_contract(posterior: xr.Dataset, k: int, n_features: int) -> xr.Dataset:
    """Draws of a user's model under the tree's names and dims. Tied parameters are repeated for each component."""
    names = _names(posterior.data_vars, n_features)
    contract: dict[str, Any] = {}
    renamed: dict[Any, str] = {}
    for name, dims in parameter_dims(n_features).items():
        source = posterior[names[name]]
        values = source.values
        own = dims[len(dims) - (source.ndim - 2) :]  # without the cluster dim if tied
        renamed |= {old: new for old, new in zip(source.dims[2:], own, strict=True) if new == CLUSTER}
        if names[name] == "chol":
            values = values @ values.swapaxes(-1, -2)
        if CLUSTER not in own:
            values = np.broadcast_to(values[:, :, None], (*values.shape[:2], k, *values.shape[2:])).copy()
        contract[name] = (("chain", "draw", *dims), values)
    others = {}
    for other, variable in posterior.data_vars.items():
        if other in contract or other == names.get("cov"):
            continue
        # a further variable with an unnamed dim of length K is over the clusters, unless features or their pairs fit too
        unlike_features = n_features == 1 or k not in (n_features, n_features * (n_features + 1) // 2)
        over_clusters = variable.ndim == 3 or variable.shape[3:] in ((n_features,), (n_features, n_features))
        if unlike_features and over_clusters and variable.dims[2] == f"{other}_dim_0" and variable.shape[2] == k:
            renamed[variable.dims[2]] = CLUSTER
        others[other] = variable.drop_vars([c for c in variable.coords if c not in ("chain", "draw")]).rename(
            {old: new for old, new in renamed.items() if old in variable.dims}
        )
    coords = {name: posterior[name].values for name in ("chain", "draw")}
    return xr.Dataset(contract, coords=coords).assign(others)


def _names(available: Any, n_features: int) -> dict[str, str]:
    """The model's name of each parameter of the tree: a Cholesky factor may replace the covariance."""
    names = {name: name for name in parameter_dims(n_features)}
    if n_features > 1 and "cov" not in available and "chol" in available:
        names["cov"] = "chol"
    return names


def _check_likelihood(model: pm.Model, observed: Any, x: FloatArray, k: int, names: dict[str, str]) -> Covariance:
    """Compare the density of the data with the Gaussian mixture's at random points; return the covariance structure."""
    variables = [model.named_vars[name] for name in names.values()]
    [log_density] = model.logp(vars=[observed], sum=False)
    with without_blas_advice():
        function = model.compile_fn(
            [*model.replace_rvs_by_values(variables), log_density],
            inputs=model.value_vars,
            mode="FAST_COMPILE",
            on_unused_input="ignore",
            point_fn=True,
        )
    several = x.shape[1:]
    shapes = {"w": [(k,)], "mu": [(k, *several)], "spread": [several * 2, (k, *several * 2)]}
    centre = unconstrained(model, {})
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(20):
        point = RaveledVars(centre.data + rng.normal(0, 0.5, size=centre.data.shape), centre.point_map_info)
        *parameters, stated = function(DictToArrayBijection.rmap(point))
        w, mu, spread = parameters
        if any(np.shape(value) not in allowed for value, allowed in zip(parameters, shapes.values(), strict=True)):
            of = f" of {several[0]} features" if several else ""
            found = ", ".join(f"{name} {np.shape(value)}" for name, value in zip(names.values(), parameters, strict=True))
            raise ValueError(f"model must have k = {k} components{of}, got shapes {found}")
        if names.get("cov") == "chol":
            spread = spread @ spread.swapaxes(-1, -2)
        try:
            mixture = Mixture(w, mu, **({"covariances": spread} if several else {"sigma": spread}))
        except ValueError:  # a random point may be out of bounds
            continue
        if not np.isfinite(stated).all():
            continue
        expected = mixture.log_density(x)
        if stated.shape != expected.shape or not np.allclose(stated, expected, rtol=1e-6, atol=1e-6):
            what = "covariances cov" if several else "standard deviations sigma"
            how = (
                "pm.Mixture('x', w=w, comp_dists=pm.MvNormal.dist(mu=mu, cov=cov))"
                if several
                else "pm.NormalMixture('x', w=w, mu=mu, sigma=sigma)"
            )
            raise ValueError(
                f"model must be a Gaussian mixture with weights w, means mu and {what}, but its log density of the data is "
                f"another one; write it with {how}"
            )
        compared += 1
        if compared == 3:
            break
    if not compared:
        raise ValueError(
            f"model must have finite {', '.join(names.values())} and log density near its initial point, got none"
        )
    return _structure(np.asarray(spread), tied=np.ndim(spread) == 2 * len(several))


def _structure(spread: FloatArray, *, tied: bool) -> Covariance:
    """The structure of covariances."""
    if tied or spread.ndim < 3:
        return "tied" if tied else "full"
    variances = np.diagonal(spread, axis1=1, axis2=2)
    if (spread != variances[:, :, None] * np.eye(spread.shape[1])).any():
        return "full"
    return "spherical" if (variances == variances[:, :1]).all() else "diag"
