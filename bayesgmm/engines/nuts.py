"""NUTS: nutpie on a target's density, ``pm.sample`` on a model that the user wrote."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from rich.console import Console
from rich.progress import Progress

from bayesgmm.arguments import FloatArray
from bayesgmm.engines.interface import NOTHING_TO_KEEP, Sampled, Start, Target
from bayesgmm.engines.nutpie_interface import read_trace
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.starts import NO_START, Nearness, Optimum, about_mode, after_sweeps, deal, nearness
from bayesgmm.engines.sweeps import compile_sweeps
from bayesgmm.posterior import LogPosterior
from bayesgmm.words import Argument, Words

_log = logging.getLogger(__name__)
_NO_START_OF_MODEL = (
    "pm.sample cannot begin: the log density of model, or its gradient, is not finite at EM's estimate; choose priors that "
    "allow for this estimate, or use a smaller k"
)
_NUTPIE_ADAPTATION = {"low_rank": "low_rank", "diag": "diag", "whitened": "diag"}
_ALL_BUT_GAUSSIAN = 0.1  # distance from Laplace's approximation up to which longer steps cause no divergences
_FEW_DIMENSIONS = 20  # dimensions up to which low-rank adaptation learns the correlations by itself
_FEWEST_FOR_BFMI = 4  # steps
_OPERATIONS = 5_000  # observations x components x features for all steps from one draw to the next
_MOST_STEPS = 8
_PROGRESS = 10  # ms between two reports of a chain
_GROWTH = 1.5  # an adaptive run is judged at lengths that grow by this factor
_STATS = {"logp": "lp", "depth": "tree_depth", "maxdepth_reached": "reached_max_treedepth"}
_STATS |= {"mean_tree_accept": "acceptance_rate"}
_STATS |= {name: name for name in ("energy", "energy_error", "diverging", "n_steps", "step_size", *_STATS.values())}
# above: the samplers' statistics under ArviZ's names; below: those that are combined over all steps of a draw
_ON_THE_WAY = {"diverging": "max", "reached_max_treedepth": "max", "n_steps": "sum"}

Adaptation = Literal["low_rank", "diag", "whitened"]


class Stop(NamedTuple):
    """A point at which a run may end: after ``steps`` steps of each chain, with every ``thin``-th as a draw."""

    steps: int
    thin: int


@dataclass(frozen=True)
class NutsSettings:
    """Settings of a NUTS run.

    With ``enough`` the run continues until this function accepts the posterior and its log density. The number of draws then
    grows from ``draws`` to ``max_draws``; or, if ``most_thin`` is above 1, the thinning grows from 1 to ``most_thin``.
    """

    draws: int
    tune: int
    chains: int
    seed: int
    target_accept: float
    progressbar: bool
    adaptation: Adaptation = "low_rank"
    enough: Callable[[xr.Dataset, FloatArray], bool] | None = None
    max_draws: int = 0
    thin: int = 1
    most_thin: int = 1

    @property
    def stops(self) -> list[Stop]:
        """The stops of the run, fixed beforehand, so that a seed reproduces it."""
        if self.enough is None:
            return [Stop(self.draws * self.thin, self.thin)]
        if self.most_thin > 1:
            return [Stop(self.draws * thin, thin) for thin in _growing(1, 2.0, self.most_thin)]
        return [Stop(draws * self.thin, self.thin) for draws in _growing(self.draws, _GROWTH, self.max_draws)]

    def stop_at(self, steps: int) -> Stop:
        """The stop of a run that was interrupted, or that used all its steps."""
        return Stop(steps, min(max(1, steps // self.draws), self.most_thin) if self.most_thin > 1 else self.thin)


def _growing(first: int, factor: float, last: int) -> list[int]:
    result = [first]
    while result[-1] < last:
        result.append(min(int(np.ceil(factor * result[-1])), last))
    return result


def sample_nuts(target: Target, starts: Sequence[Start], settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample a target, one chain from each start, in parallel."""
    with phases("compile", target.compiling), DeferredInterrupt(raise_at_end=True):
        models = [target.for_nuts(start) for start in starts]
    steps = " to ".join(str(stop.steps) for stop in (settings.stops[0], *settings.stops[1:][-1:]))
    text = f"sampling {settings.chains} chains x ({settings.tune} + {steps}) draws"
    with phases("sampling", text), _named_failures(NO_START):
        run = _Run(target, models, settings)
        parts, stop = run.until_done()
    sampled = _as_sampled([_with_variables(target, part) for part in parts], settings, stop)
    return replace(sampled, interrupted=sampled.interrupted or run.interrupted)


class _Run:
    """Chains, one for each start, that sample in the background while the calling thread watches them."""

    def __init__(self, target: Target, models: Sequence[Any], settings: NutsSettings) -> None:
        import nutpie

        self.target, self.settings = target, settings
        self.progress: list[list[Any]] = [[] for _ in models]
        self.samplers = [
            nutpie.sample(
                model,
                draws=settings.stops[-1].steps,
                tune=settings.tune,
                chains=1,  # one in each sampler: all samplers run at once, so an early end leaves similar lengths
                cores=1,
                seed=settings.seed + i,
                adaptation=_NUTPIE_ADAPTATION[settings.adaptation],
                target_accept=settings.target_accept,
                progress_bar=False,
                progress_callback=partial(self.progress.__setitem__, i),
                progress_rate=_PROGRESS,
                return_raw_trace=True,
                blocking=False,
            )
            for i, model in enumerate(models)
        ]
        self.stops, self.interrupted = settings.stops if settings.enough else [], False

    def until_done(self) -> tuple[list[xr.DataTree], Stop | None]:
        """What the chains have drawn, and the stop at which that was enough, if there is one."""
        try:
            # keep all draws, and silence ArviZ's warning about more chains than draws, which a short run may have
            with DeferredInterrupt(raise_at_end=False) as interrupt, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Found chain dimension to be longer", category=UserWarning)
                found = self._watch(interrupt)
                self.interrupted = interrupt.requested
                if found is not None:
                    for sampler in self.samplers:
                        sampler.cancel()
                    return found
                traces = [each.wait() if _is_finished(each) else each.abort() for each in self.samplers]
                parts = [read_trace(each, _STATS) for each in traces]
                return parts, self._stop_enough(parts)
        except BaseException:
            for sampler in self.samplers:  # no thread may outlive the compiled code that it runs
                with suppress(BaseException):  # a sampler that has finished or failed raises
                    sampler.cancel()
            raise

    def _watch(self, interrupt: DeferredInterrupt) -> tuple[list[xr.DataTree], Stop] | None:
        """Wait until chains end, an interrupt comes, or draws are enough; return draws and stop in the last case only."""
        total = self.settings.chains * (self.settings.tune + self.settings.stops[-1].steps)
        with Progress(console=Console(stderr=True), disable=not self.settings.progressbar) as bar:
            task = bar.add_task("NUTS", total=total)
            while not interrupt.requested:
                if all(map(_is_finished, self.samplers)):
                    bar.update(task, completed=total)
                    break
                time.sleep(0.002)
                chains = [chain for group in self.progress for chain in group]
                done, diverged = [each.finished_draws for each in chains], sum(each.divergences for each in chains)
                bar.update(task, completed=sum(done), description=f"NUTS, {diverged} divergences")
                shortest = min(done) if len(done) == self.settings.chains else 0
                if self.stops and shortest >= self.settings.tune + self.stops[0].steps:
                    for sampler in self.samplers:  # the chains should not compete with the judgement for the cores
                        sampler.pause()
                    parts = [read_trace(sampler.inspect(), _STATS) for sampler in self.samplers]
                    stop = self._stop_enough(parts)
                    if stop is not None:
                        return parts, stop
                    for sampler in self.samplers:
                        sampler.resume()
        return None

    def _stop_enough(self, parts: Sequence[xr.DataTree]) -> Stop | None:
        """The first remaining stop at which the draws are enough. Stops at which they are not are removed."""
        if not self.stops:
            return None
        shortest = min(part["sample_stats"].sizes["draw"] for part in parts)
        if shortest < self.stops[0].steps:
            return None
        posterior, stats = _join([_with_variables(self.target, part.isel(draw=slice(0, shortest))) for part in parts])
        while self.stops and self.stops[0].steps <= shortest:
            if _is_enough(self.settings, *_thinned(posterior, stats, self.stops[0])):
                return self.stops[0]
            del self.stops[0]
        return None


@contextmanager
def _named_failures(no_start: str) -> Iterator[None]:
    """Turn a sampler's failure into a ValueError. A panic of its thread is only a ``BaseException``."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, RuntimeError) and type(error).__name__ != "PanicException":
            raise
        first, *_ = str(error).splitlines() or [type(error).__name__]
        _log.debug("the sampler failed: %s", error)
        if "initial" in str(error).lower():
            raise ValueError(no_start) from None
        remedy = Words("try another ", Argument("random_seed"), " or ", Argument("engine"))
        raise ValueError(Words(f"the sampler failed: {first}; ", remedy)) from None


def _is_finished(sampler: Any) -> bool:
    try:
        return bool(sampler.is_finished)
    except TimeoutError:  # nutpie 0.16 raises this until it has finished
        return False


def _is_enough(settings: NutsSettings, posterior: xr.Dataset, stats: xr.Dataset) -> bool:
    assert settings.enough is not None
    return settings.enough(posterior, stats["lp"].values)


def sample_by_pymc(
    model: Any,
    start: Mapping[str, FloatArray],
    settings: NutsSettings,
    phases: Phases,
    nuts_sampler: str | None = None,
) -> Sampled:
    """Sample a PyMC model by ``pm.sample``, which uses nutpie if it can, unless ``nuts_sampler`` is given.

    ``pm.sample`` cannot continue a run, so an adaptive run starts again for each length.
    """
    import pymc as pm

    for stop in settings.stops:
        chains = f"{settings.chains} chains x ({settings.tune} + {stop.steps}) draws"
        with phases("sampling", f"sampling {chains} by pm.sample"), _named_failures(_NO_START_OF_MODEL):
            tree = pm.sample(
                model=model,
                draws=stop.steps,
                tune=settings.tune,
                chains=settings.chains,
                random_seed=settings.seed,
                initvals=dict(start),
                target_accept=settings.target_accept,
                progressbar=settings.progressbar,
                quiet=not settings.progressbar,
                compute_convergence_checks=False,
                **({} if nuts_sampler is None else {"nuts_sampler": nuts_sampler}),
            )
        sampled = _as_sampled([tree], replace(settings, draws=stop.steps // stop.thin, enough=None))
        if settings.enough is None or sampled.interrupted:
            return sampled
        if _is_enough(settings, sampled.posterior, sampled.sample_stats):
            return replace(sampled, stopped_by="target_ess")
    return replace(sampled, stopped_by="max_draws")


@dataclass(frozen=True)
class Geometry:
    """NUTS's adaptation, tuning steps, target acceptance rate, largest thinning, and the start of each chain."""

    adaptation: Adaptation
    tune: int
    target_accept: float
    most_thin: int
    starts: list[Start]


def choose_geometry(
    own: LogPosterior, optima: Sequence[Optimum], chains: int, seed: int, phases: Phases, *, can_whiten: bool = True,
    known: Nearness | None = None,
) -> Geometry:  # fmt: skip
    """Choose NUTS's adaptation, tuning, acceptance rate, thinning and starts by the posterior's distance from a Gaussian.

    The rules were measured on many problems (benchmarks/settings.md). Near a Gaussian it pays to know the correlations: for
    few parameters by low-rank adaptation, for many by the Laplace approximation at the chain's start. Far from a Gaussian,
    or with several solutions, some such chains get stuck, so that a diagonal scale is adapted. Unless the posterior is very
    near a Gaussian, chains are thinned if steps cost next to nothing. With very many parameters the distance is not measured
    and counts as far.
    """
    begun = deal(optima, chains)
    rngs = [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(chains)]
    with phases("geometry", None):
        known = known or nearness(own, optima)
    distance, main = known
    most_thin = most_steps_between_draws(own.x.size * own.k)
    if main is None or not known.near:
        with phases("compile", None):
            compile_sweeps(own, optima[0].point)
        with phases("geometry", None):
            points = [after_sweeps(own, optima[i].point, rng) for i, rng in zip(begun, rngs, strict=True)]
        return Geometry("diag", 400, 0.9, most_thin, [Start(point) for point in points])
    approximations = [optima[i].approximation or main for i in begun]
    points = [about_mode(own, each, 1.0, rng) for each, rng in zip(approximations, rngs, strict=True)]
    target_accept, most_thin = (0.8, 1) if distance < _ALL_BUT_GAUSSIAN else (0.95, most_thin)
    if own.n_dim <= _FEW_DIMENSIONS or not can_whiten:
        return Geometry("low_rank", 200, target_accept, most_thin, [Start(point) for point in points])
    starts = [Start(point, each) for point, each in zip(points, approximations, strict=True)]
    return Geometry("whitened", 200, target_accept, most_thin, starts)


def most_steps_between_draws(operations: int) -> int:
    """Largest thinning for steps of this many operations, unless the posterior is very near a Gaussian."""
    return int(np.clip(_OPERATIONS // operations, 1, _MOST_STEPS))


def _with_variables(target: Target, part: xr.DataTree) -> xr.DataTree:
    variables = target.sampled(part["posterior"].to_dataset())
    return xr.DataTree.from_dict({"posterior": variables, "sample_stats": part["sample_stats"].to_dataset()})


def _thinned(posterior: xr.Dataset, stats: xr.Dataset, stop: Stop) -> tuple[xr.Dataset, xr.Dataset]:
    """Every ``thin``-th step before the stop, with statistics combined over the steps that lead to it."""
    last = {"draw": slice(stop.thin - 1, stop.steps, stop.thin)}
    kept = stats.isel(last)
    if stop.thin > 1:
        steps = stats.isel(draw=slice(0, stop.steps))
        for name in set(_ON_THE_WAY) & set(stats.data_vars):
            on_the_way = getattr(steps[name].coarsen(draw=stop.thin, boundary="trim"), _ON_THE_WAY[name])()
            kept[name] = kept[name].copy(data=on_the_way.values)
    return posterior.isel(last), kept


def _join(parts: Sequence[xr.DataTree]) -> tuple[xr.Dataset, xr.Dataset]:
    """Posterior and statistics of all chains, statistics under ArviZ's names, gaps filled with NaN."""
    groups: dict[str, list[xr.Dataset]] = {"posterior": [], "sample_stats": []}
    for part in parts:
        groups["posterior"].append(part["posterior"].to_dataset())
        stats = part["sample_stats"].to_dataset()
        known = {name: _STATS[str(name)] for name in stats.data_vars if name in _STATS}
        groups["sample_stats"].append(stats[list(known)].rename(known))
    posterior, stats = (xr.concat(each, "chain", join="outer", combine_attrs="drop") for each in groups.values())
    return posterior, stats


def _as_sampled(parts: Sequence[xr.DataTree], settings: NutsSettings, enough: Stop | None = None) -> Sampled:
    """Join chains; cut them at the stop that was enough, or after an interrupt to the largest rectangle."""
    posterior, stats = _join(parts if enough is None else [part.isel(draw=slice(0, enough.steps)) for part in parts])
    first = parts[0]["sample_stats"].to_dataset()
    dtypes = {_STATS[str(name)]: values.dtype for name, values in first.data_vars.items() if name in _STATS}
    chains, length = _largest_rectangle(np.isfinite(stats["lp"].values).sum(axis=1))
    if length == 0:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    interrupted = enough is None and (len(chains) < settings.chains or length < settings.stops[-1].steps)
    stop = enough or settings.stop_at(length)
    whole = stats.isel(chain=chains)
    posterior, stats = _thinned(posterior.isel(chain=chains), whole, stop)
    if posterior.sizes["draw"] == 0:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    renumbered = {"chain": np.arange(len(chains)), "draw": np.arange(posterior.sizes["draw"])}
    posterior, stats = (part.assign_coords(renumbered) for part in (posterior, stats))
    stats = stats.assign({name: stats[name].astype(dtype) for name, dtype in dtypes.items()})  # types that NaN has changed
    if stop.thin > 1 and stop.steps >= _FEWEST_FOR_BFMI:  # from all steps, before thinning
        stats["bfmi"] = ("chain", array_stats.bfmi(whole["energy"].isel(draw=slice(0, stop.steps)).values))
    stopped_by = None if settings.enough is None or interrupted else "max_draws" if enough is None else "target_ess"
    return Sampled(posterior, stats, interrupted, stopped_by=stopped_by, thin=stop.thin)


def _largest_rectangle(done: np.ndarray) -> tuple[list[int], int]:
    """The chains and the common length that keep the most draws."""
    order = np.argsort(-done, kind="stable")
    kept = done[order] * np.arange(1, len(done) + 1)
    best = int(np.argmax(kept))
    return sorted(order[: best + 1].tolist()), int(done[order[best]])
