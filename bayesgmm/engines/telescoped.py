"""Results of a telescoping run: probabilities with their errors, groups of the tree in the data's units, a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayesgmm.analysis.draws import Draws, roots
from bayesgmm.analysis.quantities import summarise
from bayesgmm.analysis.tree import CLUSTER, FEATURE, FEATURE_BIS, OBS, parameter_dims
from bayesgmm.arguments import FloatArray
from bayesgmm.data.observations import Observations
from bayesgmm.data.reading import as_shown
from bayesgmm.data.units import Units
from bayesgmm.engines.compiled_target import mixture_dims
from bayesgmm.engines.problem import rescaled
from bayesgmm.engines.telescoping import Telescoped, components_of
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.posterior import LogPosterior

_NEGLIGIBLE = 1e-8  # prior and posterior probability below which the largest k are not listed
_AT_THE_END = 0.05  # probability of the largest k that calls for larger ones


def probabilities(sampled: Telescoped, prior: FloatArray) -> xr.Dataset:
    """p(k | x) and p(K+ | x) with their Monte Carlo standard errors, up to the largest k that is not negligible."""
    draws, variables = sampled.draws, {"prior_k": prior}
    for name, values in (("p_k", draws.p_k), ("p_occupied", draws.p_occupied)):
        mean = values.mean(axis=(0, 1))
        variables[name] = mean / mean.sum()
        variables[f"{name}_mcse"] = np.array([_mcse(values[..., i]) for i in range(len(prior))])
    listed = (prior > _NEGLIGIBLE) | (variables["p_k"] > _NEGLIGIBLE)
    last = int(np.flatnonzero(listed)[-1]) + 1
    order = ("p_k", "p_k_mcse", "prior_k", "p_occupied", "p_occupied_mcse")
    return xr.Dataset({name: ("k", variables[name][:last]) for name in order}, coords={"k": np.arange(1, last + 1)})


def convergence_of(sampled: Telescoped) -> pd.DataFrame:
    """Mean, Monte Carlo standard error, effective sample size and R-hat of label-invariant quantities."""
    draws = sampled.draws
    quantities = [("k", draws.n_components.astype(float)), ("the number occupied", draws.occupied.astype(float))]
    quantities += [
        (f"log_density at point {i}", np.ascontiguousarray(draws.log_density[..., i]))
        for i in range(draws.log_density.shape[2])
    ]
    return summarise(iter(quantities))


def verdict(root: xr.Dataset, convergence: pd.DataFrame, n_clusters: int, trouble: str, of_strays: list[str]) -> str:
    """The result in a sentence, and the reason if it cannot be relied on."""
    k, p, mcse, occupied = (root[name].values for name in ("k", "p_k", "p_k_mcse", "p_occupied"))
    best = np.argsort(-p, kind="stable")[:3]
    named = ", ".join(f"p(k = {k[i]} | x) = {p[i]:.3f} +- {mcse[i]:.3f}" for i in best if p[i] > 0)
    low, high = (int(k[min(int(np.searchsorted(p.cumsum(), q)), len(k) - 1)]) for q in (0.05, 0.95))
    sentence = (
        f"{named}; k is between {low} and {high} with a probability of at least 90 %; most probably "
        f"{k[occupied.argmax()]} components hold data (probability {occupied.max():.2f}); the partition of least expected "
        f"loss has {n_clusters} clusters"
    )
    if len(k) > 1 and p[-1] > _AT_THE_END:
        sentence += f"; p({k[-1]} | x) = {p[-1]:.2f} at the largest k of the prior: allow a larger one"
    r_hat, ess = convergence["r_hat"].max(), convergence["ess_bulk"].min()
    if np.isfinite(r_hat):
        sentence += f"; largest R-hat {r_hat:.3f}, smallest bulk ESS {ess:.0f}"
    sentence += "".join(f"; {each}" for each in of_strays)
    if trouble:
        sentence += f"; not to be relied on as it stands: {trouble}"
    return fill(sentence, 110)


@dataclass(frozen=True)
class InDataUnits:
    """Conversion of draws to the data's units."""

    own: LogPosterior
    units: Units
    data: Observations

    def posterior(self, sampled: Telescoped, points: FloatArray) -> xr.Dataset:
        """Draws of K, K+, C0 and the log densities at the points, which are in the data's units."""
        draws, dims = sampled.draws, ("chain", "draw")
        coords: dict[str, Any] = {name: np.arange(size) for name, size in zip(dims, draws.n_components.shape, strict=True)}
        coords["point"] = points[:, 0] if points.shape[1] == 1 else np.arange(len(points))
        log_unit = self.units.log_volume(1.0)
        variables: dict[str, Any] = {
            "n_components": (dims, draws.n_components),
            "occupied": (dims, draws.occupied),
            "log_density": ((*dims, "point"), draws.log_density - log_unit),
        }
        if not self.own.hierarchical:
            return xr.Dataset(variables, coords=coords)
        of_C0, C0 = mixture_dims(self.own)["C0"], draws.scale
        if self.own.spread.structure.correlated:
            rows, columns = np.tril_indices(self.own.n_features)
            C0 = np.empty((*draws.scale.shape[:-1], self.own.n_features, self.own.n_features))
            C0[..., rows, columns] = C0[..., columns, rows] = draws.scale
        variables["C0"] = ((*dims, *of_C0), C0 if of_C0 else C0[..., 0])
        found = rescaled(xr.Dataset(variables, coords=coords), self.units)
        return found.assign_coords(dict.fromkeys(of_C0, self.data.features))

    def mixtures(self, sampled: Telescoped) -> Draws:
        """The kept components as draws. Components beyond K have weight zero, and repeat the first one."""
        found = components_of(self.own, sampled.kept)
        w, mu, cov = (found[name].reshape(-1, *found[name].shape[2:]) for name in ("w", "mu", "cov"))
        beyond = np.isnan(w)[..., None]
        mu, cov = np.where(beyond, mu[:, :1], mu), np.where(beyond[..., None], cov[:, :1], cov)
        mu, factors = self.units.shift + self.units.scale * mu, self.units.scale[:, None] * roots(cov)
        draws = Draws(np.nan_to_num(w), mu, factors, 1, len(w))
        if not self.own.n_nu:
            return draws
        nu = found[NU].reshape(w.shape)
        return replace(draws, nu=np.where(beyond[..., 0], nu[:, :1], nu))

    def components(self, sampled: Telescoped) -> xr.Dataset:
        """The kept allocations and components."""
        kept, found, dims = sampled.kept, components_of(self.own, sampled.kept), ("chain", "kept")
        coords: dict[str, Any] = {
            "chain": np.arange(len(kept.z)),
            "kept": np.arange(0, kept.done, kept.every),
            CLUSTER: np.arange(found["w"].shape[2]),
            OBS: self.data.positions,
        }
        values = {"z": kept.z, "w": found["w"], "mu": as_shown(found["mu"]), "cov": found["cov"]}
        values["sigma"] = np.sqrt(found["cov"][..., 0, 0])  # used for one feature only
        names: dict[str, tuple[str, ...]] = {"z": (OBS,), **parameter_dims(self.own.n_features)}
        if self.own.noise:
            values[NOISE], names[NOISE] = found[NOISE], ()
        if self.own.n_nu:
            values[NU], names[NU] = found[NU], (CLUSTER,)
        variables = {name: ((*dims, *names[name]), values[name]) for name in names}
        features = {FEATURE: self.data.features, FEATURE_BIS: self.data.features} if self.own.n_features > 1 else {}
        return rescaled(xr.Dataset(variables, coords=coords), self.units).assign_coords(features)


def _mcse(values: FloatArray) -> float:
    """Monte Carlo standard error of the mean of draws (chain, draw); 0 if they never vary."""
    if np.ptp(values) == 0:
        return 0.0
    if values.shape[1] < 4:
        return np.nan
    largest = values.max()  # squares of very small probabilities would underflow
    return float(largest * array_stats.mcse(values / largest, chain_axis=0, draw_axis=1))
