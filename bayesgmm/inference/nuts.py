"""NUTS: nutpie on the package's own model, ``pm.sample`` on a model the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import xarray as xr

from bayesgmm.inference.phases import DeferredInterrupt, Phases
from bayesgmm.validation import FloatArray

_JITTER = 0.1  # half-width of the spread of the chains' starts, on the unconstrained scale of standardised data
_STATS = {
    "logp": "lp",
    "lp": "lp",
    "energy": "energy",
    "energy_error": "energy_error",
    "diverging": "diverging",
    "depth": "tree_depth",
    "tree_depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "reached_max_treedepth": "reached_max_treedepth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
    "acceptance_rate": "acceptance_rate",
}  # what the samplers report, under the names that ArviZ reads


@dataclass(frozen=True)
class NutsSettings:
    """How long to sample, and from which seed."""

    draws: int
    tune: int
    chains: int
    seed: int
    target_accept: float
    progressbar: bool


@dataclass(frozen=True)
class Sampled:
    """What an engine hands over: draws, what it says of itself, and whether it was cut short."""

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    interrupted: bool = False
    approximation: xr.Dataset | None = None


def sample_nuts(model: pm.Model, start: Mapping[str, FloatArray], settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample the package's own model from a start in its constrained variables."""
    with phases("compile", "compiling the posterior for NUTS (up to half a minute)"), DeferredInterrupt(raise_at_end=True):
        compiled = nutpie.compile_pymc_model(model, initial_points=dict(start), jitter_rvs=set())
        centre = np.asarray(compiled.initial_point_func(0))

        def jittered(seed: Any) -> FloatArray:
            return centre + np.random.default_rng(seed).uniform(-_JITTER, _JITTER, size=centre.shape)

        compiled = replace(compiled, initial_point_func=jittered)
    with phases("sampling", f"sampling {settings.chains} chains x ({settings.tune} + {settings.draws}) draws"):
        tree = nutpie.sample(
            compiled,
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            seed=settings.seed,
            adaptation="low_rank",
            target_accept=settings.target_accept,
            progress_bar=settings.progressbar,
            save_warmup=False,
        )
    return _as_sampled(tree, settings)


def sample_custom(model: pm.Model, start: Mapping[str, FloatArray], settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample a user's model by ``pm.sample``."""
    with phases("sampling", f"sampling {settings.chains} chains x ({settings.tune} + {settings.draws}) draws by pm.sample"):
        tree = pm.sample(
            model=model,
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            random_seed=settings.seed,
            initvals=dict(start),
            target_accept=settings.target_accept,
            progressbar=settings.progressbar,
            compute_convergence_checks=False,
        )
    return _as_sampled(tree, settings)


def _as_sampled(tree: xr.DataTree, settings: NutsSettings) -> Sampled:
    """Rename statistics, drop what does not save, and cut chains of an interrupted run to a full rectangle."""
    posterior = tree["posterior"].to_dataset()
    stats = tree["sample_stats"].to_dataset()
    stats = xr.Dataset(
        {_STATS[str(name)]: (values.dims, values.values) for name, values in stats.data_vars.items() if name in _STATS},
        coords={name: stats[name] for name in ("chain", "draw")},
    )
    done = np.isfinite(stats["lp"].values).sum(axis=1)
    chains, length = _largest_rectangle(done)
    if length == 0:
        raise KeyboardInterrupt
    interrupted = len(chains) < settings.chains or length < settings.draws
    kept = {"chain": chains, "draw": slice(0, length)}
    renumbered = {"chain": np.arange(len(chains)), "draw": np.arange(length)}
    posterior, stats = (part.isel(kept).assign_coords(renumbered) for part in (posterior, stats))
    return Sampled(_without_attrs(posterior), stats, interrupted)


def _largest_rectangle(done: np.ndarray) -> tuple[list[int], int]:
    """The chains, and the length common to them, that keep the most draws."""
    order = np.argsort(-done, kind="stable")
    kept = done[order] * np.arange(1, len(done) + 1)
    best = int(np.argmax(kept))
    return sorted(order[: best + 1].tolist()), int(done[order[best]])


def _without_attrs(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.copy()
    dataset.attrs = {}
    return dataset
