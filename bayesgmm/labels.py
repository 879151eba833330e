"""Label switching: the posterior does not know which cluster is called 0, the reader must."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bayesgmm import estep
from bayesgmm.mixture import Mixture
from bayesgmm.tree import Draws, permute, read_draws, read_em, read_observations, read_permutation
from bayesgmm.validation import FloatArray, read_choice

Relabelling = Literal["stephens", "ecr", "pivot"]
_MOST = 10_000  # observations whose membership is looked at
_ROUNDS = 50  # after which an iterative algorithm is not waited for
_LEAST = 1e-300  # a probability that counts as none


def relabel(tree: xr.DataTree, method: Relabelling = "stephens") -> xr.DataTree:
    r"""Undo label switching: give every draw's clusters the order in which they mean the same.

    * "stephens": the permutations that minimise the Kullback-Leibler divergence of each draw's membership probabilities from
      their mean over the draws, in turn with that mean (Stephens 2000, algorithm 2).
    * "ecr": equivalence classes representatives (Papastamoulis & Iliopoulos 2010), iterated: each draw's most probable
      labels agree with the pivot's for as many observations as they can; the pivot is each observation's most frequent
      label.
    * "pivot": the permutation that minimises the sum over clusters of the squared 2-Wasserstein distance to the EM estimate,
      :math:`(\mu_j - \hat\mu_k)^2 + (\sigma_j - \hat\sigma_k)^2` (an assignment problem). For several features
      :math:`\sigma` is the Cholesky factor of the covariance and squares are squared Frobenius norms, which bound that
      distance from above; each feature is measured in EM's standard deviations within clusters.

    The iterative two begin with the order of "pivot", and end with the clusters that belong most to EM's in EM's order. The
    default is what recovers known permutations best; "pivot" fails first where clusters overlap in several features.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    method : {"stephens", "ecr", "pivot"}

    Returns
    -------
    DataTree
        A new tree: ``w``, ``mu``, ``sigma`` (and every other variable over ``cluster``) permuted together, the
        permutation from the raw order in ``sample_stats``. Hyperparameters stay as they are.

    Raises
    ------
    ValueError
        For an unknown method, or if the tree does not hold draws and an EM baseline, and data for the iterative ones.

    Notes
    -----
    Membership is that of at most 10 000 observations, evenly spaced, and is computed anew for each draw in each round, so
    that memory is that of observations x clusters. Tested properties: idempotent; the result does not depend on the labels
    it was given; densities do not change.

    References
    ----------
    Stephens (2000), Dealing with label switching in mixture models, Journal of the Royal Statistical Society:
    Series B 62, 795-809. doi:10.1111/1467-9868.00265

    Papastamoulis & Iliopoulos (2010), An artificial allocations based solution to the label switching problem in Bayesian
    analysis of mixtures of distributions, Journal of Computational and Graphical Statistics 19, 313-331.
    doi:10.1198/jcgs.2010.09008
    """
    read_choice(method, Relabelling, "method")
    draws = read_draws(tree)
    em, _ = read_em(tree)
    order = match(draws, em)
    if method != "pivot" and draws.n_components > 1:
        x = read_observations(tree)
        few = x[np.linspace(0, len(x) - 1, min(len(x), _MOST)).astype(int)]
        order = _refined(draws, few, order, em, hard=method == "ecr")
    return permute(tree, draws.by_chain(order))


def raw_order(tree: xr.DataTree) -> xr.DataTree:
    """The tree with every draw's clusters in the order in which the sampler had them."""
    read_draws(tree)
    return permute(tree, np.argsort(read_permutation(tree), axis=2))


def match(draws: Draws, reference: Mixture) -> NDArray[np.int64]:
    """For each draw the order of its clusters that fits the reference best, (S, K)."""
    if draws.n_features == 1:
        cost = (draws.mu[:, :, None] - reference.means) ** 2 + (draws.factors[:, :, None] - reference.sigma) ** 2
    else:
        unit = np.sqrt(np.average(reference.sigma**2, axis=0, weights=reference.weights))  # of each feature
        cost = (((draws.mu[:, :, None] - reference.means) / unit) ** 2).sum(axis=-1)
        for j, factor in enumerate(reference.factors):  # one after another, to save memory
            cost[:, :, j] += (((draws.factors - factor) / unit[:, None]) ** 2).sum(axis=(-2, -1))
    # divided by the size of its draw: a data set in other units must not change the assignment, nor overflow
    largest = cost.max(axis=(1, 2), keepdims=True)
    cost /= np.where(largest > 0, largest, 1)
    return np.array([linear_sum_assignment(each.T)[1] for each in cost])


def _refined(draws: Draws, x: FloatArray, order: NDArray[np.int64], em: Mixture, *, hard: bool) -> NDArray[np.int64]:
    """Orders (S, K) that agree with their own average membership, from those given; most probable labels if ``hard``."""

    def membership(s: int) -> FloatArray:
        r = estep.responsibilities(x, draws.w[s], draws.mu[s], draws.factors[s])
        return (r == r.max(axis=1, keepdims=True)).astype(float) if hard else r

    total = _reordered_sum(membership, lambda s, r: order[s], order)[1]
    agreement = -np.inf
    for _ in range(_ROUNDS):
        if hard:
            target = (total == total.max(axis=1, keepdims=True)).astype(float)
        else:
            target = np.log(np.maximum(total / len(order), _LEAST))
        order, total = _reordered_sum(membership, partial(_nearest, target), order)
        before, agreement = agreement, float((target * total).sum())  # which never falls
        if agreement <= before + 1e-9 * abs(before):
            break
    return order[:, linear_sum_assignment(-em.responsibilities(x).T @ total)[1]]


def _nearest(target: FloatArray, s: int, r: FloatArray) -> NDArray[np.int64]:
    """The order of a draw's clusters whose membership (n, K) fits the target best."""
    return np.asarray(linear_sum_assignment(-target.T @ r)[1])


def _reordered_sum(
    membership: Callable[[int], FloatArray],
    choose: Callable[[int, FloatArray], NDArray[np.int64]],
    order: NDArray[np.int64],
) -> tuple[NDArray[np.int64], FloatArray]:
    """The orders chosen for each draw, and the sum over draws of its membership in that order, on all cores."""

    def of_part(part: NDArray[np.int64]) -> tuple[NDArray[np.int64], FloatArray]:
        chosen, total = np.empty_like(order[part]), np.zeros(())
        for row, s in enumerate(part):
            r = membership(s)
            chosen[row] = choose(s, r)
            total = total + r[:, chosen[row]]
        return chosen, total

    cores = min(os.cpu_count() or 1, len(order))
    with ThreadPoolExecutor(cores) as pool:
        orders, totals = zip(*pool.map(of_part, np.array_split(np.arange(len(order)), cores)), strict=True)
    return np.concatenate(orders), sum(totals[1:], start=totals[0])
