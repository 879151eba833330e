"""NUTS: nutpie on the package's own model, ``pm.sample`` on a model the user wrote."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import xarray as xr

from bayesgmm.inference.phases import DeferredInterrupt, Phases
from bayesgmm.inference.starts import Start, unconstrained
from bayesgmm.validation import FloatArray

# half-width of the spread of the chains' starts about an optimum, on the unconstrained scale of standardised data
_JITTER = 0.1
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


def sample_nuts(model: pm.Model, starts: Sequence[Start], settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample the package's own model; the chains are dealt out to the starts in turn, the best start first."""
    with phases("compile", "compiling the posterior for NUTS (up to half a minute)"), DeferredInterrupt(raise_at_end=True):
        compiled = nutpie.compile_pymc_model(model, jitter_rvs=set())
        centres = [unconstrained(model, start).data for start in starts[: settings.chains]]
    parts: list[xr.DataTree] = []
    many = f" from {len(centres)} different optima" if len(centres) > 1 else ""
    with phases("sampling", f"sampling {settings.chains} chains x ({settings.tune} + {settings.draws}) draws{many}"):
        for i, centre in enumerate(centres):
            chains = len(range(i, settings.chains, len(centres)))
            try:
                tree = nutpie.sample(
                    replace(compiled, initial_point_func=partial(_jittered, centre)),
                    draws=settings.draws,
                    tune=settings.tune,
                    chains=chains,
                    seed=settings.seed + i,
                    adaptation="low_rank",
                    target_accept=settings.target_accept,
                    progress_bar=settings.progressbar,
                    save_warmup=False,
                )
            except KeyboardInterrupt:
                if parts:
                    break
                raise
            parts.append(tree)
            if np.isfinite(tree["sample_stats"]["logp"]).sum() < chains * settings.draws:
                break  # interrupted while sampling: nutpie hands over what it had
    return _as_sampled(parts, settings)


def _jittered(centre: FloatArray, seed: Any) -> FloatArray:
    return centre + np.random.default_rng(seed).uniform(-_JITTER, _JITTER, size=centre.shape)


def sample_custom(model: pm.Model, start: Start, settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample a user's model by ``pm.sample``, which takes nutpie where it can."""
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
    return _as_sampled([tree], settings)


def _as_sampled(parts: Sequence[xr.DataTree], settings: NutsSettings) -> Sampled:
    """Join chains, rename statistics, drop what does not save, and cut interrupted chains to a full rectangle."""
    groups = []
    for group in ("posterior", "sample_stats"):
        pieces = [part[group].to_dataset() for part in parts]
        if group == "sample_stats":
            pieces = [
                piece[[name for name in piece.data_vars if name in _STATS]].rename(_present(piece)) for piece in pieces
            ]
        groups.append(xr.concat(pieces, "chain", join="outer", combine_attrs="drop"))
    dtypes = {name: values.dtype for name, values in pieces[0].data_vars.items()}  # which the gaps of a join change
    posterior, stats = groups
    done = np.isfinite(stats["lp"].values).sum(axis=1)
    chains, length = _largest_rectangle(done)
    if length == 0:
        raise KeyboardInterrupt
    interrupted = len(chains) < settings.chains or length < settings.draws
    kept = {"chain": chains, "draw": slice(0, length)}
    renumbered = {"chain": np.arange(len(chains)), "draw": np.arange(length)}
    posterior, stats = (part.isel(kept).assign_coords(renumbered) for part in (posterior, stats))
    return Sampled(posterior, stats.assign({name: stats[name].astype(dtype) for name, dtype in dtypes.items()}), interrupted)


def _present(stats: xr.Dataset) -> dict[Hashable, str]:
    return {name: _STATS[str(name)] for name in stats.data_vars if name in _STATS and name != _STATS[str(name)]}


def _largest_rectangle(done: np.ndarray) -> tuple[list[int], int]:
    """The chains, and the length common to them, that keep the most draws."""
    order = np.argsort(-done, kind="stable")
    kept = done[order] * np.arange(1, len(done) + 1)
    best = int(np.argmax(kept))
    return sorted(order[: best + 1].tolist()), int(done[order[best]])
