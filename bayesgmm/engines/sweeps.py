"""Blocked Gibbs sweeps through the full conditionals of a posterior, compiled once for any data, K, D and prior.

A sweep draws the allocations z given the parameters, then the weights, the means given the covariances, the covariances
given the means, and C0 given the covariances. Only the allocations' sufficient statistics are kept for each component. Draws
are points of :mod:`bayesgmm.posterior`, with their components in random order. Sweeps alone rarely move a superfluous
component to another place, so split-merge moves help. If covariances are not tied, one feature has such moves before each
sweep (:mod:`bayesgmm.kernels.split_merge`). Several features have them after z in some sweeps
(:mod:`bayesgmm.kernels.regroup`), unless rows have weights, labels or intervals, or components have priors of their own. For
t distributions there are none.

A telescoping sweep (:func:`telescoping`) also draws the number of components. After z a cluster may be split, or two merged
(:mod:`bayesgmm.kernels.regroup`); rows with gaps or errors are first completed by random draws. Only the occupied components
are then kept and updated, and C0 is drawn given them. K follows given the partition (:mod:`bayesgmm.kernels.number`). Last
come K - K+ empty components, from the prior given C0, and the weights.

References
----------
Diebolt & Robert (1994), Estimation of finite mixture distributions through Bayesian sampling, Journal of the Royal
Statistical Society: Series B 56, 363-375. doi:10.1111/j.2517-6161.1994.tb01985.x

Frühwirth-Schnatter (2001), Markov chain Monte Carlo estimation of classical and dynamic switching and mixture models,
Journal of the American Statistical Association 96, 194-209. doi:10.1198/016214501750333063

Frühwirth-Schnatter, Malsiner-Walli & Grün (2021), Generalized mixtures of finite mixtures and telescoping sampling,
Bayesian Analysis 16, 1279-1307. doi:10.1214/21-BA1294
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.arguments import FloatArray
from bayesgmm.kernels import sweeps as kernels
from bayesgmm.kernels.groups import Groups
from bayesgmm.kernels.number import NumberTables, number_tables
from bayesgmm.kernels.prior import compiled_prior
from bayesgmm.kernels.rows import Exact
from bayesgmm.posterior import LogPosterior

_OPERATIONS = 1_000  # observations x components for each split-merge move before a sweep
_FEWEST_MOVES = 2
_MOST_MOVES = 20
_MOST_BY_NODES = 600

Sweeps = Callable[[np.random.Generator, FloatArray, int, FloatArray], None]


class Components(NamedTuple):
    """State of a telescoping chain, in arrays with room for the largest K. The first ``size[0]`` components count.

    ``log_w`` is defined up to a constant. ``noise`` (1,) is the logit of the share of noise, ``nu`` (K,) the degrees of
    freedom; both may be empty. ``spread`` holds log variances (K, V), or factors F (K, D, D) of the precisions F'F; only one
    if covariances are tied. ``scale`` is C0, (V,) or (D, D).
    """

    size: NDArray[np.int64]
    log_w: FloatArray
    noise: FloatArray
    nu: FloatArray
    mu: FloatArray
    spread: FloatArray
    scale: FloatArray


class Draws(NamedTuple):
    """S draws of a telescoping chain, without allocations and components.

    ``p_k`` (S, M) holds the Rao-Blackwellised p(K | partition), or an indicator of K if weights are not integers.
    ``p_occupied`` (S, M) holds the share of sweeps with K+ occupied components. Both are averages over the sweeps from one
    draw to the next: they must begin at zero, and each sweep adds its part. ``scale`` is C0, (S, V), or its lower triangle
    (S, T). ``log_density`` (S, P) is the log density of the mixture at given points.
    """

    n_components: NDArray[np.int64]
    occupied: NDArray[np.int64]
    scale: FloatArray
    log_density: FloatArray
    p_k: FloatArray
    p_occupied: FloatArray


class Kept(NamedTuple):
    """Allocations and components of every ``every``-th draw of a chain, after ``done`` draws.

    The arrays are the allocations (A, n), the weights, the logit of the share of noise (A, 1) or (A, 0), nu (A, K) or
    (A, 0), the means and the spreads. Entries beyond the K of a draw stay as they are. Noise is allocated to -1.
    """

    every: int
    done: int
    z: NDArray[np.int16]
    w: FloatArray
    noise: FloatArray
    nu: FloatArray
    mu: FloatArray
    spread: FloatArray


Telescoping = Callable[[np.random.Generator, Components, FloatArray, int, Draws, Kept], None]


def sweeps(own: LogPosterior) -> Sweeps:
    """A function (rng, state, thin, draws) that fills draws (S, n_dim) and updates the state (n_dim,) in place."""
    held = own.held
    prior = compiled_prior(own.hyper) if held is None else compiled_prior(own.hyper, held.log_w)
    can_move = held is None and own.n_features == 1 and own.spread.n_blocks > 1 and not own.n_nu
    moves = moves_before_a_sweep(own) if can_move else 0
    kind = own.classes, own.spread.compiled, own.hierarchical
    can_regroup = held is None and own.n_features > 1 and own.spread.n_blocks > 1 and not own.classes.any()
    tables = _tables_of(own) if can_regroup else None
    known = own.rows.for_moves() if moves else own.rows

    def run(rng: np.random.Generator, state: FloatArray, thin: int, draws: FloatArray) -> None:
        rows = own.distribution.rows(known, np.ones(own.n_nu))
        whole = own.expanded(state)
        filled = draws if held is None else np.empty((len(draws), len(whole)))
        kernels.sweep(rng, rows, rows.rest, *kind, prior, moves, tables, whole, thin, filled)
        if held is not None:
            state[:], draws[:] = own.reduced(whole), own.reduced(filled)

    return run


def _tables_of(own: LogPosterior) -> NumberTables | None:
    """Tables of split-merge moves with a fixed number of components; None if there are no such moves."""
    observed = own.observations
    can_regroup = isinstance(observed.kind, Exact | Groups) and not own.n_nu
    if not can_regroup or observed.known.weight is not None or observed.known.labels is not None:
        return None
    known_k = (np.arange(1, own.k + 1) == own.k).astype(float)
    return number_tables(known_k, np.full(own.k, own.hyper.alpha[0]), len(own.x), noise=own.noise)


def compile_sweeps(own: LogPosterior, point: FloatArray) -> None:
    """Compile or load the sweeps, by one sweep from a point."""
    sweeps(own)(np.random.default_rng(0), point.copy(), 1, np.empty((1, own.n_dim)))


def moves_before_a_sweep(own: LogPosterior) -> int:
    """Number of split-merge moves: 2 on a hundred observations, 20 on ten thousand, more with quadrature nodes.

    A move takes a pass over the values, a third of a sweep. With nodes it takes next to nothing, and the number grows by the
    ratio of values to nodes.
    """
    nodes = own.observations.nodes
    moves = int(np.clip(own.x.size * own.k // _OPERATIONS, _FEWEST_MOVES, _MOST_MOVES))
    return moves if nodes is None else min(moves * len(own.x) // len(nodes.x), _MOST_BY_NODES)


def telescoping(own: LogPosterior, tables: NumberTables) -> Telescoping:
    """A function (rng, components, points, thin, draws, kept) that fills draws and updates the components in place.

    The posterior's k and the prior's alpha have no effect: the tables hold the priors of K and of the weights.
    """
    prior, kind = compiled_prior(own.hyper), (own.spread.compiled, own.spread.structure.shared, own.hierarchical)

    def run(rng: np.random.Generator, components: Components, *others: Any) -> None:
        rows = own.distribution.rows(own.rows, components.nu)
        kernels.telescope(rng, rows, rows.rest, *kind, prior, tables, components, *others)

    return run
