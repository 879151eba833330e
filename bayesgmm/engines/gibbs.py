"""Blocked Gibbs sampling of the package's own posterior: chains of sweeps through the full conditionals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import Progress

from bayesgmm.analysis.impropriety import COLLAPSE_REMEDY
from bayesgmm.arguments import FloatArray
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import Sampled
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.sweeps import Sweeps, sweeps
from bayesgmm.posterior import LogPosterior
from bayesgmm.words import Words

COLLAPSED = Words(
    "the posterior has collapsed: a component has shrunk onto equal or collinear observations until its covariance was "
    "lost; ",
    COLLAPSE_REMEDY,
)
_MOST_SWEEPS = 50  # between two draws
_OPERATIONS = 150_000  # observations x components x features, which sweeps between two draws may take together
STRETCH = 5_000_000  # the same, between two looks at whether an interrupt has come


@dataclass(frozen=True)
class GibbsSettings:
    """How many draws, how many sweeps before the first and between two of them, and from which seed."""

    draws: int
    tune: int
    thin: int
    chains: int
    seed: int
    progressbar: bool


def sweeps_between_draws(own: LogPosterior) -> int:
    """Fifty on a hundred observations, where they cost next to nothing; a few on ten thousand, where each takes two ms."""
    return int(np.clip(_OPERATIONS // (own.x.size * own.k), 1, _MOST_SWEEPS))


def sample_gibbs(target: CompiledTarget, starts: list[FloatArray], settings: GibbsSettings, phases: Phases) -> Sampled:
    """Sample by Gibbs sweeps, one chain from each start, side by side."""
    own = target.log_posterior
    run = sweeps(own)
    seeds = np.random.SeedSequence(settings.seed).spawn(settings.chains)
    chains = [
        _Chain(run, start, np.random.default_rng(seed), own, settings) for start, seed in zip(starts, seeds, strict=True)
    ]
    text = f"sampling {settings.chains} chains x {settings.draws} draws, {settings.thin} sweeps apart, by Gibbs"
    with phases("sampling", text), DeferredInterrupt(raise_at_end=False) as interrupt:
        run_side_by_side(chains, interrupt, settings, "Gibbs")
        length = min(chain.done for chain in chains)
        if length == 0:
            raise KeyboardInterrupt("before the first draw: there is nothing to keep")
        points = np.stack([chain.draws[:length] for chain in chains])
        if not np.isfinite(points).all():
            raise ValueError(COLLAPSED)
        log_p = target.log_densities(points.reshape(-1, own.n_dim)).reshape(points.shape[:2])
        posterior = target.constrained(points)
    coords = {name: posterior[name] for name in ("chain", "draw")}
    stats = xr.Dataset({"lp": (("chain", "draw"), log_p)}, coords=coords)
    return Sampled(posterior, stats, interrupted=interrupt.requested)


@dataclass
class _Chain:
    run: Sweeps
    start: FloatArray
    rng: np.random.Generator
    own: LogPosterior
    settings: GibbsSettings
    draws: FloatArray = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.draws = np.empty((self.settings.draws, self.own.n_dim))

    def go(self, interrupt: DeferredInterrupt) -> None:
        """Tune and draw, in stretches, until done or interrupted."""
        stretch = max(1, STRETCH // (self.own.x.size * self.own.k))  # sweeps
        state, discarded = self.start.copy(), np.empty((1, self.own.n_dim))
        for begin in range(0, self.settings.tune, stretch):
            if interrupt.requested:
                return
            self.run(self.rng, state, min(stretch, self.settings.tune - begin), discarded)
        step = max(1, stretch // self.settings.thin)
        while self.done < self.settings.draws and not interrupt.requested:
            part = self.draws[self.done : self.done + step]
            self.run(self.rng, state, self.settings.thin, part)
            self.done += len(part)


class Chain(Protocol):
    """What can be run beside others."""

    done: int

    def go(self, interrupt: DeferredInterrupt) -> None:
        """Make all draws, or as many as there are when an interrupt comes."""
        ...


def run_side_by_side(chains: Sequence[Chain], interrupt: DeferredInterrupt, settings: GibbsSettings, name: str) -> None:
    """Run chains in a thread each, with a bar of the draws done."""
    with (
        Progress(console=Console(stderr=True), disable=not settings.progressbar) as bar,
        ThreadPoolExecutor(len(chains)) as pool,
    ):
        task = bar.add_task(name, total=settings.chains * settings.draws)
        running = [pool.submit(chain.go, interrupt) for chain in chains]
        while not all(each.done() for each in running):
            time.sleep(0.002)
            bar.update(task, completed=sum(chain.done for chain in chains))
        for each in running:
            each.result()
        bar.update(task, completed=sum(chain.done for chain in chains))
