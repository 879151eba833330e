"""Label switching: relabelling of the draws, and whether single clusters can be told apart."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from bayesgmm.analysis.draws import Draws, read_draws
from bayesgmm.analysis.reading import Reading
from bayesgmm.analysis.tree import CLUSTER, group_of, permute, read_permutation, with_names
from bayesgmm.arguments import FloatArray, read_choice
from bayesgmm.data.observations import Observations
from bayesgmm.kernels.assignments import add_in_order, assign_each, harden
from bayesgmm.model.mixture import Mixture
from bayesgmm.words import Either, Words

Relabelling = Literal["stephens", "ecr", "pivot"]
_JUDGES = 2_000  # observations used for relabelling, if there are more than twice as many
_TOGETHER = 2**17  # responsibilities that fit into a core's cache
_BATCHES = 8  # times as many responsibilities from which several cores share the work
_REMEMBERED = 2**22  # responsibilities (32 MB) up to which they are computed only once
_ROUNDS = 50  # largest number of iterations
_FORBIDDEN = 1e3  # cost of exchanging clusters that known labels tell apart, relative to the largest cost
_LEAST = 1e-300  # floor for probabilities, so that their logarithms are finite
_CERTAIN = 1 - 1e-12  # largest correlation, so that Fisher's z is finite
_SURE = 0.95  # a draw is ambiguous if its order of labels is less probable
WITHOUT_LABELS = Either("(predictive_density, partition, coclustering)", "(the density of all clusters together)")
MAX_CONFUSED = 0.1  # largest non-permutation rate and share of ambiguous draws for labels that are trusted


@dataclass(frozen=True, repr=False)
class LabelQuality:
    """Whether single clusters can be told apart.

    Attributes
    ----------
    non_permutation_rate : float
        Share of draws whose K components do not match the K groups one to one. The groups are found by k-means among the
        components of all draws, in the space of means, log standard deviations and (by Fisher's z) correlations.
    ambiguous : float
        Share of draws in which exchanging two labels is nearly as plausible as the given order. Under a normal distribution
        of each cluster's parameters, the given order then has a probability below 0.95.
    """

    non_permutation_rate: float
    ambiguous: float

    @property
    def trusted(self) -> bool:
        """True if both rates are at most 0.1: single clusters can then be told apart."""
        return max(self.non_permutation_rate, self.ambiguous) <= MAX_CONFUSED

    @property
    def in_words(self) -> Words:
        """The two rates, and what they mean, in a sentence."""
        numbers = f"non-permutation rate {self.non_permutation_rate:.1%}, ambiguous draws {self.ambiguous:.1%}"
        if self.trusted:
            return Words(numbers)
        return Words(
            f"{numbers}: clusters cannot be told apart, so statements about single ones mean nothing; use answers that need "
            "no labels ",
            WITHOUT_LABELS,
        )

    def __repr__(self) -> str:
        return self.in_words


@np.errstate(under="ignore")
def relabel(tree: xr.DataTree, method: Relabelling = "stephens") -> xr.DataTree:
    r"""Undo label switching: renumber the clusters of every draw, so that a number means the same cluster in all draws.

    * "stephens": alternately compute the mean of the membership probabilities over the draws, and the permutation of each
      draw that minimises the Kullback-Leibler divergence from that mean (Stephens 2000, algorithm 2).
    * "ecr": equivalence classes representatives (Papastamoulis & Iliopoulos 2010), iterated. The pivot is each observation's
      most frequent label. Each draw is permuted so that its most probable labels agree with the pivot for as many
      observations as possible.
    * "pivot": the permutation that minimises the sum over clusters of the squared 2-Wasserstein distance to the EM estimate,
      :math:`(\mu_j - \hat\mu_k)^2 + (\sigma_j - \hat\sigma_k)^2` (an assignment problem). For several features,
      :math:`\sigma` is the Cholesky factor of the covariance, and squares are squared Frobenius norms. This bounds the
      distance from above. Each feature is measured in EM's standard deviations within clusters.

    The two iterative methods start from the order of "pivot". At the end, clusters take the numbers of the EM clusters that
    they match best.
    The default recovers known permutations best; "pivot" fails first if clusters overlap in several features.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.
    method : {"stephens", "ecr", "pivot"}

    Returns
    -------
    DataTree
        A new tree. ``w``, ``mu``, ``sigma`` and every other variable over ``cluster`` are permuted together;
        ``sample_stats`` holds the permutation from the raw order. Hyperparameters do not change. Names of clusters
        (:func:`bayesgmm.rename_clusters`) move with them.

    Raises
    ------
    ValueError
        For an unknown method, or if the tree has no draws, no EM baseline or (for the iterative methods) no data.

    Notes
    -----
    With more than 4 000 observations, a weighted sample of 2 000 is used, equally many from every component of EM.
    If there are more than 4 million membership probabilities (draws x observations x clusters), every iteration computes
    them again instead of keeping them in memory. Tested properties: relabelling is idempotent; the result does not depend on
    the labels of the input; densities do not change.

    References
    ----------
    Stephens (2000), Dealing with label switching in mixture models, Journal of the Royal Statistical Society:
    Series B 62, 795-809. doi:10.1111/1467-9868.00265

    Papastamoulis & Iliopoulos (2010), An artificial allocations based solution to the label switching problem in Bayesian
    analysis of mixtures of distributions, Journal of Computational and Graphical Statistics 19, 313-331.
    doi:10.1198/jcgs.2010.09008

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> again = bg.relabel(bg.raw_order(tree))
    >>> bool((again["posterior"]["mu"] == tree["posterior"]["mu"]).all())
    True
    """
    read_choice(method, Relabelling, "method")
    return relabelled(Reading.of(tree), method).tree.copy()


def relabelled(reading: Reading, method: Relabelling = "stephens") -> Reading:
    """A reading of the relabelled tree."""
    draws, (em, _) = reading.draws, reading.em
    order = match(draws, em, reading.classes)
    if method != "pivot" and draws.n_components > 1:
        order = _refined(draws, _judges(reading.observations, em), order, em, reading.classes, hard=method == "ecr")
    result = reading.reordered(order)
    names = group_of(reading.tree, "em_baseline")[CLUSTER].values  # in the order of EM's components, as the clusters are now
    return result if names.dtype.kind in "iuf" else result.named(with_names(result.tree, names.tolist()))


@np.errstate(under="ignore")
def label_quality(tree: xr.DataTree) -> LabelQuality:
    """Whether single clusters can be told apart: non-permutation rate and share of ambiguous draws.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`.

    Returns
    -------
    LabelQuality
        Prints as a sentence; ``.trusted``.

    References
    ----------
    Malsiner-Walli, Frühwirth-Schnatter & Grün (2016), Model-based clustering based on sparse finite Gaussian mixtures,
    Statistics and Computing 26, 303-324. doi:10.1007/s11222-014-9500-2

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.label_quality(tree).trusted
    True
    """
    return Reading.of(tree).ask(quality_of)


def quality_of(reading: Reading) -> LabelQuality:
    """The :class:`LabelQuality` of a tree."""
    draws = reading.draws
    k = draws.n_components
    if k == 1:
        return LabelQuality(0.0, 0.0)
    places = _places(draws)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        _, groups = kmeans2(places.reshape(len(places) * k, -1), places.mean(axis=0), iter=_ROUNDS, minit="matrix")
    is_permutation = (np.sort(groups.reshape(-1, k), axis=1) == np.arange(k)).all(axis=1)
    return LabelQuality(float(1 - is_permutation.mean()), _ambiguous(np.dstack([places, np.log(draws.w)])))


def _places(draws: Draws) -> FloatArray:
    """Standardised means, log standard deviations and (by Fisher's z) correlations of the clusters, (S, K, P)."""
    sd = draws.sd
    unit = np.median(sd, axis=(0, 1))  # for each feature
    centre = np.median(draws.mu, axis=(0, 1))  # avoids cancellation for means far from zero
    rows = draws.factors / sd[..., None]  # Cholesky factors of the correlations
    correlations = (rows @ rows.swapaxes(-1, -2))[..., *np.triu_indices(draws.n_features, 1)]
    fisher_z = np.arctanh(np.clip(correlations, -_CERTAIN, _CERTAIN))
    return np.concatenate([(draws.mu - centre) / unit, np.log(sd / unit), fisher_z], axis=-1)


def _ambiguous(parameters: FloatArray) -> float:
    """Share of draws (S, K, P) with a probability of their order below 0.95, against all exchanges of two labels."""
    k = parameters.shape[1]
    means, spread = parameters.mean(axis=0), parameters.std(axis=0)
    spread = np.maximum(spread, 1e-9 * np.abs(parameters).max())  # not zero, even for a single draw
    log_p = np.empty((len(parameters), k, k))  # [s, i, j]: component i under the distribution of cluster j
    for j in range(k):
        log_p[:, :, j] = (-0.5 * ((parameters - means[j]) / spread[j]) ** 2 - np.log(spread[j])).sum(axis=-1)
    own = np.diagonal(log_p, axis1=1, axis2=2)
    loss = own[:, :, None] + own[:, None, :] - log_p - log_p.swapaxes(1, 2)
    exchanges = np.exp(-np.maximum(loss[:, *np.triu_indices(k, 1)], -50)).sum(axis=1)
    return float((1 / (1 + exchanges) < _SURE).mean())


def raw_order(tree: xr.DataTree) -> xr.DataTree:
    """Undo relabelling: return a tree with the sampler's numbering of the clusters.

    If labels switch in it, clusters that had names have numbers. :func:`relabel` brings the names back.
    """
    read_draws(tree)
    return permute(tree, np.argsort(read_permutation(tree), axis=2)).copy()


def match(draws: Draws, reference: Mixture, classes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Order of each draw's clusters that fits the reference best, (S, K). Only clusters of one class are exchanged."""
    unit = np.sqrt(np.average(reference.sd**2, axis=0, weights=reference.weights))  # for each feature
    cost = (((draws.mu[:, :, None] - reference.mu) / unit) ** 2).sum(axis=-1)
    for j, factor in enumerate(reference.factors):  # one after another, to save memory
        cost[:, :, j] += (((draws.factors - factor) / unit[:, None]) ** 2).sum(axis=(-2, -1))
    # relative to the draw's largest cost, so that the units of the data neither matter nor overflow
    largest = cost.max(axis=(1, 2), keepdims=True)
    cost /= np.where(largest > 0, largest, 1)
    if classes is not None:
        cost[:, classes[:, None] != classes] = _FORBIDDEN
    return _orders(cost.swapaxes(1, 2))


def _orders(costs: FloatArray) -> NDArray[np.int64]:
    """Optimal assignments for cost matrices (S, K, K): the column of each row, (S, K)."""
    orders = np.empty(costs.shape[:2], dtype=np.int64)
    assign_each(np.ascontiguousarray(costs), orders)
    return orders


def _judges(rows: Observations, em: Mixture) -> Observations:
    """The rows, or a weighted sample with equally many from each of EM's components."""
    if len(rows) <= 2 * _JUDGES:
        return rows

    def members(block: Observations) -> FloatArray:
        return block.responsibilities(*em.parameters) * block.counts[:, None]

    totals = np.maximum(sum(each.sum(axis=0) for each in rows.over_blocks(members)), 1e-300)
    cumulated, begin = np.empty(len(rows) + 1), 1  # sampling probabilities, in one array to save memory
    for each in rows.over_blocks(members):
        cumulated[begin : begin + len(each)] = (each / totals).sum(axis=1)
        begin += len(each)
    cumulated[0] = 0.0
    np.cumsum(cumulated, out=cumulated)
    drawn = np.searchsorted(cumulated[1:], cumulated[-1] * (np.arange(_JUDGES) + 0.5) / _JUDGES)
    few, times = np.unique(np.minimum(drawn, len(rows) - 1), return_counts=True)
    chance, chosen = cumulated[few + 1] - cumulated[few], rows.of(few)
    return chosen.weighing(chosen.counts * times * cumulated[-1] / (_JUDGES * chance))


def _refined(
    draws: Draws, rows: Observations, order: NDArray[np.int64], em: Mixture, classes: NDArray[np.int64], *, hard: bool
) -> NDArray[np.int64]:
    """Orders (S, K) by Stephens' algorithm, or by ECR if ``hard``, starting from the given ones."""
    k, parameters = draws.n_components, draws.parameters
    counts = rows.counts[:, None]
    forbidden = np.where(classes[:, None] != classes, -_FORBIDDEN * counts.sum(), 0.0)

    def membership(begin: int, end: int) -> FloatArray:
        """Responsibilities under draws ``begin`` to ``end``, or most probable labels for ECR."""
        shares = rows.responsibilities(*(each[begin:end] for each in parameters))
        if hard:
            harden(shares)
        return shares

    few = max(1, _TOGETHER // (len(rows) * k))
    if len(rows) * draws.w.size <= _REMEMBERED:
        membership = cache(membership)
    summed = partial(_reordered_sum, membership, few, forbidden)
    order, total = summed(np.empty((0, k)), order)
    agreement = -np.inf
    for _ in range(_ROUNDS):
        if hard:
            target = (total == total.max(axis=1, keepdims=True)).astype(float)
        else:
            target = np.log(np.maximum(total / len(order), _LEAST))
        last, (order, total) = order, summed(target * counts, order)
        before, agreement = agreement, float((target * counts * total).sum())  # never decreases
        if (order == last).all() or agreement <= before + 1e-9 * abs(before):
            break
    of_em = rows.responsibilities(*em.parameters)[:, :k]
    return order[:, _orders(-(of_em.T @ (counts * total) + forbidden)[None])[0]]


def _reordered_sum(
    membership: Callable[[int, int], FloatArray],
    few: int,
    forbidden: FloatArray,
    target: FloatArray,
    order: NDArray[np.int64],
) -> tuple[NDArray[np.int64], FloatArray]:
    """The orders that fit the target best, and the membership summed over the draws in these orders.

    With an empty target the given orders are kept. Each core processes a few draws at a time; one core does what is little
    work.
    """

    def of_part(part: tuple[int, int]) -> tuple[NDArray[np.int64], FloatArray]:
        chosen, total = order[slice(*part)].copy(), np.zeros(0)
        for begin in range(*part, few):
            some = slice(begin - part[0], min(begin + few, part[1]) - part[0])
            of_draws = membership(begin, part[0] + some.stop)
            total = total if total.size else np.zeros((of_draws.shape[1], order.shape[1]))
            add_in_order(of_draws, target, forbidden, chosen[some], total)
        return chosen, total

    if len(order) < _BATCHES * few:
        return of_part((0, len(order)))
    ends = np.linspace(0, len(order), min(os.cpu_count() or 1, len(order)) + 1).astype(int).tolist()
    with ThreadPoolExecutor(len(ends) - 1) as pool:
        orders, totals = zip(*pool.map(of_part, pairwise(ends)), strict=True)
    return np.concatenate(orders), sum(totals[1:], start=totals[0])
