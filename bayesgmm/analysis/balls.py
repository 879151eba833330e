"""The credible ball: how uncertain a partition of the observations is."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from bayesgmm.analysis.contract import require_posterior_k
from bayesgmm.analysis.partitions import Loss, distances, estimated, partition_of, sampled_labels
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OBS, WEIGHT
from bayesgmm.arguments import FloatArray, read_choice, read_count, read_probability, read_seed
from bayesgmm.words import about

Bound = Literal["horizontal", "upper", "lower"]
_BOUND = "bound"  # dim: partitions that are equally far
_TIED = {"vi": 1e-11, "binder": 1e-13}  # distances that differ by no more, by rounding, are equal
_NAMES: dict[str, str] = {"vi": "variation of information, in bits", "binder": "Binder's loss, a share of all pairs"}


@dataclass(frozen=True)
class CredibleBall:
    """Result of :func:`credible_ball`.

    Attributes
    ----------
    estimate : DataArray
        The partition in the centre, labels (obs).
    loss : {"vi", "binder"}
        The distance between partitions: the variation of information in bits, or Binder's loss, the share of all pairs of
        observations that are together in one of the two partitions only.
    probability : float
        The probability that was asked for.
    radius : float
        The smallest distance within which at least this share of the draws lies.
    share : float
        The share of the draws within the radius. It exceeds ``probability`` if several draws are at this distance.
    table : DataFrame
        A row for each bound: ``n_clusters``; ``distance`` from the estimate; ``moved``, the number of observations in
        another cluster than by the estimate (the sum of their weights), and ``share_moved``; ``partitions``, how many
        different partitions are this bound, because they are equally far; ``draws``, how many draws they are.
    horizontal, upper, lower : DataArray
        The bounds, labels (bound, obs). A cluster has the number of the cluster of the estimate that it matches best; others
        have further numbers; -1 is noise. Of several partitions, the one with the fewest observations moved is first.
    distances : ndarray
        Each draw's distance from the estimate.
    """

    estimate: xr.DataArray
    loss: str
    probability: float
    radius: float
    share: float
    table: pd.DataFrame
    horizontal: xr.DataArray
    upper: xr.DataArray
    lower: xr.DataArray
    distances: FloatArray = field(repr=False)
    _counts: FloatArray = field(repr=False)

    def contingency(self, bound: Bound = "horizontal") -> pd.DataFrame:
        """How many observations each cluster of the estimate shares with each cluster of a bound, counted by weight.

        Parameters
        ----------
        bound : {"horizontal", "upper", "lower"}
            Of several partitions the first is used.

        Returns
        -------
        DataFrame
            Clusters of the estimate in rows, those of the bound in columns.
        """
        labels = getattr(self, read_choice(bound, Bound, "bound")).values[0]
        rest = self.estimate.values >= 0
        columns = {"estimate": self.estimate.values[rest], bound: labels[rest], "n": self._counts[rest]}
        return pd.DataFrame(columns).pivot_table(index="estimate", columns=bound, values="n", aggfunc="sum", fill_value=0.0)

    def __repr__(self) -> str:
        n = len(np.unique(self.estimate.values[self.estimate.values >= 0]))
        said = (
            f"{self.share:.1%} of the {len(self.distances)} sampled partitions lie within {self.radius:.3g} of the estimate "
            f"with {n} cluster{'s' if n > 1 else ''} ({_NAMES[self.loss]}); the ball of probability {self.probability:.0%} "
            f"holds partitions with {self.table['n_clusters']['upper']} to {self.table['n_clusters']['lower']} clusters"
        )
        return f"{fill(said, 110, subsequent_indent='    ')}\n{self.table.round(3).to_string()}"


@np.errstate(under="ignore")
def credible_ball(
    tree: Tree,
    estimate: ArrayLike | xr.DataArray | None = None,
    *,
    loss: Loss = "vi",
    probability: float = 0.95,
    draws: int = 1000,
    random_seed: int | np.random.Generator | None = 0,
) -> CredibleBall:
    r"""How uncertain a partition is: the smallest ball around it with a given share of the posterior.

    The ball holds the partitions whose distance from the estimate is at most its radius. Three kinds of partitions show how
    far it reaches. The horizontal bound is farthest from the estimate. The upper vertical bound has the fewest clusters, and
    among those is farthest. The lower vertical bound has the most clusters, and among those is farthest.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`; its labels do not matter. Or from :func:`bayesgmm.posterior_k`: the ball then covers the
        uncertainty of the number of components, too.
    estimate : (n,) array-like of int, optional
        Labels of the partition in the centre. Observations with the label -1 are noise and do not count. Default: that of
        :func:`bayesgmm.partition` for the same loss, draws and seed.
    loss : {"vi", "binder"}
        The distance: the variation of information in bits, or Binder's loss (:func:`bayesgmm.partition`).
    probability : float
        The share of the draws that the ball must hold, between 0 and 1.
    draws : int
        Maximum number of draws of the labels.
    random_seed : int, Generator or None

    Returns
    -------
    CredibleBall
        Prints as a sentence and a table; ``.radius``, ``.horizontal``, ``.upper``, ``.lower``, ``.contingency("upper")``.

    Raises
    ------
    ValueError, TypeError
        If an argument breaks a rule, or all observations are noise.

    Notes
    -----
    An observation with a frequency weight stays in one cluster and counts with its weight. Where a draw holds an observation
    as noise that the estimate does not, noise counts as one cluster in the distance, but not in the number of clusters.
    Tested properties: radius and bounds equal those by the definitions over all draws; they do not depend on the numbering.

    References
    ----------
    Wade & Ghahramani (2018), Bayesian cluster analysis: point estimation and credible balls, Bayesian Analysis 13,
    559-626. doi:10.1214/17-BA1073

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> ball = bg.credible_ball(tree, probability=0.9)
    >>> ball.share >= 0.9, ball.table["n_clusters"].to_list()
    (True, [3, 3, 3])
    """
    read_choice(loss, Loss, "loss")
    probability, most, seed = (
        read_probability(probability, "probability"),
        read_count(draws, "draws"),
        read_seed(random_seed),
    )
    if isinstance(tree, xr.DataTree) and "p_k" in tree.data_vars:
        positions, weight, z = _of_k(tree, most)
        if estimate is None:
            estimate = partition_of(z, loss, np.random.default_rng(seed), weight)[0]
    else:
        reading = Reading.of(tree)
        positions, weight = reading.positions, reading.known.weight
        if estimate is None:
            estimate, z = estimated(reading, loss, most, seed)
        else:
            z = sampled_labels(reading, most, np.random.default_rng(seed))[2]
    labels = _read_labels(estimate, len(positions))
    counts = np.ones(len(labels)) if weight is None else weight
    found = _equal_if_tied(distances(labels, z, loss, weight), _TIED[loss])
    at_least = int(np.ceil(probability * len(z) * (1 - 1e-12)))
    radius = float(np.sort(found)[at_least - 1])
    inside = np.flatnonzero(found <= radius)
    number = _numbers_of_clusters(z[:, labels >= 0])
    bounds, rows = {}, []
    for name, of in (("horizontal", None), ("upper", number[inside].min()), ("lower", number[inside].max())):
        those = inside if of is None else inside[number[inside] == of]
        chosen = those[found[those] == found[those].max()]
        each = _alike(z[chosen], labels, counts)
        moved = float(counts[each[0] != labels].sum())
        rows.append((number[chosen[0]], found[chosen[0]], moved, moved / counts[labels >= 0].sum(), len(each), len(chosen)))
        bounds[name] = xr.DataArray(each, dims=(_BOUND, OBS), coords={OBS: positions}, name=name)
    columns = ["n_clusters", "distance", "moved", "share_moved", "partitions", "draws"]
    return CredibleBall(
        xr.DataArray(labels, dims=(OBS,), coords={OBS: positions}, name="partition"),
        loss,
        probability,
        radius,
        len(inside) / len(z),
        pd.DataFrame(rows, index=pd.Index(bounds, name="bound"), columns=columns),
        **bounds,
        distances=found,
        _counts=counts,
    )


def _of_k(tree: xr.DataTree, most: int) -> tuple[NDArray[np.int64], FloatArray | None, NDArray[np.int16]]:
    """Positions of the observations, their weights, and sampled labels, from a tree of posterior_k."""
    groups = require_posterior_k(tree)
    observed = groups["observed_data"].to_dataset()
    z = groups["components"].get("z")
    if z is None or z.dims[-1:] != (OBS,) or z.dtype.kind != "i" or not z.size or z.sizes[OBS] != observed.sizes.get(OBS):
        rule = "must hold the allocations z of its observations in components"
        raise ValueError(f"tree {rule}, got {'none' if z is None else dict(z.sizes)}; pass what posterior_k returned")
    labels = z.to_numpy().reshape(-1, z.sizes[OBS])
    few = np.linspace(0, len(labels) - 1, min(len(labels), most)).astype(int)
    weight = observed[WEIGHT].to_numpy() if WEIGHT in observed else None
    return observed[OBS].to_numpy(), weight, labels[few].astype(np.int16)


def _read_labels(estimate: ArrayLike | xr.DataArray, n: int) -> NDArray[np.int64]:
    labels = np.asarray(estimate)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        got = f"an array of shape {labels.shape} of {labels.dtype}"
        raise ValueError(about("estimate", f"must be integer labels of the {n} observations, -1 for noise, got {got}"))
    if labels.min() < -1:
        raise ValueError(about("estimate", f"must be labels from 0, or -1 for noise, got {labels.min()}"))
    if labels.max() < 0:
        raise ValueError(about("estimate", f"must hold a cluster, got noise for all {n} observations"))
    return labels.astype(np.int64)


def _equal_if_tied(values: FloatArray, rounding: float) -> FloatArray:
    """Distances (S,), made equal where they differ by rounding only."""
    values = np.where(values <= rounding, 0.0, values)
    order = np.argsort(values, kind="stable")
    begins = np.concatenate([[True], np.diff(values[order]) > rounding])
    result = np.empty(len(values))
    result[order] = values[order][np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    return result


def _numbers_of_clusters(z: NDArray[np.int16]) -> NDArray[np.int64]:
    """Number of clusters in each draw (S, n), without noise."""
    return sum(((z == j).any(axis=1).astype(np.int64) for j in range(int(z.max(initial=0)) + 1)), np.zeros(len(z), np.int64))


def _alike(z: NDArray[np.int16], labels: NDArray[np.int64], counts: FloatArray) -> NDArray[np.int64]:
    """The different partitions among draws (S, n), numbered like the estimate; with the fewest observations moved first.

    Observations that are noise by the estimate do not count.
    """
    rest = labels >= 0
    canonical = np.unique([_by_first(each) for each in np.where(rest, z, -1)], axis=0)
    numbered = np.array([_numbered_like(labels, each, counts) for each in canonical])
    return numbered[np.argsort((numbered != labels) @ counts, kind="stable")]


def _by_first(z: NDArray[np.int16]) -> NDArray[np.int64]:
    """Labels numbered by their first appearance; -1 stays."""
    values, first, back = np.unique(z, return_index=True, return_inverse=True)
    numbers = np.full(len(values), -1)
    clusters = np.flatnonzero(values >= 0)
    numbers[clusters[np.argsort(first[clusters])]] = np.arange(len(clusters))
    return np.asarray(numbers[back])


def _numbered_like(labels: NDArray[np.int64], each: NDArray[np.int64], counts: FloatArray) -> NDArray[np.int64]:
    """A partition (n,) with the numbers of the clusters of the estimate with which its clusters share most."""
    both = (labels >= 0) & (each >= 0)
    table = np.zeros((int(labels.max()) + 1, max(int(each.max()), 0) + 1))
    np.add.at(table, (labels[both], each[both]), counts[both])
    of_estimate, own = linear_sum_assignment(table, maximize=True)
    numbers = np.full(table.shape[1], -1)
    matched = table[of_estimate, own] > 0
    numbers[own[matched]] = of_estimate[matched]
    others = numbers < 0
    numbers[others] = len(table) + np.arange(others.sum())
    return np.where(each >= 0, numbers[each], -1)
