"""Blocked Gibbs sampling of the package's posterior: chains of sweeps through the full conditionals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import Progress

from bayesgmm.analysis.impropriety import COLLAPSE_REMEDY
from bayesgmm.arguments import FloatArray
from bayesgmm.engines.compiled_target import CompiledTarget
from bayesgmm.engines.interface import NOTHING_TO_KEEP, Sampled
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.sweeps import compile_sweeps, sweeps
from bayesgmm.words import Words

COLLAPSED = Words(
    "the posterior has collapsed: a component has shrunk onto equal or collinear observations until its covariance "
    "became singular; ",
    COLLAPSE_REMEDY,
)
_MOST_SWEEPS = 50  # largest number of sweeps from one draw to the next
_OPERATIONS = 150_000  # observations x components x features for all sweeps from one draw to the next
_BURN_IN = 200, 1_000  # fewest and most burn-in sweeps
_OF_BURN_IN = 150_000_000  # observations x components x features for all burn-in sweeps
_SHOWN_EVERY = 0.1  # seconds between two states of the progress bar
STRETCH = 5_000_000  # observations x components x features between two checks for an interrupt


@dataclass(frozen=True)
class GibbsSettings:
    """Draws, burn-in sweeps (``tune``), thinning, chains and seed of a Gibbs run."""

    draws: int
    tune: int
    thin: int
    chains: int
    seed: int
    progressbar: bool


def sweeps_between_draws(operations: int, budget: int = _OPERATIONS) -> int:
    """Thinning for sweeps of this many operations.

    It is fifty on a hundred observations, because a sweep costs next to nothing, and a few on ten thousand, because a sweep
    takes two ms.
    """
    return int(np.clip(budget // operations, 1, _MOST_SWEEPS))


def burn_in_sweeps(operations: int) -> int:
    """Default number of burn-in sweeps of this many operations."""
    return int(np.clip(_OF_BURN_IN // operations, *_BURN_IN))


def sample_gibbs(target: CompiledTarget, starts: list[FloatArray], settings: GibbsSettings, phases: Phases) -> Sampled:
    """Sample by Gibbs sweeps, one chain from each start, in parallel."""
    own = target.log_posterior
    run, stretch = sweeps(own), max(1, STRETCH // (own.work * own.k))
    draws = np.empty((settings.chains, settings.draws, own.n_dim))
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        compile_sweeps(own, starts[0])

    def chain(start: FloatArray, seed: np.random.SeedSequence, made: FloatArray) -> Chain:
        rng, state, discarded = np.random.default_rng(seed), start.copy(), np.empty((1, own.n_dim))
        return Chain(
            settings,
            stretch,
            discard=lambda many: run(rng, state, many, discarded),
            fill=lambda part: run(rng, state, settings.thin, made[part]),
        )

    chains = list(map(chain, starts, np.random.SeedSequence(settings.seed).spawn(settings.chains), draws))
    text = f"sampling {settings.chains} chains x {settings.draws} draws, {settings.thin} sweeps apart, by Gibbs"
    with phases("sampling", text), DeferredInterrupt(raise_at_end=False) as interrupt:
        points = np.ascontiguousarray(draws[:, : run_side_by_side(chains, interrupt, "Gibbs")])
        if not np.isfinite(points).all():
            raise ValueError(COLLAPSED)
        log_p = target.log_densities(points.reshape(-1, own.n_dim)).reshape(points.shape[:2])
        posterior = target.constrained(points)
    stats = xr.Dataset({"lp": (("chain", "draw"), log_p)}, coords=posterior.coords)
    return Sampled(posterior, stats, interrupted=interrupt.requested)


@dataclass
class Chain:
    """A chain that checks for an interrupt after every ``stretch`` sweeps.

    ``discard`` makes sweeps without draws. ``fill`` makes the draws of a slice.
    """

    settings: GibbsSettings
    stretch: int
    discard: Callable[[int], None]
    fill: Callable[[slice], None]
    done: int = 0

    def go(self, interrupt: DeferredInterrupt) -> None:
        """Make the burn-in and all draws, or fewer draws if an interrupt comes."""
        for begin in range(0, self.settings.tune, self.stretch):
            if interrupt.requested:
                return
            self.discard(min(self.stretch, self.settings.tune - begin))
        step = max(1, self.stretch // self.settings.thin)
        while self.done < self.settings.draws and not interrupt.requested:
            end = min(self.done + step, self.settings.draws)
            self.fill(slice(self.done, end))
            self.done = end


def run_side_by_side(chains: Sequence[Chain], interrupt: DeferredInterrupt, name: str) -> int:
    """Run each chain in a thread, with a progress bar; return the number of draws that all chains have made."""
    settings = chains[0].settings
    with (
        Progress(console=Console(stderr=True), disable=not settings.progressbar) as bar,
        ThreadPoolExecutor(len(chains)) as pool,
    ):
        task = bar.add_task(name, total=settings.chains * settings.draws)
        running = [pool.submit(chain.go, interrupt) for chain in chains]
        while wait(running, timeout=_SHOWN_EVERY).not_done:
            bar.update(task, completed=sum(chain.done for chain in chains))
        for each in running:
            each.result()
        bar.update(task, completed=sum(chain.done for chain in chains))
    length = min(chain.done for chain in chains)
    if length == 0:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    return length
