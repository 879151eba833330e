"""Telescoping sampling: chains of Gibbs sweeps that also draw the number of components."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from bayesgmm.arguments import FloatArray, require_memory
from bayesgmm.data.reading import count_distinct
from bayesgmm.em import starts as em_starts
from bayesgmm.engines.gibbs import COLLAPSED, STRETCH, Chain, GibbsSettings, run_side_by_side
from bayesgmm.engines.phases import DeferredInterrupt, Phases
from bayesgmm.engines.sweeps import Components, Draws, Kept, telescoping
from bayesgmm.kernels.estep import inverse_factors
from bayesgmm.kernels.number import NumberTables
from bayesgmm.model import wishart
from bayesgmm.model.mixture import NOISE, NU
from bayesgmm.posterior import LogPosterior

TYPICAL = 8  # components assumed in estimates of costs
_FEWEST_AT_START, _MOST_AT_START = 3, 20
OPERATIONS = 400_000  # observations x components x features for all sweeps from one draw to the next
_MOST_KEPT = 1_000  # draws of all chains with allocations and components that are kept
_NUMBERS = 20_000_000  # numbers kept in these allocations and components, at most


class Telescoped(NamedTuple):
    """Draws of all chains, with leading axes (chain, draw) or (chain, kept): see :class:`bayesgmm.engines.sweeps.Draws`."""

    draws: Draws
    kept: Kept
    interrupted: bool


def sample_telescoping(
    own: LogPosterior, tables: NumberTables, points: FloatArray, settings: GibbsSettings, phases: Phases
) -> Telescoped:
    """Sample by telescoping sweeps, with chains in parallel; record log densities at points in the posterior's units."""
    most = len(tables.concentrations)
    require_memory(
        2 * 8 * settings.chains * settings.draws * (2 * most + len(points) + own.spread.size + 2),
        f"{settings.chains} x {settings.draws} draws of the probabilities of k = 1, ..., {most}",
        "ask for fewer draws and a larger thin: the probabilities are averaged over all sweeps between two draws",
    )
    run, points = telescoping(own, tables), np.ascontiguousarray(points)
    rngs = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(settings.chains)]
    of_one = max(len(own.x), most * (1 + own.n_features + own.n_features**2))
    n_kept = max(1, min(_MOST_KEPT, _NUMBERS // of_one) // settings.chains)
    made = [room_for(own, most, len(points), settings.draws, n_kept) for _ in rngs]

    def chain(k: int, rng: np.random.Generator, room: tuple[Draws, Kept]) -> Chain:
        components, (draws, kept) = start(own, k, most, rng), room

        def discard(many: int) -> None:
            run(rng, components, points[:0], many, *room_for(own, most, 0, 1, 1))

        def fill(part: slice) -> None:
            of_part = Draws._make(each[part] for each in draws)
            run(rng, components, points, settings.thin, of_part, kept._replace(done=part.start))

        return Chain(settings, max(1, STRETCH // (own.work * TYPICAL)), discard, fill)

    # dispersed starts, rather with too many components: these vanish sooner than missing ones appear
    top = min(most, _MOST_AT_START, count_distinct(own.x, _MOST_AT_START))
    sizes = np.geomspace(min(_FEWEST_AT_START, top), top, 2 * settings.chains + 1)[1::2]
    chains = list(map(chain, [round(k) for k in sizes.tolist()], rngs, made))
    text = f"sampling {settings.chains} chains x {settings.draws} draws, {settings.thin} sweeps apart, by telescoping"
    with phases("compile", None), DeferredInterrupt(raise_at_end=True):
        rng = np.random.default_rng(0)
        run(rng, start(own, 1, most, rng), points, 1, *room_for(own, most, len(points), 1, 1))
    with phases("sampling", text), DeferredInterrupt(raise_at_end=False) as interrupt:
        length = run_side_by_side(chains, interrupt, "telescoping")
    draws = Draws._make(
        np.stack([each[:length] for each in of_chains]) for of_chains in zip(*(draws for draws, _ in made), strict=True)
    )
    every = made[0][1].every
    rows = slice(0, -(-length // every))
    of_kept = ("z", "w", "noise", "nu", "mu", "spread")
    kept = Kept(every, length, *(np.stack([getattr(kept, name)[rows] for _, kept in made]) for name in of_kept))
    if not np.isfinite(draws.log_density).all():
        raise ValueError(COLLAPSED)
    return Telescoped(draws, kept, interrupted=interrupt.requested)


def components_of(own: LogPosterior, kept: Kept) -> dict[str, FloatArray]:
    """The kept w (..., K), mu (..., K, D) and cov (..., K, D, D), up to the largest K; NaN beyond the K of a draw."""
    k = int(np.isfinite(kept.w).sum(axis=-1).max())
    if own.spread.structure.correlated:
        roots = inverse_factors(kept.spread[..., :k, :, :])
        cov = roots @ roots.swapaxes(-1, -2)
    else:
        cov = np.exp(kept.spread[..., :k, :, None]) * np.eye(own.n_features)
    cov = np.where(np.isfinite(kept.w[..., :k, None, None]), cov, np.nan)
    found = {"w": kept.w[..., :k], "mu": kept.mu[..., :k, :], "cov": cov}
    found |= {NOISE: expit(kept.noise[..., 0])} if own.noise else {}
    return found | ({NU: kept.nu[..., :k]} if own.n_nu else {})


def start(own: LogPosterior, k: int, most: int, rng: np.random.Generator) -> Components:
    """A state with K components around centres drawn by k-means++, in arrays with room for the largest K."""
    given_of_rows: Any = [own.standardised.filled], own.observations.counts, k, 1, rng
    if own.noise:
        one_unit = own.spread.structure.one_unit
        mixture = em_starts.choose_among_noise(*given_of_rows, one_unit=one_unit)[0].mixture
    else:
        mixture = em_starts.choose(*given_of_rows)[0].mixture
    of_k = replace(own, k=k)
    values = of_k.constrained(of_k.at(mixture))
    n_features, blocks = own.n_features, own.spread.structure.n_blocks(most)
    given: FloatArray
    if own.spread.structure.correlated:
        given = wishart.unpack(values["precision_factor"], n_features).reshape(-1, n_features, n_features)
    else:
        given = np.log(values["sigma2"]).reshape(-1, own.spread.size)
    scale = np.array(values["C0"] if own.hierarchical else own.hyper.rate).reshape(own.hyper.rate.shape[1:])
    spread = np.zeros((blocks, *given.shape[1:]))
    spread[: len(given)] = given
    log_w, mu = np.zeros(most), np.zeros((most, n_features))
    log_w[:k], mu[:k] = np.log(values["w"]), values["mu"].reshape(k, n_features)
    noise = logit(np.atleast_1d(values[NOISE])) if own.noise else np.empty(0)
    nu = own.distribution.expected_nu(most)
    return Components(np.array([k]), log_w, noise, nu, mu, spread, scale)


def room_for(own: LogPosterior, most: int, n_points: int, n_draws: int, n_kept: int) -> tuple[Draws, Kept]:
    """Arrays for the draws of one chain. Probabilities begin at zero, components at NaN."""
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
        np.full((n_kept, int(own.noise)), np.nan),
        np.full((n_kept, own.distribution.n_nu(most)), np.nan),
        np.full((n_kept, most, n_features), np.nan),
        np.full((n_kept, blocks, *spread), np.nan),
    )
    return draws, kept
