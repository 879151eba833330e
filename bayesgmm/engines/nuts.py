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
_ALL_BUT_GAUSSIAN = 0.1  # distance from Laplace's approximation up to which longer steps cost no divergences
_FEW_DIMENSIONS = 20  # whose correlations low-rank adaptation learns by itself
_FEWEST_FOR_BFMI = 4  # steps
_OPERATIONS = 5_000  # observations x components x features, which the steps from draw to draw may take
_MOST_STEPS = 8
_PROGRESS = 10  # ms from one report of a chain to the next
_GROWTH = 1.5  # an adaptive run is judged at lengths that grow by this factor
_STATS = {"logp": "lp", "depth": "tree_depth", "maxdepth_reached": "reached_max_treedepth"}
_STATS |= {"mean_tree_accept": "acceptance_rate"}
_STATS |= {name: name for name in ("energy", "energy_error", "diverging", "n_steps", "step_size", *_STATS.values())}
# what the samplers report, under the names that ArviZ reads; what of it is told of all steps that make a draw
_ON_THE_WAY = {"diverging": "max", "reached_max_treedepth": "max", "n_steps": "sum"}

Adaptation = Literal["low_rank", "diag", "whitened"]


class Stop(NamedTuple):
    """Where a run may end: after so many steps of each chain, of which every ``thin``-th is a draw."""

    steps: int
    thin: int


@dataclass(frozen=True)
class NutsSettings:
    """How to sample, how long, and from which seed.

    With ``enough`` the run goes on until the posterior and its log density satisfy it: from ``draws`` to ``max_draws``, or,
    where ``most_thin`` allows for it, from one to that many steps for each of the draws.
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
        """Where the run may end; fixed beforehand, so that a seed repeats the run."""
        if self.enough is None:
            return [Stop(self.draws * self.thin, self.thin)]
        if self.most_thin > 1:
            return [Stop(self.draws * thin, thin) for thin in _growing(1, 2.0, self.most_thin)]
        return [Stop(draws * self.thin, self.thin) for draws in _growing(self.draws, _GROWTH, self.max_draws)]

    def stop_at(self, steps: int) -> Stop:
        """Where a run ends that has been cut short, or has come to its end without satisfying anything."""
        return Stop(steps, min(max(1, steps // self.draws), self.most_thin) if self.most_thin > 1 else self.thin)


def _growing(first: int, factor: float, last: int) -> list[int]:
    result = [first]
    while result[-1] < last:
        result.append(min(int(np.ceil(factor * result[-1])), last))
    return result


def sample_nuts(target: Target, starts: Sequence[Start], settings: NutsSettings, phases: Phases) -> Sampled:
    """Sample a target, one chain from each start, side by side."""
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
    """One chain for each start, sampling in the background, watched from the calling thread."""

    def __init__(self, target: Target, models: Sequence[Any], settings: NutsSettings) -> None:
        import nutpie

        self.target, self.settings = target, settings
        self.progress: list[list[Any]] = [[] for _ in models]
        self.samplers = [
            nutpie.sample(
                model,
                draws=settings.stops[-1].steps,
                tune=settings.tune,
                chains=1,  # all at once: an adaptive or an interrupted run ends with chains of like lengths
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
        """What the chains made, and the stop at which it was enough, if that was asked and reached."""
        try:
            # what has been drawn is kept, without ArviZ's advice on more chains than draws, which a short run may have
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
                with suppress(BaseException):  # one that has handed over its draws is done, one that failed panics
                    sampler.cancel()
            raise

    def _watch(self, interrupt: DeferredInterrupt) -> tuple[list[xr.DataTree], Stop] | None:
        """Wait until the chains are done, an interrupt comes, or they are long enough: then what they made, and the stop."""
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
                    for sampler in self.samplers:  # what follows is in no hurry to share the cores
                        sampler.pause()
                    parts = [read_trace(sampler.inspect(), _STATS) for sampler in self.samplers]
                    stop = self._stop_enough(parts)
                    if stop is not None:
                        return parts, stop
                    for sampler in self.samplers:
                        sampler.resume()
        return None

    def _stop_enough(self, parts: Sequence[xr.DataTree]) -> Stop | None:
        """The first of the stops still to be judged that is enough; those that are not are struck off."""
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
    """A sampler's failure as a sentence; a panic of its thread is not even an ``Exception``."""
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
    except TimeoutError:  # nutpie 0.16's way of saying no
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
    """Sample a PyMC model by ``pm.sample``, which takes nutpie where it can unless told otherwise.

    It cannot go on where it stopped, so an adaptive run begins anew for each length.
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
    """What NUTS adapts, in how many steps, to which acceptance rate; how many steps a draw may take; each chain's start."""

    adaptation: Adaptation
    tune: int
    target_accept: float
    most_thin: int
    starts: list[Start]


def choose_geometry(
    own: LogPosterior, optima: Sequence[Optimum], chains: int, seed: int, phases: Phases, *, can_whiten: bool = True,
    known: Nearness | None = None,
) -> Geometry:  # fmt: skip
    """Short tuning in fitting coordinates where the posterior is near its Laplace approximation; a diagonal scale elsewhere.

    Measured on many problems (benchmarks/settings.md): near a Gaussian the correlations are worth knowing, of few parameters
    by low-rank adaptation, of many by the Laplace approximation where the chain begins; far from one, or between several
    solutions, some such chains get stuck. Where the posterior is not all but a Gaussian, and steps cost next to nothing,
    several of them may make a draw. Of very many parameters the distance is not measured.
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
    """How many steps a draw may take where each takes so many operations, far from a Gaussian."""
    return int(np.clip(_OPERATIONS // operations, 1, _MOST_STEPS))


def _with_variables(target: Target, part: xr.DataTree) -> xr.DataTree:
    variables = target.sampled(part["posterior"].to_dataset())
    return xr.DataTree.from_dict({"posterior": variables, "sample_stats": part["sample_stats"].to_dataset()})


def _thinned(posterior: xr.Dataset, stats: xr.Dataset, stop: Stop) -> tuple[xr.Dataset, xr.Dataset]:
    """Of the steps before the stop the last of each ``thin``, with what happened on the way to it."""
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
    """Join chains and drop what does not save; cut where it was enough, or to the largest rectangle if interrupted."""
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
    stats = stats.assign({name: stats[name].astype(dtype) for name, dtype in dtypes.items()})  # gaps had changed them
    if stop.thin > 1 and stop.steps >= _FEWEST_FOR_BFMI:  # of all steps
        stats["bfmi"] = ("chain", array_stats.bfmi(whole["energy"].isel(draw=slice(0, stop.steps)).values))
    stopped_by = None if settings.enough is None or interrupted else "max_draws" if enough is None else "target_ess"
    return Sampled(posterior, stats, interrupted, stopped_by=stopped_by, thin=stop.thin)


def _largest_rectangle(done: np.ndarray) -> tuple[list[int], int]:
    """The chains, and the length common to them, that keep the most draws."""
    order = np.argsort(-done, kind="stable")
    kept = done[order] * np.arange(1, len(done) + 1)
    best = int(np.argmax(kept))
    return sorted(order[: best + 1].tolist()), int(done[order[best]])
