"""Co-clustering probabilities, and the partition with the smallest expected loss."""

from __future__ import annotations

from itertools import batched
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.special import comb, xlogy

from bayesgmm.analysis.clusters import asked, draw_assignments, responsibilities
from bayesgmm.analysis.draws import Draws
from bayesgmm.analysis.labels import relabelled
from bayesgmm.analysis.reading import Reading, Tree
from bayesgmm.analysis.tree import OBS
from bayesgmm.arguments import FloatArray, read_choice, read_count, read_seed, require_memory
from bayesgmm.data.observations import Observations
from bayesgmm.kernels import partitions

Loss = Literal["vi", "binder"]
_OPERATIONS = 2e11  # approximate number of multiplications for co-clustering, which limits the draws
_FEWEST = 100  # draws for co-clustering, however many the observations
_FEW = 200  # draws for the hierarchical clustering that provides candidates
_MOST_LINKED = 2_000  # observations up to which hierarchical clustering is fast
_MOST_CLUSTERS = 100  # of a partition
_LOOKED_UP = 2**20  # observations up to which f(n) is tabulated
_ORDERS = 8  # best candidates that are improved by greedy sweeps


@np.errstate(under="ignore")
def coclustering(tree: Tree, x: ArrayLike | Observations | None = None) -> xr.DataArray:
    """Posterior probability that two observations belong to one cluster.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`; its labels do not matter.
    x : (n,) or (n, D) array-like, optional
        Fitted observations to compare. Default: all.

    Returns
    -------
    DataArray
        (obs, obs_bis), symmetric, with ones on the diagonal. ``attrs["draws"]`` is the number of draws used, which is
        smaller for many observations.

    Raises
    ------
    MemoryError
        If n x n numbers would not fit into memory; pass a sample of the observations as x.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.coclustering(tree, [9.5, 9.8, 33.0]).round(0).values.tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    draws, rows, coords = asked(Reading.of(tree), x)
    n, k = len(rows), draws.n_components
    require_memory(3 * 8 * n**2, f"{n} x {n} probabilities", "pass some of the observations as x")
    few = draws.thinned(max(_FEWEST, int(_OPERATIONS / (n**2 * k))))
    together, step = np.zeros((n, n)), max(1, 4_000 // k)  # columns of a product
    for parameters in batched(few.each(), step):
        r = np.concatenate([rows.responsibilities(*each)[:, :k] for each in parameters], axis=1)
        together += r @ r.T
    together /= len(few.w)
    np.fill_diagonal(together, 1.0)
    coords |= {f"{OBS}_bis": coords[OBS]}
    return xr.DataArray(together, dims=(OBS, f"{OBS}_bis"), coords=coords, attrs={"draws": len(few.w)}, name="together")


@np.errstate(under="ignore")
def partition(
    tree: Tree,
    loss: Loss = "vi",
    *,
    draws: int = 1000,
    random_seed: int | np.random.Generator | None = 0,
) -> xr.DataArray:
    r"""The partition of the observations with the smallest expected loss, among those tried.

    Let n_a be the cluster sizes of the partition, m_b those of a draw, and n_ab the sizes of the intersections. The loss is
    :math:`(\sum_a f(n_a) + \sum_b f(m_b) - 2 \sum_{ab} f(n_{ab})) / s`. With f(n) = n log2 n and s = n it is the variation
    of information in bits; with f(n) = n^2 and s = n^2 it is Binder's loss. Candidates are the partitions of up to 100
    draws, the most probable labels and, for up to 2 000 observations, cuts of a hierarchical clustering of
    :func:`coclustering`. Greedy sweeps then improve the eight best candidates: single observations move, in random order, to
    where the expected loss is smallest. They may form new clusters (up to 100 clusters, or 2 K if that is more). An
    observation with a frequency weight stays in one cluster and counts with its weight.

    Parameters
    ----------
    tree : DataTree
        From :func:`bayesgmm.fit`; its labels do not matter.
    loss : {"vi", "binder"}
    draws : int
        Maximum number of draws of the labels over which the loss is averaged.
    random_seed : int, Generator or None

    Returns
    -------
    DataArray
        Labels (obs), 0 for the largest cluster (which need not be ``cluster`` 0 of the tree), with attributes ``loss``,
        ``expected_loss``, ``n_clusters`` and ``draws``. Observations that are more probably noise than not have the label
        -1, and do not count in the loss.

    Raises
    ------
    ValueError
        For an unknown loss.

    References
    ----------
    Dahl, Johnson & Müller (2022), Search algorithms and loss functions for Bayesian clustering, Journal of Computational
    and Graphical Statistics 31, 1189-1201. doi:10.1080/10618600.2022.2069779

    Wade & Ghahramani (2018), Bayesian cluster analysis: point estimation and credible balls, Bayesian Analysis 13,
    559-626. doi:10.1214/17-BA1073

    Examples
    --------
    >>> import bayesgmm as bg
    >>> tree = bg.fit(bg.datasets.galaxies(), 3, method="gibbs", draws=200, random_seed=1, progressbar=False)
    >>> bg.partition(tree).attrs["n_clusters"]
    3
    """
    return estimated(tree, loss, read_count(draws, "draws"), read_seed(random_seed))[0]


def estimated(tree: Tree, loss: Loss, draws: int, seed: int) -> tuple[xr.DataArray, NDArray[np.int16]]:
    """The :func:`partition`, and the sampled labels (S, n) over which its loss was averaged."""
    read_choice(loss, Loss, "loss")
    rng = np.random.default_rng(seed)
    reading, few, z = sampled_labels(tree, draws, rng)
    rows = reading.observations
    candidates = [*_own(z), responsibilities(reading)["mean"].values.argmax(axis=1)]
    if 1 < len(rows) <= _MOST_LINKED:
        candidates += _cuts(1 - coclustering(reading).values, few.n_components)
    labels, attrs = _least_loss(z, candidates, few.n_components, loss, rng, reading.known.weight)
    return xr.DataArray(labels, dims=(OBS,), coords={OBS: reading.positions}, attrs=attrs, name="partition"), z


def sampled_labels(tree: Tree, draws: int, rng: np.random.Generator) -> tuple[Reading, Draws, NDArray[np.int16]]:
    """The relabelled tree, at most so many of its draws, and sampled labels of these (S, n); -1 for noise."""
    reading = relabelled(Reading.of(tree))  # so that the sampled labels do not depend on the tree's numbering
    few = reading.draws.thinned(draws)
    return reading, few, draw_assignments(few, reading.observations, rng)


@np.errstate(under="ignore")
def partition_of(
    z: NDArray[np.int16], loss: Loss, rng: np.random.Generator, weight: FloatArray | None = None
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Like :func:`partition`, from sampled labels (S, n). The number of clusters may differ between draws."""
    candidates, k = _own(z), int(z.max()) + 1
    if 1 < z.shape[1] <= _MOST_LINKED:
        together = np.zeros((z.shape[1], z.shape[1]))
        rows = z[np.linspace(0, len(z) - 1, min(len(z), _FEW)).astype(int)]
        for j in range(k):
            members = (rows == j).astype(np.float32)
            together += members.T @ members
        candidates += _cuts(1 - together / len(rows), k)
    return _least_loss(z, candidates, k, loss, rng, weight)


def adjusted_rand(one: ArrayLike, other: ArrayLike) -> float:
    """Adjusted Rand index of two partitions of the same observations: 1 if they are equal, 0 on average by chance.

    References
    ----------
    Hubert & Arabie (1985), Comparing partitions, Journal of Classification 2, 193-218. doi:10.1007/BF01908075

    Examples
    --------
    >>> adjusted_rand([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    labels = [np.unique(np.asarray(each), return_inverse=True)[1].ravel() for each in (one, other)]
    if len(labels[0]) != len(labels[1]):
        raise ValueError(f"two partitions must be of the same observations, got {len(labels[0])} and {len(labels[1])}")
    table = np.zeros([each.max() + 1 for each in labels])
    np.add.at(table, tuple(labels), 1)
    both, first, second = comb(table, 2).sum(), comb(table.sum(axis=1), 2).sum(), comb(table.sum(axis=0), 2).sum()
    expected, largest = first * second / max(comb(len(labels[0]), 2), 1), (first + second) / 2
    return 1.0 if len(labels[0]) == 1 or largest == expected else float((both - expected) / (largest - expected))


@np.errstate(under="ignore")
def distances(labels: NDArray[np.int64], z: NDArray[np.int16], loss: Loss, weight: FloatArray | None) -> FloatArray:
    """Distance of a partition (n,) from each draw (S, n), (S,): its loss. Observations with the label -1 do not count.

    For the others, noise in a draw (-1) counts as one cluster.
    """
    rest = labels >= 0
    own = np.unique(labels[rest], return_inverse=True)[1]
    counts, f, unit = _counted(len(own), None if weight is None else weight[rest], loss)
    drawn = np.where(z < 0, z.max() + np.int16(1), z)[:, rest]
    found = partitions.losses(own, np.ascontiguousarray(drawn), counts, f, loss == "vi", int(own.max()) + 1)
    return np.maximum(found / unit, 0.0)


def _counted(n: int, weight: FloatArray | None, loss: str) -> tuple[Any, FloatArray, float]:
    """Weights of the observations (integers if possible), a table of f(n) (may be empty), and the unit of the loss."""
    counts: Any = np.ones(n, dtype=np.int32) if weight is None else weight
    total, f = float(counts.sum()), np.empty(0)
    if total <= _LOOKED_UP and (counts == np.round(counts)).all():
        counts, sizes = counts.astype(np.int32), np.arange(int(total) + 1, dtype=float)
        f = xlogy(sizes, sizes) / np.log(2) if loss == "vi" else sizes**2
    return counts, f, total if loss == "vi" else total**2


def _own(z: NDArray[np.int16]) -> list[NDArray[np.int64]]:
    """The partitions of at most 100 draws."""
    return [z[row].astype(np.int64) for row in np.linspace(0, len(z) - 1, min(len(z), 100)).astype(int)]


def _cuts(apart: FloatArray, k: int) -> list[NDArray[np.int64]]:
    """Cuts of a hierarchical clustering by distances (n, n) into 1, ..., 2 K clusters."""
    merged = linkage(squareform((apart + apart.T) / 2, checks=False), "average")
    return [fcluster(merged, size, "maxclust").astype(np.int64) - 1 for size in range(1, 2 * k + 1)]


def _least_loss(
    z: NDArray[np.int16],
    candidates: list[NDArray[np.int64]],
    k: int,
    loss: str,
    rng: np.random.Generator,
    weight: FloatArray | None,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Labels (n,) of the best partition found, 0 for the largest cluster, and the attributes of the result.

    An observation that is noise (-1) in more than half of the draws is noise. For the others, noise counts as one cluster.
    """
    n, entropic = z.shape[1], loss == "vi"
    if (z < 0).any():
        rest, labels = (z < 0).mean(axis=0) <= 0.5, np.full(n, -1)
        if not rest.any():
            return labels, {"loss": loss, "expected_loss": 0.0, "n_clusters": 0, "draws": len(z)}
        those = [np.unique(each[rest], return_inverse=True)[1] for each in candidates]
        own = np.where(z < 0, np.int16(k), z)[:, rest]
        labels[rest], attrs = _least_loss(own, those, k + 1, loss, rng, None if weight is None else weight[rest])
        return labels, attrs
    counts, f, unit = _counted(n, weight, loss)
    most = min(n, max(_MOST_CLUSTERS, 2 * k))
    if n <= most:
        candidates.append(np.arange(n))  # all singletons: with superfluous components Binder's loss leads there
    losses = np.array([partitions.losses(each, z, counts, f, entropic, most).mean() for each in candidates])
    best, lowest = candidates[losses.argmin()], losses.min()
    for i in np.argsort(losses, kind="stable")[:_ORDERS]:
        found = candidates[i].copy()
        partitions.sweep(found, z, counts, f, entropic, most, rng)
        found_loss = partitions.losses(found, z, counts, f, entropic, most).mean()
        if found_loss < lowest:
            best, lowest = found, found_loss
    _, labels = np.unique(best, return_inverse=True)
    sizes = np.bincount(labels, counts)
    order = np.argsort(np.argsort(-sizes, kind="stable"))
    return order[labels], {"loss": loss, "expected_loss": float(lowest / unit), "n_clusters": len(sizes), "draws": len(z)}
