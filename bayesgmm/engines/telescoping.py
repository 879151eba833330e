"""Telescoping sampling: chains of sweeps through the full conditionals, the number of components among what is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.arguments import FloatArray, require_memory
from bayesgmm.data.reading import count_distinct
from bayesgmm.em import starts as em_starts
from bayesgmm.engines.gibbs import COLLAPSED, STRETCH, GibbsSettings, run_side_by_side
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.sweeps import Components, Draws, Kept, Telescoping, telescoping
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.kernels.number import NumberTables
from bayesgmm.model import wishart
from bayesgmm.posterior import LogPosterior

TYPICAL = 8  # components, for guesses of the costs
_FEWEST_AT_START, _MOST_AT_START = 3, 20
_MOST_SWEEPS = 50  # between two draws
_OPERATIONS = 400_000  # observations x components x features, which sweeps between two draws may take together
_MOST_KEPT = 1_000  # draws, of all chains, whose allocations and components are kept
_NUMBERS = 20_000_000  # in all that is kept of them


@dataclass(frozen=True)
class Telescoped:
    """Draws of all chains, each with (chain, draw) or (chain, kept) in front; see :class:`bayesgmm.engines.sweeps.Draws`.

    Attributes
    ----------
    draws : Draws
    kept : Kept
    interrupted : bool
    """

    draws: Draws
    kept: Kept
    interrupted: bool


def sample_telescoping(
    own: LogPosterior, tables: NumberTables, points: FloatArray, settings: GibbsSettings, phases: Phases
) -> Telescoped:
    """Sample by telescoping sweeps, chains side by side, the log density followed at points in the posterior's units."""
    require_room(own, len(tables.concentrations), len(points), settings)
    run = telescoping(own, tables)
    points = np.ascontiguousarray(points)
    rngs = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(settings.chains)]
    most = len(tables.concentrations)
    sizes = sizes_at_start(own, most, settings.chains)
    chains = [_Chain(run, start(own, k, most, rng), rng, own, points, settings) for k, rng in zip(sizes, rngs, strict=True)]
    text = f"sampling {settings.chains} chains x {settings.draws} draws, {settings.thin} sweeps apart, by telescoping"
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        compile_telescoping(own, tables, points)
    with phases("sampling", text), DeferredInterrupt(raise_at_end=False) as interrupt:
        run_side_by_side(chains, interrupt, settings, "telescoping")
    length = min(chain.done for chain in chains)
    if length == 0:
        raise KeyboardInterrupt("before the first draw: there is nothing to keep")
    draws = Draws._make(
        np.stack([each[:length] for each in of_chains]) for of_chains in zip(*(c.draws for c in chains), strict=True)
    )
    every = chains[0].kept.every
    rows = slice(0, -(-length // every))
    kept = Kept(
        every,
        length,
        np.stack([chain.kept.z[rows] for chain in chains]),
        *(np.stack([getattr(chain.kept, name)[rows] for chain in chains]) for name in ("w", "mu", "spread")),
    )
    if not np.isfinite(draws.log_density).all():
        raise ValueError(COLLAPSED)
    return Telescoped(draws, kept, interrupted=interrupt.requested)


def components_of(own: LogPosterior, kept: Kept) -> dict[str, FloatArray]:
    """W (..., K), mu (..., K, D) and cov (..., K, D, D) of what is kept, up to the largest K in it, NaN beyond each K."""
    k = int(np.isfinite(kept.w).sum(axis=-1).max())
    if own.spread.structure.correlated:
        roots = inverse_factors(kept.spread[..., :k, :, :])
        cov = roots @ roots.swapaxes(-1, -2)
    else:
        cov = np.exp(kept.spread[..., :k, :, None]) * np.eye(own.n_features)
    cov = np.where(np.isfinite(kept.w[..., :k, None, None]), cov, np.nan)
    return {"w": kept.w[..., :k], "mu": kept.mu[..., :k, :], "cov": cov}


def compile_telescoping(own: LogPosterior, tables: NumberTables, points: FloatArray) -> None:
    """Have the sweeps compiled, which takes long at first use only."""
    most, rng = len(tables.concentrations), np.random.default_rng(0)
    draws, kept = room_for(own, most, len(points), 1, 1)
    telescoping(own, tables)(rng, start(own, 1, most, rng), points, 1, draws, kept)


def sizes_at_start(own: LogPosterior, most: int, chains: int) -> list[int]:
    """Components with which the chains begin, far apart but rather many: too many go sooner than too few grow."""
    top = min(most, _MOST_AT_START, count_distinct(own.x, _MOST_AT_START))
    return [round(k) for k in np.geomspace(min(_FEWEST_AT_START, top), top, 2 * chains + 1)[1::2].tolist()]


def sweeps_between_draws(own: LogPosterior) -> int:
    """Fifty where data are few; one where a sweep takes as long as fifty on a thousand observations."""
    return int(np.clip(_OPERATIONS // (own.x.size * TYPICAL), 1, _MOST_SWEEPS))


def start(own: LogPosterior, k: int, most: int, rng: np.random.Generator) -> Components:
    """K components about centres drawn by k-means++, in arrays with room for the largest K."""
    mixture = em_starts.choose(own.x, own.observations.counts, k, 1, rng)[0][1]
    of_k = replace(own, k=k)
    values = of_k.constrained(of_k.at(mixture))
    n_features, blocks = own.n_features, own.spread.structure.n_blocks(most)
    given: FloatArray
    if own.spread.structure.correlated:
        given = wishart.unpack(values["precision_factor"], n_features).reshape(-1, n_features, n_features)
    else:
        given = np.log(values["sigma2"]).reshape(-1, own.spread.size)
    scale = np.array(values["C0"] if own.hierarchical else own.hyper.rate).reshape(own.hyper.rate.shape)
    spread = np.zeros((blocks, *given.shape[1:]))
    spread[: len(given)] = given
    log_w, mu = np.zeros(most), np.zeros((most, n_features))
    log_w[:k], mu[:k] = np.log(values["w"]), values["mu"].reshape(k, n_features)
    return Components(np.array([k]), log_w, mu, spread, scale)


def room_for(own: LogPosterior, most: int, n_points: int, n_draws: int, n_kept: int) -> tuple[Draws, Kept]:
    """Arrays for the draws of one chain; probabilities are zero, and what is not of a component is NaN."""
    blocks, size, n_features = own.spread.structure.n_blocks(most), own.spread.size, own.n_features
    spread = (n_features, n_features) if own.spread.structure.correlated else (size,)
    draws = Draws(
        np.zeros(n_draws, dtype=np.int64),
        np.zeros(n_draws, dtype=np.int64),
        np.empty((n_draws, size)),
        np.empty((n_draws, n_points)),
        np.zeros((n_draws, most)),
        np.zeros((n_draws, most)),
    )
    every = -(-n_draws // n_kept)
    n_kept = -(-n_draws // every)
    kept = Kept(
        every,
        0,
        np.zeros((n_kept, len(own.x)), dtype=np.int16),
        np.full((n_kept, most), np.nan),
        np.full((n_kept, most, n_features), np.nan),
        np.full((n_kept, blocks, *spread), np.nan),
    )
    return draws, kept


def kept_of_chain(own: LogPosterior, most: int, chains: int) -> int:
    """Of how many draws of a chain allocations and components are kept."""
    of_one = max(len(own.x), most * (1 + own.n_features + own.n_features**2))
    return max(1, min(_MOST_KEPT, _NUMBERS // of_one) // chains)


def require_room(own: LogPosterior, most: int, n_points: int, settings: GibbsSettings) -> None:
    """Refuse beforehand what memory would not hold."""
    of_draw = 2 * most + n_points + own.spread.size + 2
    require_memory(
        2 * 8 * settings.chains * settings.draws * of_draw,
        f"{settings.chains} x {settings.draws} draws of the probabilities of {most} numbers of components",
        "ask for fewer draws and a larger thin: the sweeps between two draws count as well",
    )


class _Chain:
    def __init__(
        self,
        run: Telescoping,
        components: Components,
        rng: np.random.Generator,
        own: LogPosterior,
        points: FloatArray,
        settings: GibbsSettings,
    ) -> None:
        self.run, self.components, self.rng, self.own, self.points, self.settings = (
            run,
            components,
            rng,
            own,
            points,
            settings,
        )
        most = len(components.log_w)
        n_kept = kept_of_chain(own, most, settings.chains)
        self.draws, self.kept = room_for(own, most, len(points), settings.draws, n_kept)
        self.done = 0

    def go(self, interrupt: DeferredInterrupt) -> None:
        """Tune and draw, in stretches, until done or interrupted."""
        stretch = max(1, STRETCH // (self.own.x.size * TYPICAL))  # sweeps
        for begin in range(0, self.settings.tune, stretch):
            if interrupt.requested:
                return
            discarded = room_for(self.own, len(self.components.log_w), 0, 1, 1)
            many = min(stretch, self.settings.tune - begin)
            self.run(self.rng, self.components, self.points[:0], many, *discarded)
        step = max(1, stretch // self.settings.thin)
        while self.done < self.settings.draws and not interrupt.requested:
            part = Draws._make(each[self.done : self.done + step] for each in self.draws)
            kept = self.kept._replace(done=self.done)
            self.run(self.rng, self.components, self.points, self.settings.thin, part, kept)
            self.done += len(part.n_components)
