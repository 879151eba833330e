"""Blocked Gibbs sweeps through the full conditionals of a posterior, compiled once for any data, K, D and prior.

A sweep draws the allocations z given the parameters, then the weights, the means given the covariances, the covariances
given the means, and C0 given the covariances. Of the allocations only the sums over each component are kept. Draws are
points of :mod:`bayesgmm.density`, their components in a random order. For one feature with own variances there are moves
before each sweep that divide components anew (:mod:`bayesgmm.conditionals.splits`), which sweeps by themselves hardly do.

References
----------
Diebolt & Robert (1994), Estimation of finite mixture distributions through Bayesian sampling, Journal of the Royal
Statistical Society: Series B 56, 363-375. doi:10.1111/j.2517-6161.1994.tb01985.x

Frühwirth-Schnatter (2001), Markov chain Monte Carlo estimation of classical and dynamic switching and mixture models,
Journal of the American Statistical Association 96, 194-209. doi:10.1198/016214501750333063
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bayesgmm import wishart
from bayesgmm.conditionals import diagonal, matrices, splits
from bayesgmm.density import LogPosterior
from bayesgmm.validation import FloatArray

_OPERATIONS = 1_000  # observations x components for each move before a sweep
_FEWEST_MOVES = 2
_MOST_MOVES = 20

Sweeps = Callable[[np.random.Generator, FloatArray, int, FloatArray], None]


def moves_before_a_sweep(own: LogPosterior) -> int:
    """As many as take about as long as the sweep: two on a hundred observations, twenty on ten thousand."""
    return int(np.clip(own.x.size * own.k // _OPERATIONS, _FEWEST_MOVES, _MOST_MOVES))


def sweeps(own: LogPosterior) -> Sweeps:
    """A function (rng, state, thin, draws) that fills draws (S, n_dim), moving the state (n_dim) along."""
    prior: Any = own.prior
    n_features = own.n_features
    m = 1 if own.covariance == "tied" else own.k
    with_correlations = n_features > 1 and own.covariance in ("full", "tied")
    per_block = n_features if own.covariance == "diag" else 1
    if with_correlations:
        per_block = wishart.n_entries(n_features)
    rate = np.asarray(prior.G0 if own.hierarchical else prior.C0, dtype=float)
    fixed = (
        np.ascontiguousarray(own.x.reshape(len(own.x), n_features)),
        own.k,
        np.array([m, per_block, own.hierarchical], dtype=np.int64),
        np.array([prior.alpha, prior.c0, prior.g0 if own.hierarchical else 0.0]),
        np.atleast_1d(np.asarray(prior.b0, dtype=float)),
        np.linalg.inv(np.atleast_2d(np.asarray(prior.B0, dtype=float))),
        rate if with_correlations else np.atleast_1d(rate),
    )
    sweep = matrices.sweep if with_correlations else diagonal.sweep
    if n_features == 1 and m > 1:
        sweep, fixed = splits.sweep, (*fixed, moves_before_a_sweep(own))  # type: ignore[assignment]

    def run(rng: np.random.Generator, state: FloatArray, thin: int, draws: FloatArray) -> None:
        sweep(rng, *fixed, state, thin, draws)

    return run
