"""The place of each component under a prior that tells components apart.

The likelihood does not depend on the components' order, unless labels tell it. The prior of each place does. An engine that
stays near one order of the components therefore finds a part of the posterior only. Given the components without their
order, the order has probabilities proportional to the prior. Drawing it for every draw completes the posterior, as random
permutations do under a prior that is the same for all components (Frühwirth-Schnatter 2001).

References
----------
Frühwirth-Schnatter (2001), Markov chain Monte Carlo estimation of classical and dynamic switching and mixture models,
Journal of the American Statistical Association 96, 194-209. doi:10.1198/016214501750333063
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm.analysis.log_prior import hyper_and_scale
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import permute
from bayesgmm.arguments import FloatArray
from bayesgmm.model.fixed import classes_with, fixed_of
from bayesgmm.model.prior_densities import of_places
from bayesgmm.model.priors import Prior

_TRIES = 20  # exchanges that are tried for each pair of components


def with_drawn_places(tree: xr.DataTree, prior: Prior, seed: int) -> xr.DataTree:
    """The tree with the order of each draw's components drawn from its conditional distribution given the components."""
    reading = Reading(tree)
    hyper, scale = hyper_and_scale(reading, prior)
    classes = classes_with(fixed_of(tree.attrs.get("fixed")), reading.known.classes(reading.draws.n_components))
    draws = reading.draws
    gain = of_places(hyper, draws.w, draws.mu, draws.factors, scale, tree.attrs["covariance"])
    order = _drawn_orders(gain, classes, np.random.default_rng(seed))
    raised = np.take_along_axis(gain, order[:, None], axis=1)[:, 0] - np.diagonal(gain, axis1=1, axis2=2)
    result = permute(tree, reading.draws.by_chain(order)).copy()
    return _with_raised(result, reading.draws.by_chain(raised.sum(axis=1)))


def _with_raised(tree: xr.DataTree, by: FloatArray) -> xr.DataTree:
    """Add to the log posterior of each draw."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    if "lp" in stats:
        tree["sample_stats"] = xr.DataTree(stats.assign(lp=stats["lp"] + by))
    return tree


def _drawn_orders(gain: FloatArray, classes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Orders (S, K) from their distribution given log priors (S, K, K) of cluster i in place j, by exchanges of pairs."""
    rows, k = np.arange(len(gain)), gain.shape[1]
    order = np.tile(np.arange(k), (len(gain), 1))
    pairs = [(i, j) for i in range(k) for j in range(i) if classes[i] == classes[j]]
    for _ in range(_TRIES if pairs else 0):
        for at in rng.permutation(len(pairs)):
            i, j = pairs[at]
            one, other = order[:, i].copy(), order[:, j].copy()
            log_odds = gain[rows, one, j] + gain[rows, other, i] - gain[rows, one, i] - gain[rows, other, j]
            exchanged = rng.logistic(size=len(gain)) < log_odds
            order[exchanged, i], order[exchanged, j] = other[exchanged], one[exchanged]
    return order
